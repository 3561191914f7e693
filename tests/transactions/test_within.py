"""Completion within a transaction: the effect and the record are committed together, or neither is."""

from typing import Any

import psycopg
import pytest

from attempts import BodyError, complete
from idemproof import Kind, Occurrence, current_attempt
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyError,
    IdempotencyLeaseLostError,
    IdempotencySerializationError,
    IdempotencyTransactionError,
)
from transaction_places import ALSO_DJANGO_ON_MARIADB, Place, sqlite_place

pytestmark = pytest.mark.once


def kind_of(raised: pytest.ExceptionInfo[IdempotencyTransactionError]) -> str:
    return raised.value.kind


@ALSO_DJANGO_ON_MARIADB
@pytest.mark.clause("INV-11", "TXN-1", "TXN-8", "ROW-22")
def test_effect_and_record_are_committed_together_and_repeats_get_the_result(place: Place) -> None:
    connection = place.new()
    seen: list[Occurrence] = []

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            answer = complete({"done": what}, connection)
            assert place.effects() == []
        return answer

    protected = place.protect(body, observers=[seen.append])
    assert [protected(what="a"), protected(what="a")] == [{"done": "a"}] * 2
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])
    kinds = [(each.kind, each.row) for each in seen]
    assert kinds == [(Kind.CLAIMED, "ROW-1"), (Kind.COMPLETED, "ROW-22"), (Kind.REPLAYED, "ROW-5")]


@pytest.mark.clause("INV-11", "ENG-11")
def test_body_that_raises_after_completing_leaves_nothing_and_the_next_call_runs(place: Place) -> None:
    connection = place.new()
    fails = [True]

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            complete(1, connection)
            if fails.pop() if fails else False:
                raise BodyError
        return 1

    protected = place.protect(body)
    with pytest.raises(BodyError):
        protected(what="a")
    assert (place.effects(), place.records()) == ([], [])
    assert protected(what="a") == 1
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])


@pytest.mark.clause("INV-11", "ROW-11")
def test_body_that_raises_after_its_commit_keeps_its_result(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            complete(1, connection)
        raise BodyError

    protected = place.protect(body)
    with pytest.raises(BodyError):
        protected(what="a")
    assert protected(what="a") == 1
    assert place.effects() == ["a"]


@ALSO_DJANGO_ON_MARIADB
@pytest.mark.clause("TXN-6", "TXN-1", "ROW-23")
@pytest.mark.parametrize("swallows", [False, True])
def test_lost_lease_rolls_the_effect_back_even_if_its_error_is_ignored(place: Place, swallows: bool) -> None:
    connection = place.new()
    errors: list[BaseException] = []
    attempts: list[Any] = []

    def body(what: str) -> Any:
        attempts.append(current_attempt())
        place.steal()
        try:
            with place.transaction(connection):
                place.act(connection, what)
                try:
                    complete(1, connection)
                except IdempotencyLeaseLostError:
                    if not swallows:
                        raise
        except Exception as error:  # some libraries refuse to commit
            errors.append(error)
            if not swallows:
                raise
        return 1

    with pytest.raises(IdempotencyLeaseLostError) as raised:
        place.protect(body)(what="a")
    assert place.effects() == []
    assert attempts[0].lost
    assert raised.value.function_returned is swallows
    if not swallows:
        assert errors == [raised.value]


@pytest.mark.clause("TXN-1")
def test_lapsed_claim_of_its_own_may_complete(place: Place) -> None:
    connection = place.new()
    now = [1_700_000_000_000]

    def body(what: str) -> Any:
        now[0] += 3_600_000 // 2
        with place.transaction(connection):
            place.act(connection, what)
            return complete(1, connection)

    assert place.protect(body, clock=lambda: now[0])(what="a") == 1
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])


