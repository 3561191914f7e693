"""Completion within transactions, whose connections are in later transactions when the functions return."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from attempts import BodyError, complete
from idemproof.errors import IdempotencyLeaseLostError, IdempotencyTransactionError
from transaction_places import ALSO_DJANGO_ON_MARIADB, Place, sqlite_place

pytestmark = pytest.mark.once


@pytest.mark.clause("TXN-7")
def test_other_result_after_the_commit_leaves_a_later_transaction_alone(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            complete(1, connection)
        place.begin(connection)
        place.act(connection, "later")
        return 2

    protected = place.protect(body)
    with pytest.raises(IdempotencyTransactionError, match="committed before") as raised:
        protected(what="a")
    assert not hasattr(raised.value, "__notes__"), "there was no claim to release"
    place.commit(connection)
    assert place.effects() == ["a", "later"]
    assert protected(what="a") == 1


@pytest.mark.clause("TXN-7", "TXN-8")
def test_failed_later_transaction_does_not_hide_the_commit(on_postgres: Place) -> None:
    place, connection = on_postgres, on_postgres.new()

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            answer = complete(1, connection)
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT no_column")
        return answer

    assert place.protect(body)(what="a") == 1


@pytest.mark.clause("ENG-11", "TXN-4")
def test_claim_is_released_after_a_rollback_though_a_later_transaction_is_open(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        try:
            with place.transaction(connection):
                place.act(connection, what)
                complete(1, connection)
                raise BodyError
        finally:
            place.begin(connection)

    with pytest.raises(BodyError) as raised:
        place.protect(body)(what="a")
    assert not hasattr(raised.value, "__notes__")
    assert place.records() == []


@pytest.mark.clause("TXN-4")
def test_release_does_not_wait_for_a_later_transaction_that_writes(plain_place: Place) -> None:
    place, connection = plain_place, plain_place.new()

    def body(what: str) -> Any:
        try:
            with place.transaction(connection):
                place.act(connection, what)
                complete(1, connection)
                raise BodyError
        finally:
            place.begin(connection)
            place.act(connection, "later")

    with pytest.raises(BodyError) as raised:
        place.protect(body)(what="a")
    locks_all = type(place).__name__ == "SQLitePlace"  # a change locks the whole file
    assert hasattr(raised.value, "__notes__") is locks_all
    assert place.records() == (["INPROGRESS"] if locks_all else [])


@pytest.mark.clause("TXN-7")
def test_transaction_that_begins_after_the_function_has_returned_is_left_alone(
    plain_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool may have given the connection to another thread by then."""
    place, connection = plain_place, plain_place.new()
    load, began = place.layer._load, []

    def load_later(key: str) -> Any:
        found = load(key)
        if not began:
            began.append(key)
            place.begin(connection)
            place.act(connection, "later")
        return found

    def body(what: str) -> Any:
        place.begin(connection)
        place.act(connection, what)
        answer = complete(1, connection)
        place.roll_back(connection)
        monkeypatch.setattr(place.layer, "_load", load_later)
        return answer

    with pytest.raises(IdempotencyTransactionError) as raised:
        place.protect(body)(what="a")
    assert raised.value.kind == "RolledBack"
    place.commit(connection)
    assert place.effects() == ["later"]


@ALSO_DJANGO_ON_MARIADB
@pytest.mark.clause("TXN-11")
def test_later_transaction_that_has_written_is_left_alone_after_a_rollback(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        place.begin(connection)
        place.act(connection, what)
        answer = complete(1, connection)
        place.roll_back(connection)
        place.begin(connection)
        place.act(connection, "later")
        return answer

    with pytest.raises(IdempotencyTransactionError) as raised:
        place.protect(body)(what="a")
    assert raised.value.kind == "RolledBack"
    place.commit(connection)
    assert place.effects() == (["later"] if place.identifies_transactions else [])


@pytest.mark.clause("TXN-11", "TXN-6")
def test_later_transaction_is_left_alone_after_a_refusal(place: Place) -> None:
    connection = place.new()

    def body(what: str) -> Any:
        place.steal()
        place.begin(connection)
        place.act(connection, what)
        with pytest.raises(IdempotencyLeaseLostError):
            complete(1, connection)
        place.roll_back(connection)
        place.begin(connection)
        place.act(connection, "later")
        return 1

    with pytest.raises(IdempotencyLeaseLostError):
        place.protect(body)(what="a")
    place.commit(connection)
    assert place.effects() == ["later"]


@pytest.mark.clause("TXN-11")
def test_later_transaction_in_which_another_attempt_completes_is_left_alone(plain_place: Place) -> None:
    place, connection = plain_place, plain_place.new()

    def inner(what: str) -> Any:
        place.act(connection, what)
        return complete(2, connection)

    nested = place.protect(inner)

    def body(what: str) -> Any:
        place.begin(connection)
        place.act(connection, what)
        complete(1, connection)
        place.roll_back(connection)
        place.begin(connection)
        assert nested(what="another") == 2
        return 1

    with pytest.raises(IdempotencyTransactionError):
        place.protect(body)(what="a")
    place.commit(connection)
    assert place.effects() == ["another"]


@pytest.mark.clause("TXN-7", "TXN-11")
def test_two_attempts_may_complete_in_one_transaction_which_stops_if_one_is_undone(
    on_postgres: Place,
) -> None:
    place, connection = on_postgres, on_postgres.new()

    def body(what: str) -> Any:
        place.act(connection, what)
        with suppress(BodyError), place.savepoint(connection):
            complete(1, connection, savepoint=True)
            if what == "undone":
                raise BodyError
        return 1

    protected = place.protect(body)
    place.begin(connection)
    assert protected(what="a") == 1
    with pytest.raises(IdempotencyTransactionError):
        protected(what="undone")
    place.commit(connection)
    assert (place.effects(), place.records()) == ([], ["INPROGRESS"] * 2)


@pytest.mark.clause("TXN-11")
def test_sqlite_with_foreign_keys_leaves_a_later_transaction_alone_until_that_writes(tmp_path: Path) -> None:
    place = sqlite_place(tmp_path)
    connection = place.new()
    connection.execute("PRAGMA foreign_keys = ON")

    def body(what: str) -> Any:
        place.begin(connection)
        place.act(connection, what)
        answer = complete(1, connection)
        assert not connection.execute("PRAGMA defer_foreign_keys").fetchone()[0], (
            "that would change its rules"
        )
        place.roll_back(connection)
        place.begin(connection)
        return answer

    with pytest.raises(IdempotencyTransactionError):
        place.protect(body)(what="a")
    assert connection.in_transaction
    place.act(connection, "later")
    place.commit(connection)
    assert place.effects() == ["later"]
    place.close()


@pytest.mark.clause("TXN-7", "TXN-10")
def test_savepoint_that_was_refused_and_undone_stops_its_transaction(on_postgres: Place) -> None:
    place, connection = on_postgres, on_postgres.new()

    def body(what: str) -> Any:
        place.act(connection, what)
        with suppress(IdempotencyTransactionError), place.savepoint(connection):
            complete(1, connection)
        return 1

    place.begin(connection)
    with pytest.raises(IdempotencyTransactionError) as raised:
        place.protect(body)(what="a")
    assert raised.value.kind == "InSavepoint"
    place.commit(connection)
    assert place.effects() == []
