"""Every built-in layer keeps the compare-and-swap contract."""

import inspect
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from idemproof import AsyncBasePersistenceLayer, Record
from idemproof.backends import clock as clock_module
from idemproof.errors import IdempotencyPersistenceConfigError
from idemproof.spec.record import COMPLETED, INPROGRESS, same_record, same_version
from idemproof.spec.transition import Evict, transition

FAR = 32_503_680_000  # the year 3000: live by any clock

CLAIM = Record("key", INPROGRESS, FAR, FAR * 1000 - 1, None, "hash", "owner")
RESULT = Record("key", COMPLETED, FAR, None, '{"a": 1}', "hash", "owner")

VERSION_FIELDS = {
    "owner": "another",
    "status": COMPLETED,
    "expiry_timestamp": FAR + 1,
    "in_progress_expiry_timestamp": FAR * 1000,
}

few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# No lone surrogates: they are no Unicode text, and no store outside the process takes them. Nor NUL, which
# PostgreSQL refuses.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
numbers = st.integers(min_value=0, max_value=2**62)
records = st.builds(
    Record,
    st.just("key"),
    st.sampled_from([INPROGRESS, COMPLETED]),
    numbers,
    st.none() | numbers,
    st.none() | text,
    st.none() | text,
    st.none() | text,
)


def test_there_is_no_record_at_first(store: Any) -> None:
    assert store.load("key") is None


@pytest.mark.parametrize("record", [CLAIM, RESULT], ids=["claim", "result"])
def test_what_was_stored_is_loaded(store: Any, record: Record) -> None:
    assert store.swap("key", None, record) == record
    assert store.load("key") == store.kept(record)
    assert store.load("another key") is None


@pytest.mark.needs("fenced")
@few
@given(record=records)
def test_every_field_survives_the_store(store: Any, record: Record) -> None:
    assert store.swap("key", store.load("key"), record) == record
    assert store.load("key") == record


@few
@given(key=text.filter(bool), response=st.none() | text)
def test_any_text_is_a_key_and_a_response(store: Any, key: str, response: str | None) -> None:
    record = RESULT._replace(idempotency_key=key, response_data=response)
    store.swap(key, store.load(key), None)
    assert store.swap(key, None, record) == record
    assert store.load(key) == store.kept(record)


@pytest.mark.needs("nameless")
def test_the_empty_text_is_a_key(store: Any) -> None:
    record = RESULT._replace(idempotency_key="")
    assert store.swap("", None, record) == record
    assert store.load("") == store.kept(record)


@pytest.mark.needs("fenced")
def test_nothing_and_the_empty_text_are_kept_apart(store: Any) -> None:
    empty = RESULT._replace(response_data="", payload_hash="", owner="")
    none = RESULT._replace(response_data=None, payload_hash=None, owner=None)
    assert store.swap("key", None, empty) == empty
    assert store.load("key") == empty
    assert store.swap("key", empty, none) == none
    assert store.load("key") == none


@pytest.mark.clause("REC-4")
@pytest.mark.needs("fenced")
@pytest.mark.parametrize("owners", [("", None), (None, "")], ids=["empty stands", "empty expected"])
def test_an_owner_of_empty_text_is_none(store: Any, owners: tuple[str | None, str | None]) -> None:
    current, expected = (CLAIM._replace(owner=owner) for owner in owners)
    store.swap("key", None, current)
    assert store.swap("key", expected, RESULT) == RESULT
    assert store.load("key") == RESULT


@pytest.mark.needs("large")
def test_a_megabyte_is_kept_whole(store: Any) -> None:
    record = RESULT._replace(response_data='"' + "é" * 500_000 + '"')
    assert store.swap("key", None, record) == record
    assert store.load("key") == store.kept(record)


