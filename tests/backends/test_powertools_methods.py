"""The four documented methods of a compare-and-swap layer."""

from collections.abc import Callable
from typing import Any

import pytest

from idemproof import CompareAndSwapLayer, DataRecord, Record
from idemproof.backends.memory import InMemoryPersistenceLayer
from idemproof.backends.powertools_methods import SWAPS_PER_CALL
from idemproof.errors import (
    IdempotencyInconsistentStateError,
    IdempotencyInvalidStatusError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyLeaseLostError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS

# They ask a layer to load and to swap, and nothing else; test_contract.py shows that every layer does so.
pytestmark = pytest.mark.needs("fenced", "representative")

NOW = 1_700_000_000_000
EXPIRY = NOW // 1000 + 60
LEASE = NOW + 10_000

CLAIM = Record("key", INPROGRESS, EXPIRY, LEASE, None, "hash", "mine")
RESULT = Record("key", COMPLETED, EXPIRY + 60, None, '"done"', "hash", "mine")
RIVAL = CLAIM._replace(owner="rival")
NAMELESS = CLAIM._replace(owner=None)


@pytest.fixture(autouse=True)
def _at_a_known_time(request: pytest.FixtureRequest) -> None:
    if "store" in request.fixturenames:
        request.getfixturevalue("store").at(NOW)


def unowned(record: Record | None) -> Record | None:
    return None if record is None else record._replace(owner=None)


# Getting.


def test_getting_what_is_not_there_raises_that_it_is_not(store: Any) -> None:
    with pytest.raises(IdempotencyItemNotFoundError, match="'key'"):
        store.get("key")


def test_getting_returns_the_record_as_old_code_expects_it(store: Any) -> None:
    store.put(CLAIM._replace(payload_hash=None))
    record = store.get("key")
    assert isinstance(record, DataRecord)
    assert record == DataRecord("key", INPROGRESS, EXPIRY, LEASE, "", "", None, "mine")


def test_getting_does_not_judge_whether_a_record_is_over(store: Any) -> None:
    store.put(CLAIM)
    assert store.at(2**50).get("key")._status == INPROGRESS


@pytest.mark.clause("REC-7")
def test_getting_a_corrupt_record_says_so(store: Any) -> None:
    store.swap("key", None, CLAIM._replace(status="PAUSED"))
    with pytest.raises(IdempotencyInvalidStatusError, match=r"'key'.*'PAUSED'"):
        store.get("key")


# Putting.


def test_putting_without_a_record_stores_the_claim(store: Any) -> None:
    store.put(CLAIM)
    assert store.load("key") == CLAIM


@pytest.mark.clause("REC-4")
def test_putting_tidies_what_old_code_writes(store: Any) -> None:
    store.put(DataRecord("key", INPROGRESS, EXPIRY, LEASE, "", "", None, ""))
    stored = store.load("key")
    assert unowned(stored) == Record("key", INPROGRESS, EXPIRY, LEASE)


@pytest.mark.clause("CAS-7")
@pytest.mark.parametrize(
    "current", [RIVAL, RESULT._replace(owner="rival"), NAMELESS], ids=["claim", "result", "nameless"]
)
@pytest.mark.parametrize("new", [CLAIM, NAMELESS, RESULT], ids=["claim", "nameless", "result"])
def test_putting_over_a_live_record_raises_and_carries_it(store: Any, current: Record, new: Record) -> None:
    store.swap("key", None, current)
    with pytest.raises(IdempotencyItemAlreadyExistsError, match="'key'") as raised:
        store.put(new)
    assert raised.value.old_data_record == DataRecord.of(current)
    assert store.load("key") == current


@pytest.mark.clause("INV-6")
def test_putting_the_same_claim_again_is_recognized(store: Any) -> None:
    store.put(CLAIM)
    store.put(CLAIM)
    store.at(NOW + 5).put(CLAIM._replace(in_progress_expiry_timestamp=LEASE + 5))
    assert store.load("key") == CLAIM


@pytest.mark.clause("CAS-7")
def test_a_nameless_claim_put_twice_is_granted_once(store: Any) -> None:
    store.put(NAMELESS)
    with pytest.raises(IdempotencyItemAlreadyExistsError):
        store.put(NAMELESS)
    assert unowned(store.load("key")) == NAMELESS


def test_a_result_put_over_its_own_claim_is_refused_and_not_silently_dropped(store: Any) -> None:
    store.put(CLAIM)
    with pytest.raises(IdempotencyItemAlreadyExistsError):
        store.put(RESULT)
    assert store.load("key") == CLAIM


def test_a_result_can_be_put_without_a_record(store: Any) -> None:
    store.put(RESULT)
    assert store.load("key") == RESULT


@pytest.mark.clause("TIME-2", "TIME-3", "TIME-4", "CAS-7")
@pytest.mark.parametrize(
    ("current", "deadline"),
    [
        (RIVAL, LEASE),
        (RIVAL._replace(in_progress_expiry_timestamp=None), EXPIRY * 1000),
        (RESULT._replace(owner="rival"), (EXPIRY + 60) * 1000),
    ],
    ids=["lease", "claim without a lease", "result"],
)
@pytest.mark.parametrize("past", [-1, 0, 1])
def test_a_record_yields_at_its_deadline_and_not_before(
    store: Any, current: Record, deadline: int, past: int
) -> None:
    store.swap("key", None, current)
    now = deadline + past
    claim = CLAIM._replace(in_progress_expiry_timestamp=now + 10_000, expiry_timestamp=now // 1000 + 60)
    store.at(now)
    if past < 0:
        with pytest.raises(IdempotencyItemAlreadyExistsError):
            store.put(claim)
        assert store.load("key") == current
    else:
        store.put(claim)
        assert store.load("key") == claim


@pytest.mark.clause("TIME-6")
def test_a_claims_expiry_is_never_before_its_lease(store: Any) -> None:
    store.put(CLAIM._replace(expiry_timestamp=NOW // 1000 + 1))
    assert store.load("key").expiry_timestamp == LEASE // 1000


# Updating.


@pytest.mark.clause("CAS-8")
@pytest.mark.parametrize(
    "current",
    [CLAIM, None, RIVAL._replace(in_progress_expiry_timestamp=NOW), RESULT],
    ids=["own claim", "nothing", "lapsed claim of another", "own result"],
)
def test_updating_stores_the_result(store: Any, current: Record | None) -> None:
    if current is not None:
        store.swap("key", None, current)
    store.update(RESULT)
    assert store.load("key") == RESULT


@pytest.mark.clause("REC-5", "CAS-8")
@pytest.mark.parametrize(
    "current",
    [RIVAL, NAMELESS, RESULT._replace(owner="rival"), RESULT._replace(response_data='"another"')],
    ids=["claim of another", "nameless claim", "result of another", "another result under our name"],
)
def test_a_refused_update_raises_if_an_owner_was_given(store: Any, current: Record) -> None:
    store.swap("key", None, current)
    with pytest.raises(IdempotencyLeaseLostError, match="'key'"):
        store.update(RESULT)
    assert store.load("key") == current


@pytest.mark.clause("CAS-9")
@pytest.mark.parametrize("current", [CLAIM, NAMELESS], ids=["owned", "nameless"])
@pytest.mark.parametrize("now", [NOW, LEASE], ids=["live", "lapsed"])
def test_an_update_without_an_owner_applies_to_the_current_claim(
    store: Any, current: Record, now: int
) -> None:
    store.swap("key", None, current)
    store.at(now).update(RESULT._replace(owner=None))
    assert store.load("key") == RESULT._replace(owner=None)


@pytest.mark.clause("CAS-9")
@pytest.mark.parametrize("past", [-1, 0, 1])
def test_a_nameless_update_never_changes_a_live_result(store: Any, past: int) -> None:
    store.swap("key", None, RESULT)
    new = RESULT._replace(owner=None, response_data='"other"', expiry_timestamp=EXPIRY + 600)
    store.at((EXPIRY + 60) * 1000 + past).update(new)
    assert store.load("key") == (RESULT if past < 0 else new)


# Deleting.


def test_deleting_the_own_claim_releases_the_key(store: Any) -> None:
    store.put(CLAIM)
    store.delete(CLAIM)
    assert store.load("key") is None


def test_deleting_works_after_the_lease_too(store: Any) -> None:
    store.put(CLAIM)
    store.at(LEASE + 1).delete(CLAIM)
    assert store.load("key") is None


def test_deleting_what_is_gone_is_done(store: Any) -> None:
    store.delete(CLAIM)
    store.delete(NAMELESS)
    assert store.load("key") is None


@pytest.mark.clause("CAS-8")
@pytest.mark.parametrize("current", [RIVAL, NAMELESS, RESULT], ids=["another's", "nameless", "a result"])
def test_a_refused_deletion_raises_if_an_owner_was_given(store: Any, current: Record) -> None:
    store.swap("key", None, current)
    with pytest.raises(IdempotencyLeaseLostError, match="'key'"):
        store.delete(CLAIM)
    assert store.load("key") == current


@pytest.mark.clause("CAS-9")
@pytest.mark.parametrize("current", [CLAIM, NAMELESS], ids=["owned", "nameless"])
def test_a_deletion_without_an_owner_applies_to_the_current_claim(store: Any, current: Record) -> None:
    store.swap("key", None, current)
    store.delete(DataRecord("key"))
    assert store.load("key") is None


@pytest.mark.clause("CAS-9")
def test_a_nameless_deletion_never_removes_a_result(store: Any) -> None:
    store.swap("key", None, RESULT)
    store.delete(DataRecord("key"))
    assert store.load("key") == RESULT


# Whatever happens between two requests.


class Meddling(CompareAndSwapLayer):
    """A layer where another client's request happens just before each swap."""

    clock = staticmethod(lambda: NOW)

    def __init__(self, meddle: Callable[["Meddling", int], Record | None] | None = None) -> None:
        self.inner = InMemoryPersistenceLayer()
        self.meddle = meddle
        self.swaps = 0
        self.keeps: list[int] = []

    def _load(self, key: str) -> Record | None:
        return self.inner._load(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        self.swaps += 1
        self.keeps.append(ttl_ms)
        if self.meddle is not None:
            self.inner._swap(key, self.inner._load(key), self.meddle(self, self.swaps), 1)
        return self.inner._swap(key, expected, new, ttl_ms)


def lapsed(number: int) -> Record:
    return RIVAL._replace(in_progress_expiry_timestamp=NOW - number)


def own(number: int) -> Record:
    return CLAIM._replace(in_progress_expiry_timestamp=LEASE + number)


@pytest.mark.clause("INV-8")
@pytest.mark.parametrize(
    ("method", "record", "changing"),
    [
        ("_put_record", CLAIM, lapsed),
        ("_update_record", RESULT, own),
        ("_update_record", RESULT._replace(owner=None), own),
        ("_delete_record", CLAIM, own),
        ("_delete_record", NAMELESS, own),
    ],
    ids=["put", "update", "nameless update", "delete", "nameless delete"],
)
def test_a_record_that_always_changes_ends_the_request_after_a_bounded_number_of_tries(
    method: str, record: Record, changing: Callable[[int], Record]
) -> None:
    layer = Meddling(lambda _, number: changing(number))
    layer.inner._swap("key", None, changing(0), 1)
    with pytest.raises(IdempotencyInconsistentStateError, match=r"'key'.*Retry"):
        getattr(layer, method)(record)
    assert layer.swaps == SWAPS_PER_CALL


@pytest.mark.parametrize(
    ("method", "record"),
    [("_put_record", CLAIM), ("_update_record", RESULT), ("_delete_record", CLAIM)],
)
def test_a_record_that_changes_once_is_met_by_another_try(method: str, record: Record) -> None:
    between = lapsed(1) if method == "_put_record" else own(1)
    layer = Meddling(lambda it, number: between if number == 1 else it.inner._load("key"))
    layer.inner._swap("key", None, lapsed(2) if method == "_put_record" else CLAIM, 1)
    getattr(layer, method)(record)
    assert layer._load("key") == (None if method == "_delete_record" else record)


@pytest.mark.parametrize("owner", ["mine", None])
def test_an_update_that_is_overtaken_by_a_result_leaves_it_alone(owner: str | None) -> None:
    winner = RESULT._replace(owner="rival", response_data='"first"')
    layer = Meddling(lambda *_: winner)
    layer.inner._swap("key", None, CLAIM, 1)
    if owner is None:
        layer._update_record(RESULT._replace(owner=None))
    else:
        with pytest.raises(IdempotencyLeaseLostError):
            layer._update_record(RESULT)
    assert layer._load("key") == winner


def test_a_deletion_that_is_overtaken_by_another_takeover_leaves_it_alone() -> None:
    layer = Meddling(lambda *_: RIVAL)
    layer.inner._swap("key", None, CLAIM, 1)
    with pytest.raises(IdempotencyLeaseLostError):
        layer._delete_record(CLAIM)
    assert layer._load("key") == RIVAL


@pytest.mark.clause("CAS-6")
def test_the_store_keeps_a_record_for_the_rest_of_its_window_and_a_moment_at_least() -> None:
    layer = Meddling()
    layer._put_record(CLAIM)
    layer._update_record(RESULT)
    layer._put_record(Record("late", INPROGRESS, 1, 1))
    layer._delete_record(DataRecord("late"))
    assert layer.keeps == [60_000, 120_000, 1, 0]
