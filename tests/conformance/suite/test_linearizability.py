"""``linearization`` finds an order if and only if there is one."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idemproof import DataRecord, InMemoryPersistenceLayer, Record
from idemproof.conformance.harness.linearizability import (
    Delete,
    Get,
    Operation,
    Put,
    Refused,
    Update,
    linearization,
)
from idemproof.errors import (
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyLeaseLostError,
)
from idemproof.spec.commands import Load, Swap
from idemproof.spec.record import COMPLETED, INPROGRESS

pytestmark = pytest.mark.once

KEY = "order-1"
NOW = 1_000_000
HOUR = 3_600_000


def claim(owner: str | None, lease: int = NOW + HOUR, payload_hash: str | None = None) -> Record:
    return Record(KEY, INPROGRESS, lease // 1000 + 60, lease, payload_hash=payload_hash, owner=owner)


def result(owner: str | None, response: str = '"done"', payload_hash: str | None = None) -> Record:
    return Record(
        KEY,
        COMPLETED,
        NOW // 1000 + 7200,
        response_data=response,
        payload_hash=payload_hash,
        owner=owner,
    )


ANN, BOB = claim("ann"), claim("bob")
DONE = result("ann")


def operation(
    start: int, end: int | None, request: Any, answer: Any = None, who: str = "ann", now: int = NOW
) -> Operation:
    return Operation(who, start, end, now, request, answer)


def sequential(*requests_and_answers: tuple[Any, Any], now: int = NOW) -> list[Operation]:
    return [
        operation(2 * turn, 2 * turn + 1, request, answer, now=now)
        for turn, (request, answer) in enumerate(requests_and_answers)
    ]


def swap(expected: Record | None, new: Record | None) -> Swap:
    return Swap(KEY, expected, new, HOUR)


RECORDS = st.sampled_from(
    [
        ANN,
        BOB,
        claim("ann", NOW + 2 * HOUR),
        claim("ann", payload_hash="a hash"),
        claim("bob", NOW - 1),
        claim("ann", NOW - HOUR),  # expired, too
        DONE,
        result("bob", '"bob\'s"'),
        result("ann", payload_hash="a hash"),
    ]
)
STORED = st.none() | RECORDS
REQUESTS = st.one_of(
    st.just(Load(KEY)),
    st.just(Get(KEY)),
    st.builds(swap, STORED, STORED),
    st.builds(Put, RECORDS),
    st.builds(Update, st.builds(result, st.sampled_from(["ann", "bob"]), st.sampled_from(["1", "2"]))),
    st.builds(Delete, st.sampled_from([ANN, BOB])),
)


def ask(layer: Any, request: Any) -> Any:
    """Send a request, and return its answer as ``linearization`` needs it."""
    if isinstance(request, Load | Swap):
        return (layer._swap if isinstance(request, Swap) else layer._load)(*request)
    try:
        method = {
            Get: layer._get_record,
            Put: layer._put_record,
            Update: layer._update_record,
            Delete: layer._delete_record,
        }
        return method[type(request)](*request)
    except IdempotencyItemNotFoundError:
        return None
    except IdempotencyItemAlreadyExistsError as exists:
        return Refused(exists.old_data_record)
    except IdempotencyLeaseLostError:
        return Refused()


def layer_at(now: int) -> InMemoryPersistenceLayer:
    layer = InMemoryPersistenceLayer()
    layer.clock = lambda: now
    return layer


@st.composite
def executed(draw: st.DrawFn, at_most: int = 12) -> tuple[list[Operation], Record | None]:
    """Generate a history in which each request takes effect at one time between its start and its end."""
    layer = layer_at(NOW)
    current = draw(STORED)
    if current is not None:
        layer._swap(KEY, None, current, HOUR)
    requests = draw(st.lists(REQUESTS, min_size=1, max_size=at_most))
    done = []
    for turn, request in enumerate(requests):
        begun = draw(st.integers(0, 30))
        ended = draw(st.integers(0, 30))
        answer = ask(layer, request)
        unanswered = draw(st.integers(0, 5)) == 0
        done.append(
            operation(
                100 * turn - 10 * begun,
                None if unanswered else 100 * turn + 10 * ended + 1,
                request,
                None if unanswered else answer,
            )
        )
    return draw(st.permutations(done)), current


@given(executed())
def test_a_history_of_sequential_effects_is_linearizable(history: Any) -> None:
    operations, current = history
    order = linearization(operations, current)
    assert order is not None
    assert {each for each in operations if each.end is not None} <= {*order}


@given(executed())
def test_an_order_contradicts_neither_the_clock_nor_the_answers(history: Any) -> None:
    operations, current = history
    order = linearization(operations, current) or []
    for place, each in enumerate(order):
        assert all(later.end is None or later.end > each.start for later in order[place + 1 :])
    again = [
        each._replace(start=2 * turn, end=None if each.end is None else 2 * turn + 1)
        for turn, each in enumerate(order)
    ]
    assert linearization(again, current) is not None


SMALL = st.lists(
    st.tuples(
        st.one_of(st.just(Load(KEY)), st.builds(swap, st.sampled_from([None, ANN, BOB]), STORED)),
        st.sampled_from([None, ANN, BOB, DONE]),
        st.integers(0, 8),
        st.integers(1, 8),
    ),
    min_size=1,
    max_size=6,
)


def linearizable_by_brute_force(operations: list[Operation]) -> bool:
    """Return whether any order of the operations gives the same answers on a sequential layer."""
    for order in permutations(operations):
        in_time = all(
            later.end > earlier.start  # type: ignore[operator]
            for place, earlier in enumerate(order)
            for later in order[place + 1 :]
        )
        layer = layer_at(NOW)
        if in_time and all(ask(layer, each.request) == each.answer for each in order):
            return True
    return False


@settings(max_examples=150)
@given(SMALL)
def test_it_agrees_with_brute_force(drawn: Any) -> None:
    operations = [
        operation(100 * start + number, 100 * (start + length) + 50 + number, request, answer)
        for number, (request, answer, start, length) in enumerate(drawn)
    ]
    assert (linearization(operations) is not None) == linearizable_by_brute_force(operations)


@settings(max_examples=150)
@given(executed(at_most=5), st.data())
def test_it_agrees_with_brute_force_for_documented_requests(history: Any, data: st.DataObject) -> None:
    operations, _ = history
    answers = st.sampled_from([None, ANN, Refused(), Refused(ANN), Refused(DONE)])
    changed = [
        each._replace(
            end=each.start + 101 if each.end is None else each.end,
            answer=data.draw(answers) if data.draw(st.booleans()) else each.answer,
        )
        for each in operations
        if not isinstance(each.request, Put) or each.request.record[2] * 1000 > NOW
    ]
    changed = [each for each in changed if not _expired(each.request)]

    def agrees(reported: Any, done: Any) -> bool:
        if reported == Refused() and type(done) is Refused:
            return True
        return type(reported) is type(done) and (reported == done)

    def by_brute_force() -> bool:
        for order in permutations(changed):
            layer = layer_at(NOW)
            if all(
                later.end > earlier.start
                for place, earlier in enumerate(order)
                for later in order[place + 1 :]
            ) and all(agrees(_plain(each.answer), _plain(ask(layer, each.request))) for each in order):
                return True
        return False

    reported = [each._replace(answer=_plain(each.answer)) for each in changed]
    assert (linearization(reported) is not None) == by_brute_force()


def _expired(request: Any) -> bool:
    new = request.new if isinstance(request, Swap) else None
    return new is not None and new.expiry_timestamp * 1000 <= NOW


def _plain(answer: Any) -> Any:
    if isinstance(answer, Refused):
        return Refused(_plain(answer.record))
    if isinstance(answer, DataRecord):
        answer = answer.as_record()
    return None if answer is None else Record(*(each or None for each in answer))


def test_two_claims_of_an_unused_key_cannot_both_be_granted() -> None:
    both = [operation(0, 2, swap(None, ANN), ANN), operation(1, 3, swap(None, BOB), BOB, "bob")]
    assert linearization(both) is None
    one = [both[0], both[1]._replace(answer=ANN)]
    assert linearization(one) == one
    assert linearization([*one, operation(4, 5, Load(KEY), BOB)]) is None
    assert linearization([*one, operation(4, 5, Load(KEY), ANN)]) is not None


@pytest.mark.parametrize("swaps", [True, False])
def test_two_puts_cannot_both_be_granted(swaps: bool) -> None:
    both = [operation(0, 2, Put(ANN)), operation(1, 3, Put(BOB), None, "bob")]
    assert linearization(both, swaps=swaps, fenced=swaps) is None
    assert linearization([both[0], both[1]._replace(answer=Refused())], swaps=swaps) is not None
    assert linearization([both[0], both[1]._replace(answer=Refused(ANN))], swaps=swaps) is not None
    assert linearization([both[0], both[1]._replace(answer=Refused(DONE))], swaps=swaps) is None


def test_reads_do_not_go_back_in_time() -> None:
    history = [
        operation(0, 9, swap(None, ANN), ANN),
        operation(1, 2, Load(KEY), ANN, "bob"),
        operation(3, 4, Load(KEY), None, "bob"),
    ]
    assert linearization(history) is None
    assert linearization(
        [history[0], history[1]._replace(start=3, end=4), history[2]._replace(start=1, end=2)]
    )


def test_a_refused_claim_needs_another_record() -> None:
    assert linearization(sequential((Put(ANN), Refused()))) is None
    assert linearization(sequential((Put(BOB), None), (Put(ANN), Refused()))) is not None


def test_an_unanswered_request_took_effect_at_any_time_or_never() -> None:
    lost = operation(0, None, swap(None, ANN))
    for seen in (None, ANN):
        assert linearization([lost, operation(1, 2, Load(KEY), seen)]) is not None
    late = [lost, operation(1, 2, Load(KEY), None), operation(3, 4, Load(KEY), ANN)]
    assert linearization(late) is not None
    back_and_forth = [*late, operation(5, 6, Load(KEY), None)]
    assert linearization(back_and_forth) is None
    assert linearization([lost]) == []


def test_an_unanswered_request_has_no_effect_before_its_start() -> None:
    history = [operation(0, 1, Load(KEY), ANN), operation(2, None, swap(None, ANN))]
    assert linearization(history) is None


def test_only_expired_records_may_be_evicted_at_any_time() -> None:
    gone = sequential((Load(KEY), None))
    later = sequential((Load(KEY), ANN), (Load(KEY), None), now=ANN.expiry_timestamp * 1000)
    assert linearization(later, ANN) is not None
    assert linearization(later[::-1], ANN) is not None
    assert linearization([*later, operation(9, 10, Load(KEY), ANN)], ANN) is None
    assert linearization(gone, ANN) is None
    assert linearization(sequential((Load(KEY), None), now=ANN.expiry_timestamp * 1000 - 1), ANN) is None


def test_only_the_holder_may_update() -> None:
    other = result("bob")
    refused = sequential((Put(ANN), None), (Update(other), Refused()), (Update(DONE), None), (Get(KEY), DONE))
    assert linearization(refused) is not None
    accepted = sequential((Put(ANN), None), (Update(other), None))
    assert linearization(accepted) is None
    assert linearization(accepted, swaps=False, fenced=False) is not None
    overwritten = sequential((Put(ANN), None), (Update(other), None), (Get(KEY), other))
    assert linearization(overwritten, swaps=False, fenced=False) is not None
    assert linearization(overwritten, swaps=False) is None


def test_an_update_or_deletion_without_an_owner_acts_for_the_holder() -> None:
    done = result(None)
    assert linearization(sequential((Put(ANN), None), (Update(done), None), (Load(KEY), done))) is not None
    assert linearization(sequential((Put(ANN), None), (Delete(claim(None)), None), (Load(KEY), None)))
    final = sequential((Update(result(None, "2")), None), (Delete(claim(None)), None), (Load(KEY), DONE))
    assert linearization(final, DONE) is not None
    assert linearization(sequential((Delete(claim(None)), None), (Load(KEY), None)), DONE) is None


def test_a_put_without_an_owner_gets_a_generated_owner() -> None:
    without_owner = claim(None)
    kept = sequential((Put(without_owner), None), (Get(KEY), without_owner._replace(owner="whatever")))
    assert linearization(kept) is not None
    twice = sequential((Put(without_owner), None), (Put(without_owner), None))
    assert linearization(twice) is None
    assert linearization(sequential((Put(ANN), None), (Put(ANN), None))) is not None  # its own, again


def test_a_layer_with_four_methods_need_not_store_owners() -> None:
    again = sequential((Put(ANN), None), (Put(ANN), Refused(ANN._replace(owner=None))))
    assert linearization(again, swaps=False) is not None
    assert linearization(again) is None
    changed = ANN._replace(expiry_timestamp=1)
    assert linearization(sequential((Put(ANN), None), (Get(KEY), changed)), swaps=False) is None


def test_empty_texts_and_none_are_equal() -> None:
    reported = ANN._replace(response_data="", payload_hash="")
    assert linearization(sequential((swap(None, ANN), reported))) is not None
    assert linearization(sequential((swap(None, ANN), reported._replace(response_data="1")))) is None


def test_many_refused_requests_are_checked_fast() -> None:
    stress = [operation(n, 1000 + n, Put(claim(f"client {n}")), Refused()) for n in range(12)]
    assert linearization(stress) is None
    assert linearization([*stress, operation(13, 2000, Put(BOB))]) is not None


def test_a_swap_that_finds_its_own_record_may_still_be_needed_later() -> None:
    history = [
        operation(0, 9, swap(None, ANN), ANN),
        operation(1, 2, swap(ANN, None), None, "bob"),
        operation(3, 4, Load(KEY), ANN, "bob"),
    ]
    order = linearization(history, ANN)
    assert order == [history[1], history[0], history[2]]


def test_a_record_that_expires_during_a_request_may_be_evicted() -> None:
    over = ANN.expiry_timestamp * 1000
    waits = operation(0, 9, Load(KEY), None)
    assert linearization([waits, operation(1, 2, Load(KEY), ANN, "bob", now=over)], ANN) is not None
    assert linearization([waits, operation(10, 11, Load(KEY), None, "bob", now=over)], ANN) is None
    late = operation(0, None, swap(None, BOB))
    assert linearization([late, operation(10, 11, Load(KEY), BOB, "bob", now=over)], ANN) is not None


def test_a_layer_with_four_methods_obeys_the_holder() -> None:
    for request in (Update(DONE), Delete(ANN)):
        refused = sequential((Put(ANN), None), (request, Refused()))
        ignored = sequential((Put(ANN), None), (request, None), (Get(KEY), ANN))
        assert linearization(refused, swaps=False) is None
        assert linearization(ignored, swaps=False) is None
        assert linearization(ignored[:2], swaps=False) is not None


def test_equal_states_are_searched_once() -> None:
    stress = []
    for number in range(7):
        own = claim(f"client {number}")
        stress += [
            operation(number, 100 + number, swap(None, own), own),
            operation(200 + number, 300 + number, swap(own, None), None),
        ]
    overlapping = [
        each._replace(start=each.start % 100, end=400 + number) for number, each in enumerate(stress)
    ]
    assert linearization([*overlapping, operation(500, 501, Load(KEY), None)]) is not None
    assert linearization([*overlapping, operation(500, 501, Load(KEY), BOB)]) is None
