"""Each row of the transition table, by an example at its boundary. The first matching row wins."""

from typing import Any, NamedTuple

import pytest

from idemproof.spec import events as e
from idemproof.spec.events import Abandon, Claim, Complete, CompleteWithin, Evict, Release, Renew
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from idemproof.spec.transition import TABLE, _always, deciding_row, transition

pytestmark = pytest.mark.once

NOW = 1_000_000
LEASE = NOW + 5_000
EXPIRY = NOW // 1000 + 60

EXECUTION = "durable:arn:aws:lambda:eu-west-1:1:function:f:$LATEST/durable-execution/name/id/position"
FIRST, SECOND, NO_TOKEN = f"{EXECUTION}/a", f"{EXECUTION}/b", f"{EXECUTION}/"
ELSEWHERE, STRANGER = f"{EXECUTION}-2/a", f"durable:x{EXECUTION.removeprefix('durable:')}/a"


def running(**fields: Any) -> Record:
    values: dict[str, Any] = {
        "expiry_timestamp": EXPIRY,
        "in_progress_expiry_timestamp": LEASE,
        "owner": "me",
        "payload_hash": "hash",
    }
    return Record("key", INPROGRESS, **(values | fields))


def completed(**fields: Any) -> Record:
    values: dict[str, Any] = {"response_data": '"r"', "owner": "me", "payload_hash": "hash"}
    return Record("key", COMPLETED, EXPIRY, **(values | fields))