@pytest.mark.clause("TXN-1", "TXN-6")
def test_key_that_is_merely_claimable_is_lost(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        place.change("DELETE FROM idempotency")
        with place.transaction(connection):
            place.act(connection, what)
            return complete(1, connection)

    with pytest.raises(IdempotencyLeaseLostError):
        place.protect(body)(what="a")
    assert (place.effects(), place.records()) == ([], [])


@ALSO_DJANGO_ON_MARIADB
@pytest.mark.clause("TXN-5")
def test_connection_without_a_transaction_is_refused_and_nothing_is_written(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        return complete(1, connection)

    with pytest.raises(IdempotencyTransactionError, match="in no transaction") as raised:
        place.protect(body)(what="a")
    assert kind_of(raised) == "NoTransaction"
    assert place.records() == []


@ALSO_DJANGO_ON_MARIADB
@pytest.mark.clause("TXN-10", "TXN-7")
def test_savepoint_is_refused_where_it_shows_and_verified_everywhere(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            with place.savepoint(connection):
                return complete(1, connection)

    protected = place.protect(body)
    if not place.savepoints_show:
        assert protected(what="a") == 1
        return
    with pytest.raises(IdempotencyTransactionError) as raised:
        protected(what="a")
    assert kind_of(raised) == "InSavepoint"
    assert (place.effects(), place.records()) == ([], [])


@pytest.mark.clause("TXN-10")
def test_savepoint_that_is_allowed_and_released_completes(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            with place.savepoint(connection):
                return complete(1, connection, savepoint=True)

    assert place.protect(body)(what="a") == 1
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])


@ALSO_DJANGO_ON_MARIADB
@pytest.mark.clause("TXN-7", "INV-11")
def test_savepoint_that_was_rolled_back_stops_an_open_transaction(place: Place) -> None:
    connection = place.new()
    protected = place.protect(lambda what: _undone(place, connection, what))
    place.begin(connection)
    with pytest.raises(IdempotencyTransactionError) as raised:
        protected(what="a")
    assert kind_of(raised) == "RolledBack"
    try:
        place.commit(connection)
    except Exception:
        place.roll_back(connection)
    assert place.effects() == []
    assert place.records() == ["INPROGRESS"]


def _undone(place: Place, connection: Any, what: str) -> int:
    place.act(connection, what)
    try:
        with place.savepoint(connection):
            complete(1, connection, savepoint=True)
            raise BodyError
    except BodyError:
        return 1


@pytest.mark.clause("TXN-7", "TXN-4")
def test_transaction_that_commits_after_the_call_is_answered_before(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        place.act(connection, what)
        return complete(1, connection)

    protected = place.protect(body, use_local_cache=True)
    place.begin(connection)
    assert protected(what="a") == 1
    assert (place.effects(), place.records()) == ([], ["INPROGRESS"])
    place.roll_back(connection)
    place.change("DELETE FROM idempotency")
    place.begin(connection)
    assert protected(what="a") == 1, "nothing was cached"
    place.commit(connection)
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])


@ALSO_DJANGO_ON_MARIADB
@pytest.mark.clause("TXN-4", "ENG-11")
def test_release_never_waits_for_a_transaction_that_is_still_open(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        place.act(connection, what)
        complete(1, connection)
        raise BodyError

    protected = place.protect(body)
    place.begin(connection)
    with pytest.raises(BodyError) as raised:
        protected(what="a")
    assert "stands until its lease ends" in raised.value.__notes__[0]
    place.roll_back(connection)
    assert place.records() == ["INPROGRESS"]
    with pytest.raises(IdempotencyAlreadyInProgressError):
        protected(what="a")


@pytest.mark.clause("TXN-7")
@pytest.mark.parametrize("returned", [2, None, object(), {1}])
def test_other_result_than_completed_stops_an_open_transaction(place: Place, returned: Any) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        place.act(connection, what)
        complete(1, connection)
        return returned

    place.begin(connection)
    with pytest.raises(IdempotencyTransactionError) as raised:
        place.protect(body)(what="a")
    assert kind_of(raised) == "ResultDiffers"
    assert raised.value.result is returned
    try:
        place.commit(connection)
    except Exception:
        place.roll_back(connection)
    assert place.effects() == []


@pytest.mark.clause("TXN-7")
def test_other_result_after_the_commit_raises_and_repeats_get_what_is_stored(plain_place: Place) -> None:
    place, connection = plain_place, plain_place.new()

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            complete(1, connection)
        return 2

    protected = place.protect(body)
    with pytest.raises(IdempotencyTransactionError, match="repeats get what was completed"):
        protected(what="a")
    assert protected(what="a") == 1


@pytest.mark.clause("TXN-2")
def test_second_completion_is_refused_and_the_first_remains(place: Place) -> None:
    connection = place.new()
    kinds: list[str] = []

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            complete(1, connection)
            for other in (connection, place.new()):
                try:
                    complete(2, other)
                except IdempotencyTransactionError as error:
                    kinds.append(error.kind)
        return 1

    protected = place.protect(body)
    assert [protected(what="a"), protected(what="a")] == [1, 1]
    assert kinds == ["AlreadyCompleted"] * 2


@pytest.mark.clause("TXN-5")
def test_claim_without_a_lease_is_refused(plain_place: Place) -> None:
    place, connection = plain_place, plain_place.new()

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            return complete(1, connection)

    protected = place.protect(body, in_progress_expires_after_seconds=None)
    with pytest.raises(IdempotencyTransactionError) as raised:
        protected(what="a")
    assert kind_of(raised) == "LeaseRequired"
    assert (place.effects(), place.records()) == ([], [])


@pytest.mark.clause("TXN-5")
def test_result_that_cannot_be_stored_is_refused_before_it_is_written(plain_place: Place) -> None:
    place, connection = plain_place, plain_place.new()

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            return complete(object(), connection)

    with pytest.raises(IdempotencySerializationError, match="the transaction is as it was"):
        place.protect(body)(what="a")
    assert (place.effects(), place.records()) == ([], [])


@pytest.mark.clause("TXN-9", "FIN-6")
def test_final_error_after_completing_is_no_answer(place: Place) -> None:
    connection = place.new()
    runs: list[str] = []

    def body(what: str) -> Any:
        runs.append(what)
        with place.transaction(connection):
            place.act(connection, what)
            complete(1, connection)
            if len(runs) == 1:
                raise BodyError
        return 1

    protected = place.protect(body, final_errors=(BodyError,))
    with pytest.raises(BodyError):
        protected(what="a")
    assert protected(what="a") == 1
    assert (runs, place.effects()) == (["a", "a"], ["a"])


@pytest.mark.clause("TXN-5")
def test_body_may_go_on_without_a_transaction_after_a_refusal_that_wrote_nothing(plain_place: Place) -> None:
    place, connection = plain_place, plain_place.new()

    def body(what: str) -> Any:
        with pytest.raises(IdempotencyTransactionError):
            complete(1, connection)
        return 2

    protected = place.protect(body)
    assert [protected(what="a"), protected(what="a")] == [2, 2]


@pytest.mark.clause("TXN-5")
def test_what_is_no_connection_is_refused_by_name(plain_place: Place) -> None:
    def body(what: str) -> Any:
        return complete(what, object())

    with pytest.raises(IdempotencyConfigError, match=r"not a builtins\.object"):
        plain_place.protect(body)(what="a")


@pytest.mark.clause("TXN-6")
def test_transaction_of_another_database_sees_no_claim_and_cannot_commit(place: Place, tmp_path: Any) -> None:
    (tmp_path / "other").mkdir()
    other = sqlite_place(tmp_path / "other")
    connection = other.new()

    def body(what: str) -> Any:
        with other.transaction(connection):
            other.act(connection, what)
            return complete(1, connection)

    with pytest.raises(IdempotencyTransactionError) as raised:
        place.protect(body)(what="a")
    assert kind_of(raised) == "NotVisible"
    assert (other.effects(), place.records()) == ([], [])
    other.close()


def test_repr_of_no_error_contains_the_result(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        place.change("DROP TABLE idempotency")
        place.begin(connection)
        place.act(connection, what)
        return complete("a secret result", connection)

    with pytest.raises(Exception) as raised:
        place.protect(body)(what="a")
    link: BaseException | None = raised.value
    assert isinstance(link, IdempotencyError)
    while link is not None:
        assert "a secret result" not in str(link)
        link = link.__cause__ or link.__context__
    place.roll_back(connection)


@pytest.mark.clause("TXN-8")
def test_completion_sends_two_statements_more_than_claim_and_transaction(
    on_postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, connection = on_postgres, on_postgres.new()
    sent: list[str] = []
    execute = psycopg.Cursor.execute

    def counted(cursor: Any, query: Any, *args: Any, **options: Any) -> Any:
        sent.append(str(query).split(maxsplit=1)[0])
        return execute(cursor, query, *args, **options)

    def body(what: str) -> Any:
        with connection.transaction():
            place.act(connection, what)
            return complete(1, connection)

    protected = place.protect(body)
    protected(what="warms up")
    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    protected(what="a")
    # A claim, an effect, the completion, and the record when the transaction has ended.
    assert sent == ["WITH", "INSERT", "WITH", "SELECT"]
    monkeypatch.undo()
