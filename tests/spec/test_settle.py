"""The loop that settles a change: how often it asks, what it sends, and when it stops."""

from collections.abc import Callable
from typing import Any

import pytest

from idemproof.spec.commands import Sleep, Swap
from idemproof.spec.events import (
    ASK,
    Claim,
    Claimed,
    Complete,
    Completed,
    Event,
    InProgress,
    Release,
    Released,
    Replay,
    Superseded,
)
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from idemproof.spec.settle import Change, Granted, settle

pytestmark = pytest.mark.once

NOW = 1_000_000
LEASE = 5_000
OTHERS = Record("key", INPROGRESS, 9_999, NOW + LEASE, None, None, "another")


class ConflictError(Exception):
    """The record changed too often."""


class Clock:
    """The time, which each reading moves on by what ``steps`` says, or not at all."""

    def __init__(self, *steps: int) -> None:
        self.now = NOW
        self._steps = iter(steps)

    def __call__(self) -> int:
        self.now += next(self._steps, 0)
        return self.now


class Subject:
    """A call that makes a change."""

    held: Record | None = None
    replaced: Record | None = None
    asks = False

    def __init__(self) -> None:
        self.refusals: list[int] = []


class Tried(Change):
    """A claim of "me" that retries each failure after 7 ms, and records what it is called with."""

    claims = True
    conflicts = 3
    requests = 8

    def __init__(self) -> None:
        self.failures: list[tuple[BaseException, int]] = []

    def event(self, subject: Subject, now: int) -> Event:
        assert isinstance(subject, Subject)
        return Claim("me", now + LEASE, (now + LEASE) // 1000 + 60, None, "key")

    def refused(self, subject: Subject, failures: int) -> None:
        subject.refusals.append(failures)

    def failed(self, subject: Subject, error: BaseException, failures: int, clock: Callable[[], int]) -> int:
        assert isinstance(subject, Subject)
        assert clock() >= NOW
        self.failures.append((error, failures))
        if not isinstance(error, OSError):
            raise error
        return 7

    def restless(self, key: str, requests: int) -> Exception:
        return ConflictError(key, requests)


class Done(Tried):
    """A completion of "me"."""

    claims = False

    def event(self, subject: Subject, now: int) -> Event:
        assert isinstance(subject, Subject)
        return Complete("me", '"mine"', None, now // 1000 + 1, "key")


class Asking(Tried):
    """A claim of "me" that asks before it repeats."""

    def event(self, subject: Subject, now: int) -> Event:
        return Claim("me", now + LEASE, (now + LEASE) // 1000 + 60, None, "key", policy=ASK)


class Ended(Tried):
    """A release by "me"."""

    claims = False

    def event(self, subject: Subject, now: int) -> Event:
        return Release("me")


class Store:
    """Answers requests by ``replies``: a failure to raise, a function of the request, or a record."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.asked: list[Swap] = []
        self.slept: list[int] = []

    def run(self, change: Change, current: Record | None = None, clock: Clock | None = None) -> Any:
        self.subject = Subject()
        steps = settle(change, self.subject, "key", current, clock or Clock())
        try:
            command = next(steps)
            while True:
                command = self._answer(steps, command)
        except StopIteration as end:
            return end.value

    def _answer(self, steps: Any, command: Any) -> Any:
        if isinstance(command, Sleep):
            self.slept.append(command.milliseconds)
            return steps.send(None)
        assert isinstance(command, Swap)
        self.asked.append(command)
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            return steps.throw(reply)
        return steps.send(reply(command) if callable(reply) else reply)


def grant(request: Swap) -> Record | None:
    return request.new


def copied(request: Swap) -> Record | None:
    assert request.new is not None
    return request.new._replace()


def another(number: int) -> Record:
    """Return a claim of another attempt that is not live."""
    return Record("key", INPROGRESS, 1, NOW - number, None, None, f"another {number}")


@pytest.mark.clause("CAS-3")
def test_what_is_stored_is_compared_and_not_identified() -> None:
    for reply in (grant, copied):
        store = Store(reply)
        outcome = store.run(Tried())
        assert outcome == Claimed(store.asked[0].new)
        assert store.subject.held == store.asked[0].new
        assert not store.subject.refusals


def test_a_confirmed_claim_stays_the_object_that_its_layer_returned() -> None:
    confirmed = Granted("key", INPROGRESS, (NOW + LEASE) // 1000 + 60, NOW + LEASE, None, None, "me")
    store = Store(confirmed)
    store.run(Tried())
    assert store.subject.held is confirmed
    store = Store(copied)
    store.run(Tried())
    assert store.subject.held is store.asked[0].new


@pytest.mark.clause("TAKE-3")
@pytest.mark.parametrize(
    ("found", "takes_over"),
    [
        (Record("key", INPROGRESS, 9_999, NOW - 1, None, None, "another"), True),
        (Record("key", INPROGRESS, 9_999, NOW - 1, None, None, "me"), False),
        (Record("key", COMPLETED, 1, None, '"theirs"', None, "another"), False),
        (None, False),
    ],
)
def test_what_a_claim_takes_over_is_known_before_the_reply(found: Record | None, takes_over: bool) -> None:
    seen: list[Any] = []

    def sent(request: Swap) -> Record | None:
        seen.append((store.subject.held, store.subject.replaced, store.subject.asks))
        return request.new

    store = Store(sent)
    assert isinstance(store.run(Asking(), found), Claimed)
    (request,) = store.asked
    assert (request.key, request.expected) == ("key", found)
    assert seen == [(request.new, found if takes_over else None, takes_over)]


def test_what_is_deleted_is_kept_for_no_time_and_decided_by_what_is_found() -> None:
    held = Record("key", INPROGRESS, 9_999, NOW + LEASE, None, None, "me")
    longer = held._replace(in_progress_expiry_timestamp=NOW + 2 * LEASE)

    class Converting(Ended):
        def acting(self, subject: Subject, current: Record | None) -> Record | None:
            return current

    store = Store(longer, grant)
    assert store.run(Converting(), held) == Released()
    assert store.asked == [Swap("key", held, None, 0), Swap("key", longer, None, 0)]


@pytest.mark.clause("ENG-3")
def test_a_grant_that_arrives_after_its_lease_is_asked_for_again() -> None:
    store = Store(grant, grant)
    outcome = store.run(Tried(), clock=Clock(0, LEASE))
    assert [request.new.in_progress_expiry_timestamp - NOW for request in store.asked if request.new] == [
        LEASE,
        2 * LEASE,
    ]
    assert store.asked[1].expected == store.asked[0].new
    assert outcome == Claimed(store.asked[1].new, store.asked[0].new)


@pytest.mark.clause("ENG-3")
def test_a_grant_without_a_moment_to_spare_is_live() -> None:
    store = Store(grant)
    store.run(Tried(), clock=Clock(0, LEASE - 1))
    assert len(store.asked) == 1


@pytest.mark.clause("ENG-3", "INV-8")
def test_late_grants_count_as_conflicts() -> None:
    change = Tried()
    store = Store(grant, grant, grant)
    with pytest.raises(ConflictError) as raised:
        store.run(change, clock=Clock(0, LEASE, LEASE, LEASE, LEASE, LEASE, LEASE, LEASE))
    assert raised.value.args == ("key", 3)
    assert len(store.asked) == 3
    assert [failures for _, failures in change.failures] == [1]


def test_a_late_grant_after_a_failure_is_no_second_failure() -> None:
    change = Tried()
    failure = OSError("no reply")
    store = Store(failure, grant, grant)
    outcome = store.run(change, clock=Clock(0, 0, 0, LEASE))
    assert isinstance(outcome, Claimed)
    assert change.failures == [(failure, 1)]
    # It waits after the failure, and not before it asks again.
    assert store.slept == [7]


def test_a_refusal_holds_although_the_lease_of_the_other_ends_at_once() -> None:
    store = Store(OTHERS)
    assert store.run(Tried(), clock=Clock(0, 0, LEASE)) == InProgress(OTHERS, LEASE)
    assert store.run(Tried(), OTHERS, Clock(0, LEASE)) == InProgress(OTHERS, LEASE)
    assert len(store.asked) == 1


def test_only_a_claim_needs_a_live_lease() -> None:
    held = Record("key", INPROGRESS, 9_999, NOW + LEASE, None, None, "me")
    store = Store(grant)
    assert isinstance(store.run(Done(), held, Clock(0, 10 * LEASE)), Completed)
    assert len(store.asked) == 1

    class Unfenced(Tried):
        claims = False

    store = Store(grant)
    assert isinstance(store.run(Unfenced(), clock=Clock(0, 10 * LEASE)), Claimed)
    assert store.subject.held == store.asked[0].new


@pytest.mark.clause("CAS-2")
def test_the_record_that_was_found_decides() -> None:
    for found in (another(1), None):
        store = Store(found, grant)
        outcome = store.run(Tried(), another(2))
        assert [request.expected for request in store.asked] == [another(2), found]
        assert outcome == Claimed(store.asked[1].new, found)
        assert store.subject.refusals == [0]
    other = Record("key", COMPLETED, 9_999, None, '"theirs"', None, "another")
    store = Store(other)
    held = Record("key", INPROGRESS, 9_999, NOW + LEASE, None, None, "me")
    assert store.run(Done(), held) == Superseded(other)
    assert len(store.asked) == 1


@pytest.mark.clause("INV-8")
def test_conflicts_and_failures_are_bounded() -> None:
    store = Store(another(1), another(2), another(3))
    with pytest.raises(ConflictError) as raised:
        store.run(Tried())
    assert raised.value.args == ("key", 3)
    assert store.subject.refusals == [0, 0, 0]

    # Failures alone are bounded by the change's own policy; with them there are at most 8 requests.
    store = Store(*[OSError()] * 6, another(1), another(2), grant)
    with pytest.raises(ConflictError) as raised:
        store.run(Tried())
    assert raised.value.args == ("key", 8)
    assert len(store.asked) == 8
    assert store.subject.refusals == [6, 6]

    store = Store(*[OSError()] * 6, another(1), grant)
    assert isinstance(store.run(Tried()), Claimed)

    # A conflict is answered at once. Only a failure is followed by a wait.
    store = Store(OSError(), another(1), grant)
    store.run(Tried())
    assert store.slept == [7]


@pytest.mark.parametrize(("late", "ttl_ms"), [(-2, 2), (-1, 1), (0, 1), (1, 1), (5, 1)])
def test_a_record_is_kept_until_its_expiry_and_never_for_ever(late: int, ttl_ms: int) -> None:
    class Expired(Tried):
        claims = False

        def event(self, subject: Subject, now: int) -> Event:
            return Complete("me", '"mine"', None, NOW // 1000, "key")

    clock = Clock(late)
    store = Store(grant)
    store.run(Expired(), clock=clock)
    assert [request.ttl_ms for request in store.asked] == [ttl_ms]


def test_a_change_may_convert_what_is_stored_and_what_is_sent() -> None:
    class Converting(Tried):
        def acting(self, subject: Subject, current: Record | None) -> Record | None:
            assert isinstance(subject, Subject)
            # What others left is as good as absent.
            return None if current == OTHERS else current

        def proposed(self, subject: Subject, new: Record | None) -> Record | None:
            assert isinstance(subject, Subject)
            assert new is not None
            return new._replace(payload_hash="converted")

    store = Store(OTHERS, grant)
    store.run(Converting())
    assert [request.expected for request in store.asked] == [None, OTHERS]
    assert all(request.new is not None and request.new.payload_hash == "converted" for request in store.asked)
    assert store.subject.held == store.asked[1].new

    done = Record("key", COMPLETED, 9_999, None, '"theirs"', None, "another")
    store = Store(done)
    assert store.run(Converting(), OTHERS) == store.run(Converting(), done) == Replay(done)
    assert [request.expected for request in store.asked] == [OTHERS]