def claim(
    owner: str | None = "me", *, lease: int | None = NOW + 9_000, payload_hash: str | None = "hash"
) -> Claim:
    return Claim(owner, lease, NOW // 1000 + 90, payload_hash, "key")


def refusing(owner: str = "me") -> Claim:
    return claim(owner)._replace(policy=e.REFUSE)


def asking() -> Claim:
    return claim()._replace(policy=e.ASK)


def complete(owner: str | None = "me", response: str = '"r"', payload_hash: str | None = "hash") -> Complete:
    return Complete(owner, response, payload_hash, NOW // 1000 + 90, "key")


def within(owner: str | None = "me", response: str = '"r"') -> CompleteWithin:
    return CompleteWithin(owner, response, "hash", NOW // 1000 + 90, "key")


class Case(NamedTuple):
    name: str
    row: str
    record: Record | None
    event: e.Event
    now: int
    outcome: type


CASES = [
    Case("nothing stands", "ROW-1", None, claim(), NOW, e.Claimed),
    Case("another's lease is just over", "ROW-1", running(owner="x"), claim(), LEASE, e.Claimed),
    Case("its own lease is just over", "ROW-1", running(), claim(), LEASE, e.Claimed),
    Case("a result is just over", "ROW-1", completed(), claim(), EXPIRY * 1000, e.Claimed),
    Case(
        "another's claim without a lease is just over",
        "ROW-1",
        running(owner="x", in_progress_expiry_timestamp=None),
        claim(),
        EXPIRY * 1000,
        e.Claimed,
    ),
    Case(
        "an expired result of another payload",
        "ROW-1",
        completed(payload_hash="o"),
        claim(),
        EXPIRY * 1000,
        e.Claimed,
    ),
    Case("its own claim stands", "ROW-2", running(), claim(), LEASE - 1, e.Claimed),
    Case(
        "its own claim, even of another payload", "ROW-2", running(payload_hash="o"), claim(), NOW, e.Claimed
    ),
    Case(
        "another payload is running",
        "ROW-3",
        running(owner="x", payload_hash="o"),
        claim(),
        NOW,
        e.PayloadMismatch,
    ),
    Case("another payload is done", "ROW-3", completed(payload_hash="o"), claim(), NOW, e.PayloadMismatch),
    Case("its execution is running", "ROW-16", running(owner=FIRST), claim(SECOND), LEASE - 1, e.Claimed),
    Case(
        "its execution is running without a lease",
        "ROW-16",
        running(owner=FIRST, in_progress_expiry_timestamp=None, payload_hash=None),
        claim(SECOND),
        EXPIRY * 1000 - 1,
        e.Claimed,
    ),
    Case(
        "its execution's lease is just over", "ROW-1", running(owner=FIRST), claim(SECOND), LEASE, e.Claimed
    ),
    Case("its own token, again", "ROW-2", running(owner=FIRST), claim(FIRST), NOW, e.Claimed),
    Case(
        "its execution with another payload",
        "ROW-3",
        running(owner=FIRST, payload_hash="o"),
        claim(SECOND),
        NOW,
        e.PayloadMismatch,
    ),
    Case(
        "its execution at another position",
        "ROW-4",
        running(owner=FIRST),
        claim(ELSEWHERE),
        NOW,
        e.InProgress,
    ),
    Case("another execution", "ROW-4", running(owner=STRANGER), claim(FIRST), NOW, e.InProgress),
    Case("no execution, in front of one", "ROW-4", running(owner=FIRST), claim("x"), NOW, e.InProgress),
    Case("nobody, in front of an execution", "ROW-4", running(owner=FIRST), claim(None), NOW, e.InProgress),
    Case("a token without a random part", "ROW-4", running(owner=NO_TOKEN), claim(FIRST), NOW, e.InProgress),
    Case(
        "tokens without an execution",
        "ROW-4",
        running(owner="durable:/a"),
        claim("durable:/b"),
        NOW,
        e.InProgress,
    ),
    Case("tokens that only look alike", "ROW-4", running(owner="e/1/a"), claim("e/1/b"), NOW, e.InProgress),
    Case("its execution's result stands", "ROW-5", completed(owner=FIRST), claim(SECOND), NOW, e.Replay),
    Case("another is running", "ROW-4", running(owner="x"), claim(), LEASE - 1, e.InProgress),
    Case("nobody's name is on it", "ROW-4", running(owner=None), claim(None), NOW, e.InProgress),
    Case("a run without a hash", "ROW-4", running(owner="x", payload_hash=None), claim(), NOW, e.InProgress),
    Case("a result stands", "ROW-5", completed(owner="x"), claim(), EXPIRY * 1000 - 1, e.Replay),
    Case("its own result stands", "ROW-5", completed(), claim(), NOW, e.Replay),
    Case("a result without a hash", "ROW-5", completed(payload_hash=None), claim(), NOW, e.Replay),
    Case("a claim without a hash", "ROW-5", completed(), claim(payload_hash=None), NOW, e.Replay),
    Case("its own result, again", "ROW-6", completed(), complete(), NOW, e.Completed),
    Case(
        "its own result, again, though expired", "ROW-6", completed(), complete(), EXPIRY * 1000, e.Completed
    ),
    Case("it holds the claim", "ROW-7", running(), complete(), LEASE - 1, e.Completed),
    Case("it holds the claim, though lapsed", "ROW-7", running(), complete(), LEASE, e.Completed),
    Case("nothing stands any more", "ROW-7", None, complete(), NOW, e.Completed),
    Case("another's claim has lapsed", "ROW-7", running(owner="x"), complete(), LEASE, e.Completed),
    Case("another's result is over", "ROW-7", completed(owner="x"), complete(), EXPIRY * 1000, e.Completed),
    Case(
        "another completed first", "ROW-8", completed(owner="x"), complete(), EXPIRY * 1000 - 1, e.Superseded
    ),
    Case(
        "our owner beside another result",
        "ROW-8",
        completed(response_data='"o"'),
        complete(),
        NOW,
        e.Superseded,
    ),
    Case(
        "another completed without a hash",
        "ROW-8",
        completed(owner="x", payload_hash=None),
        complete(),
        NOW,
        e.Superseded,
    ),
    Case("another is running", "ROW-9", running(owner="x"), complete(), LEASE - 1, e.LeaseLost),
    Case(
        "another payload completed",
        "ROW-9",
        completed(owner="x", payload_hash="o"),
        complete(),
        NOW,
        e.LeaseLost,
    ),
    Case("its execution has resumed", "ROW-9", running(owner=SECOND), complete(FIRST), NOW, e.LeaseLost),
    Case("its execution has resumed", "ROW-11", running(owner=SECOND), Release(FIRST), NOW, e.NotHeld),
    Case(
        "its execution has resumed",
        "ROW-13",
        running(owner=SECOND),
        Renew(FIRST, LEASE + 1),
        NOW,
        e.LeaseLost,
    ),
    Case("its execution completed", "ROW-8", completed(owner=SECOND), complete(FIRST), NOW, e.Superseded),
    Case("nameless, on a nameless run", "ROW-9", running(owner=None), complete(None), NOW, e.LeaseLost),
    Case("it holds the claim", "ROW-10", running(), Release("me"), NOW, e.Released),
    Case("it holds the claim, though lapsed", "ROW-10", running(), Release("me"), LEASE, e.Released),
    Case("another's claim", "ROW-11", running(owner="x"), Release("me"), NOW, e.NotHeld),
    Case("another's lapsed claim", "ROW-11", running(owner="x"), Release("me"), LEASE, e.NotHeld),
    Case("its own result", "ROW-11", completed(), Release("me"), NOW, e.NotHeld),
    Case("nothing stands", "ROW-11", None, Release("me"), NOW, e.NotHeld),
    Case("nameless", "ROW-11", running(owner=None), Release(None), NOW, e.NotHeld),
    Case("another's lease is over", "ROW-17", running(owner="x"), refusing(), LEASE, e.UnknownOutcome),
    Case(
        "the execution's lease is over",
        "ROW-17",
        running(owner=FIRST),
        refusing(SECOND),
        LEASE,
        e.UnknownOutcome,
    ),
    Case("nobody's lease is over", "ROW-17", running(owner=None), refusing(), LEASE, e.UnknownOutcome),
    Case("it expires now", "ROW-1", running(owner="x"), refusing(), EXPIRY * 1000, e.Claimed),
    Case("its own lease is over", "ROW-1", running(), refusing(), LEASE, e.Claimed),
    Case(
        "another payload", "ROW-3", running(owner="x", payload_hash="o"), refusing(), LEASE, e.PayloadMismatch
    ),
    Case("another's lease is live", "ROW-4", running(owner="x"), refusing(), LEASE - 1, e.InProgress),
    Case("a result is over", "ROW-1", completed(), refusing(), EXPIRY * 1000, e.Claimed),
    Case("another's lease is over", "ROW-18", running(owner="x"), asking(), LEASE, e.Claimed),
    Case("it expires now", "ROW-1", running(owner="x"), asking(), EXPIRY * 1000, e.Claimed),
    Case("its own lease is over", "ROW-1", running(), asking(), LEASE, e.Claimed),
    Case(
        "another payload", "ROW-3", running(owner="x", payload_hash="o"), asking(), LEASE, e.PayloadMismatch
    ),
    Case("another's lease is live", "ROW-4", running(owner="x"), asking(), LEASE - 1, e.InProgress),
    Case("its own write", "ROW-21", completed(), within(), NOW, e.Completed),
    Case("it holds the claim", "ROW-22", running(), within(), NOW, e.Completed),
    Case("it holds the claim, though lapsed", "ROW-22", running(), within(), LEASE, e.Completed),
    Case("nothing stands", "ROW-23", None, within(), NOW, e.LeaseLost),
    Case("another's lapsed claim", "ROW-23", running(owner="x"), within(), LEASE, e.LeaseLost),
    Case("another's result", "ROW-23", completed(owner="x"), within(), NOW, e.LeaseLost),
    Case("a result is over", "ROW-23", completed(owner="x"), within(), EXPIRY * 1000, e.LeaseLost),
    Case("its own other result", "ROW-23", completed(response_data='"o"'), within(), NOW, e.LeaseLost),
    Case("nameless", "ROW-23", running(owner=None), within(None), NOW, e.LeaseLost),
    Case("it holds the claim", "ROW-19", running(), Abandon("me"), NOW, e.Abandoned),
    Case("another's claim", "ROW-20", running(owner="x"), Abandon("me"), NOW, e.NotHeld),
    Case("its own result", "ROW-20", completed(), Abandon("me"), NOW, e.NotHeld),
    Case("nothing stands", "ROW-20", None, Abandon("me"), NOW, e.NotHeld),
    Case("nameless", "ROW-20", running(owner=None), Abandon(None), NOW, e.NotHeld),
    Case("it holds the claim", "ROW-12", running(), Renew("me", LEASE + 1), NOW, e.Renewed),
    Case("it holds the claim, though lapsed", "ROW-12", running(), Renew("me", LEASE + 1), LEASE, e.Renewed),
    Case("another's claim", "ROW-13", running(owner="x"), Renew("me", LEASE + 1), NOW, e.LeaseLost),
    Case("its own result", "ROW-13", completed(), Renew("me", LEASE + 1), NOW, e.LeaseLost),
    Case("a result past its expiry", "ROW-14", completed(), Evict(), EXPIRY * 1000, e.Evicted),
    Case("a claim past its expiry", "ROW-14", running(), Evict(), EXPIRY * 1000, e.Evicted),
    Case("a live result", "ROW-15", completed(), Evict(), EXPIRY * 1000 - 1, e.Kept),
    Case("a lapsed claim before its expiry", "ROW-15", running(), Evict(), LEASE, e.Kept),
    Case(
        "a live claim past its expiry",
        "ROW-15",
        running(in_progress_expiry_timestamp=EXPIRY * 1000 + 9_000),
        Evict(),
        EXPIRY * 1000,
        e.Kept,
    ),
    Case("nothing stands", "ROW-15", None, Evict(), NOW, e.Kept),
]


@pytest.mark.clause("REC-5", "TIME-2")
@pytest.mark.clause("ROW-0", "ROW-1", "ROW-2", "ROW-3", "ROW-4", "ROW-5", "ROW-6", "ROW-7")
@pytest.mark.clause("ROW-8", "ROW-9", "ROW-10", "ROW-11", "ROW-12", "ROW-13", "ROW-14", "ROW-15", "ROW-16")
@pytest.mark.clause("ROW-17", "ROW-18", "ROW-19", "ROW-20", "TAKE-1", "TAKE-2")
@pytest.mark.clause("ROW-21", "ROW-22", "ROW-23", "TXN-1")
@pytest.mark.clause("DUR-1")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}: {case.name}")
def test_row(case: Case) -> None:
    after, outcome = transition(case.record, case.event, case.now)
    assert deciding_row(case.record, case.event, case.now).clause == case.row
    assert type(outcome) is case.outcome
    if case.row not in (
        "ROW-1",
        "ROW-7",
        "ROW-10",
        "ROW-12",
        "ROW-14",
        "ROW-16",
        "ROW-18",
        "ROW-19",
        "ROW-22",
    ):
        assert after is case.record


def test_every_row_has_a_case() -> None:
    assert {case.row for case in CASES} == {row.clause for row in TABLE}


def test_the_last_row_of_each_event_has_no_condition() -> None:
    last = {row.event: row for row in TABLE}
    for kind, row in last.items():
        assert row.when.startswith("else"), kind
        assert row.guard is _always, kind


@pytest.mark.clause("ROW-1")
def test_a_claim_carries_its_parameters_and_the_record_it_took_over() -> None:
    lapsed = running(owner="x")
    after, outcome = transition(lapsed, claim(), LEASE)
    assert after == Record("key", INPROGRESS, NOW // 1000 + 90, NOW + 9_000, None, "hash", "me")
    assert outcome == e.Claimed(after, lapsed)


@pytest.mark.clause("ROW-18", "TAKE-2")
def test_a_takeover_that_asks_keeps_the_later_expiry() -> None:
    for expiry in (NOW // 1000 + 80, NOW // 1000 + 100):
        lapsed = running(owner="x", expiry_timestamp=expiry)
        after, outcome = transition(lapsed, asking(), LEASE)
        assert after is not None
        assert after.expiry_timestamp == max(expiry, NOW // 1000 + 90)
        assert outcome == e.Claimed(after, lapsed, asks=True)


@pytest.mark.clause("ROW-19", "TAKE-4")
@pytest.mark.parametrize(
    ("lease", "now", "abandoned"),
    [(LEASE, NOW, NOW), (LEASE, LEASE, LEASE), (LEASE, LEASE + 5, LEASE), (None, NOW, NOW)],
)
def test_an_abandoned_claim_can_be_taken_over_at_once_and_keeps_all_else(
    lease: int | None, now: int, abandoned: int
) -> None:
    held = running(in_progress_expiry_timestamp=lease)
    after, outcome = transition(held, Abandon("me"), now)
    assert after == running(in_progress_expiry_timestamp=abandoned)
    assert outcome == e.Abandoned(after)  # type: ignore[arg-type]
    assert transition(after, Abandon("me"), now + 9)[0] is after


@pytest.mark.clause("TIME-5", "TIME-6", "ROW-1")
@pytest.mark.parametrize(("lease", "expiry"), [(90_000, 90), (90_001, 91), (91_000, 91), (95_500, 96)])
def test_a_claim_never_expires_before_its_lease(lease: int, expiry: int) -> None:
    after, _ = transition(None, Claim("me", lease, 90, None, "key"), 0)
    assert after is not None
    assert after.expiry_timestamp == expiry


@pytest.mark.clause("ROW-16")
def test_a_resumed_claim_changes_its_owner_and_nothing_else() -> None:
    current = running(owner=FIRST)
    after, outcome = transition(current, claim(SECOND, lease=NOW + 90_000, payload_hash=None), NOW)
    assert after == current._replace(owner=SECOND)
    assert outcome == e.Claimed(after)


@pytest.mark.clause("ROW-4")
def test_an_attempt_in_progress_tells_when_to_ask_again() -> None:
    _, outcome = transition(running(owner="x"), claim(), LEASE - 7)
    assert outcome == e.InProgress(running(owner="x"), 7)


@pytest.mark.clause("ROW-7")
def test_a_completion_keeps_owner_and_hash_and_drops_the_lease() -> None:
    after, outcome = transition(running(), complete(), NOW)
    assert after == Record("key", COMPLETED, NOW // 1000 + 90, None, '"r"', "hash", "me")
    assert outcome == e.Completed(after)


@pytest.mark.clause("ROW-3", "ROW-5", "ROW-8", "ROW-9")
def test_refusals_carry_the_record_in_the_way() -> None:
    theirs = completed(owner="x")
    assert transition(theirs, complete(), NOW)[1] == e.Superseded(theirs)
    assert transition(theirs, claim(), NOW)[1] == e.Replay(theirs)
    busy = running(owner="x")
    assert transition(busy, complete(), NOW)[1] == e.LeaseLost(busy)
    assert transition(busy, claim(payload_hash="o"), NOW)[1] == e.PayloadMismatch(busy)


@pytest.mark.clause("ROW-12")
@pytest.mark.parametrize(
    ("old", "asked", "lease", "expiry"),
    [
        (LEASE, LEASE + 1, LEASE + 1, EXPIRY),
        (LEASE, LEASE - 1, LEASE, EXPIRY),
        (None, LEASE, EXPIRY * 1000, EXPIRY),
        (None, EXPIRY * 1000 + 1, EXPIRY * 1000 + 1, EXPIRY + 1),
        (LEASE, EXPIRY * 1000 + 1500, EXPIRY * 1000 + 1500, EXPIRY + 2),
    ],
)
def test_a_renewal_never_shortens_the_lease_nor_lets_the_record_expire_before_it(
    old: int | None, asked: int, lease: int, expiry: int
) -> None:
    after, outcome = transition(running(in_progress_expiry_timestamp=old), Renew("me", asked), NOW)
    assert after == running(in_progress_expiry_timestamp=lease, expiry_timestamp=expiry)
    assert outcome == e.Renewed(after)  # type: ignore[arg-type]


def test_outcomes_of_different_kinds_are_never_equal() -> None:
    record = running()
    assert e.Released() != e.NotHeld()
    assert e.Claimed(record) == e.Claimed(record)
    assert e.Completed(record) != e.Replay(record)
    assert len({e.Released(), e.NotHeld(), e.Released()}) == 2
    assert Release("me") != e.Release("you")