@pytest.mark.parametrize("field", ["idempotency_key", "response_data", "payload_hash", "owner"])
def test_a_nul_character_is_kept_or_refused(store: Any, field: str) -> None:
    record = RESULT._replace(**{field: "a\0b" + "\0" * 10})
    key = record.idempotency_key
    try:
        stored = store.swap(key, None, record)
    except IdempotencyPersistenceConfigError as error:
        refusal = str(error)
    else:
        assert stored == record
        assert store.load(key) == store.kept(record)
        return
    assert "NUL" in refusal
    assert "Nothing was written" in refusal
    assert store.load("a") is None
    assert store.load("key") is None


def test_deadlines_beyond_32_bits_are_kept(store: Any) -> None:
    record = CLAIM._replace(expiry_timestamp=2**40 + 1, in_progress_expiry_timestamp=2**53 + 1)
    assert store.swap("key", None, record) == record
    assert store.load("key") == store.kept(record)


@pytest.mark.clause("CAS-2", "CAS-3")
def test_a_live_record_refuses_another_and_is_returned(store: Any) -> None:
    store.swap("key", None, CLAIM)
    rival = CLAIM._replace(owner="rival", expiry_timestamp=FAR + 1)
    current = store.swap("key", None, rival)
    assert current == store.kept(CLAIM)
    assert store.load("key") == store.kept(CLAIM)


@pytest.mark.clause("CAS-2")
@pytest.mark.needs("fenced")
@pytest.mark.parametrize("field", VERSION_FIELDS)
@pytest.mark.parametrize("new", [RESULT, None], ids=["replace", "delete"])
def test_a_swap_is_refused_if_any_field_of_the_version_differs(
    store: Any, field: str, new: Record | None
) -> None:
    store.swap("key", None, CLAIM)
    expected = CLAIM._replace(**{field: VERSION_FIELDS[field]})
    assert store.swap("key", expected, new) == CLAIM
    assert store.load("key") == CLAIM


@pytest.mark.needs("fenced")
@pytest.mark.parametrize("field", ["owner", "in_progress_expiry_timestamp"])
@pytest.mark.parametrize("none_stored", [True, False])
def test_nothing_in_a_field_equals_nothing_only(store: Any, field: str, none_stored: bool) -> None:
    without = CLAIM._replace(**{field: None})
    current, expected = (without, CLAIM) if none_stored else (CLAIM, without)
    store.swap("key", None, current)
    assert store.swap("key", expected, RESULT) == current
    assert store.swap("key", current, RESULT) == RESULT


@pytest.mark.clause("CAS-2")
@pytest.mark.needs("fenced")
def test_fields_outside_the_version_do_not_matter(store: Any) -> None:
    store.swap("key", None, CLAIM)
    expected = CLAIM._replace(response_data="unknown to the caller", payload_hash=None)
    assert store.swap("key", expected, RESULT) == RESULT
    assert store.load("key") == RESULT


@pytest.mark.needs("fenced")
def test_expecting_a_record_where_none_is_refuses_and_returns_nothing(store: Any) -> None:
    assert store.swap("key", CLAIM, RESULT) is None
    assert store.load("key") is None
    assert store.swap("key", CLAIM, None) is None


@pytest.mark.needs("fenced")
def test_expecting_nothing_where_a_record_is_deletes_nothing(store: Any) -> None:
    store.swap("key", None, RESULT)
    assert store.swap("key", None, None) == RESULT
    assert store.load("key") == RESULT


def test_a_deleted_record_is_gone_and_its_key_free(store: Any) -> None:
    store.swap("key", None, CLAIM)
    assert store.swap("key", CLAIM, None) is None
    assert store.load("key") is None
    assert store.swap("key", None, CLAIM) == CLAIM


@pytest.mark.clause("CAS-3")
@pytest.mark.needs("fenced")
@pytest.mark.parametrize("expected", [None, CLAIM], ids=["claim", "completion"])
def test_a_retry_after_a_lost_reply_meets_its_own_write(store: Any, expected: Record | None) -> None:
    if expected is not None:
        store.swap("key", None, expected)
    new = CLAIM if expected is None else RESULT
    store.swap("key", expected, new)  # applied, and its reply lost
    assert same_record(store.swap("key", expected, new), new)


@pytest.mark.needs("fenced")
def test_a_retried_deletion_finds_nothing_and_has_succeeded(store: Any) -> None:
    store.swap("key", None, CLAIM)
    store.swap("key", CLAIM, None)
    assert store.swap("key", CLAIM, None) is None


@pytest.mark.needs("fenced")
@pytest.mark.parametrize("ttl_ms", [60_000, 3_600_000, 2**53])
def test_the_time_to_keep_changes_no_answer(store: Any, ttl_ms: int) -> None:
    assert store.swap("key", None, RESULT, ttl_ms) == RESULT
    assert store.load("key") == RESULT


@pytest.mark.clause("CAS-5")
@pytest.mark.needs("fenced")
def test_load_and_swap_read_no_clock(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> int:
        raise AssertionError("a clock was read")

    def forbidden(clock: Callable[[], Any]) -> Callable[[], Any]:
        # Only the client has timeouts; the layer does not read the time.
        return lambda: read() if "idemproof" in sys._getframe(1).f_globals["__name__"] else clock()

    monkeypatch.setattr(store.layer, "clock", read)
    for name in ("time", "time_ns"):
        monkeypatch.setattr(time, name, forbidden(getattr(time, name)))
    monkeypatch.setattr(clock_module, "wall_clock_ms", read)
    past = CLAIM._replace(expiry_timestamp=1, in_progress_expiry_timestamp=1)
    assert store.swap("key", None, past) == past
    assert store.load("key") == past
    assert store.swap("key", None, CLAIM) == past
    assert store.swap("key", past, RESULT) == RESULT
    assert store.swap("key", RESULT, None) is None


@pytest.mark.clause("CAS-5")
@pytest.mark.needs("fenced", "steady")
@pytest.mark.parametrize("wall", ["1970-01-02T00:00:00Z", "2500-01-01T00:00:00Z"])
def test_a_record_does_not_depend_on_the_wall_clock(store: Any, wall: str) -> None:
    record = RESULT._replace(expiry_timestamp=2_000_000_000)
    store.swap("key", None, record)
    with time_machine.travel(wall, tick=False):
        assert store.load("key") == record
        assert store.swap("key", None, CLAIM) == record


@pytest.mark.clause("CAS-1")
@pytest.mark.needs("durable")
def test_another_object_at_the_same_place_sees_each_change_at_once(store: Any) -> None:
    other = store.again()
    store.swap("key", None, CLAIM)
    assert other.load("key") == CLAIM
    assert other.swap("key", CLAIM, RESULT) == RESULT
    assert store.load("key") == RESULT
    assert store.swap("key", CLAIM, None) == RESULT


@pytest.mark.clause("INV-7", "CAS-6")
@pytest.mark.needs("housekeeping")
@few
@given(current=st.lists(records, max_size=6), now=st.sampled_from([0, 999, 1000, 1001, 2**40]))
def test_housekeeping_forgets_exactly_what_the_specification_allows(
    store: Any, current: list[Record], now: int
) -> None:
    store.purge(2**70)
    near = [
        record._replace(idempotency_key=str(number), expiry_timestamp=record.expiry_timestamp % 3)
        for number, record in enumerate(current)
    ]
    for record in near:
        store.swap(record.idempotency_key, None, record)
    allowed = [record for record in near if transition(record, Evict(), now)[0] is None]
    assert store.purge(now) == len(allowed)
    for record in near:
        assert store.load(record.idempotency_key) == (None if record in allowed else record)
    assert store.purge(now) == 0


@pytest.mark.parametrize("method", ["create_table", "purge", "close"])
def test_an_async_layer_is_looked_after_by_coroutines(store: Any, method: str) -> None:
    found = getattr(store.layer, method, None)
    asynchronous = isinstance(store.layer, AsyncBasePersistenceLayer)
    assert found is None or inspect.iscoroutinefunction(found) == asynchronous


@pytest.mark.clause("CAS-12")
def test_a_layer_may_be_closed_twice_and_stays_usable(store: Any) -> None:
    store.close()
    store.swap("key", None, CLAIM)
    store.close()
    store.close()
    assert store.load("key") == store.kept(CLAIM)


@pytest.mark.clause("ROW-14")
@pytest.mark.needs("housekeeping")
def test_housekeeping_asks_the_layers_own_clock(store: Any) -> None:
    record = RESULT._replace(expiry_timestamp=1000)
    store.swap("key", None, record)
    assert store.at(999_999).purge() == 0
    assert store.load("key") == record
    assert store.at(1_000_000).purge() == 1
    assert store.load("key") is None


class AgainstADictionary(RuleBasedStateMachine):
    """Random swaps have the same results on a layer and on a dictionary."""

    examples = 0

    def __init__(self, store: Any) -> None:
        super().__init__()
        self.store = store
        type(self).examples += 1
        self.prefix = f"{type(self).examples}/"
        self.model: dict[str, Record] = {}
        self.seen: list[Record] = []

    @initialize(record=records)
    def begin(self, record: Record) -> None:
        self.swap("a", None, record)

    def swap(self, key: str, expected: Record | None, new: Record | None) -> None:
        if new is not None:
            new = new._replace(idempotency_key=self.prefix + key)
            self.seen.append(new)
        if same_version(self.model.get(key), expected):
            if new is None:
                self.model.pop(key, None)
            else:
                self.model[key] = new
        # All is written as if at the epoch or before, so that no housekeeping of the layer's own intervenes.
        ttl_ms = 0 if new is None else max(3_600_000, new.expiry_timestamp * 1000)
        found = self.store.swap(self.prefix + key, expected, new, ttl_ms)
        assert found == self.model.get(key)

    keys = st.sampled_from("ab")

    @rule(key=keys, new=st.none() | records)
    def swap_what_stands(self, key: str, new: Record | None) -> None:
        self.swap(key, self.model.get(key), new)

    @rule(key=keys, new=st.none() | records)
    def swap_nothing(self, key: str, new: Record | None) -> None:
        self.swap(key, None, new)

    @rule(key=keys, data=st.data(), new=st.none() | records)
    def swap_something_seen_before(self, key: str, data: st.DataObject, new: Record | None) -> None:
        if self.seen:
            self.swap(key, data.draw(st.sampled_from(self.seen)), new)

    @rule(key=keys, field=st.sampled_from(list(VERSION_FIELDS)), other=records, new=st.none() | records)
    def swap_something_slightly_different(
        self, key: str, field: str, other: Record, new: Record | None
    ) -> None:
        if key in self.model:
            self.swap(key, self.model[key]._replace(**{field: getattr(other, field)}), new)

    @rule(key=keys)
    def write_the_same_again(self, key: str) -> None:
        self.swap(key, None, self.model.get(key))

    @rule()
    def go_on_with_another_object(self) -> None:
        if "durable" in self.store.capabilities:
            self.store = self.store.again() if len(self.store._others) < 3 else self.store

    @invariant()
    def agrees(self) -> None:
        for key in "ab":
            assert self.store.load(self.prefix + key) == self.model.get(key)


@pytest.mark.once
@pytest.mark.clause("CAS-1", "CAS-2", "CAS-3")
@pytest.mark.needs("fenced")
def test_any_history_agrees_with_a_dictionary(store: Any) -> None:
    examples = 15 if "quick" in store.capabilities else 3
    run_state_machine_as_test(
        partial(AgainstADictionary, store),
        settings=settings(max_examples=examples, stateful_step_count=25, deadline=None),
    )
