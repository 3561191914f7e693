"""The time tier: a record is live until its deadline, to the millisecond, and no longer at it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ...spec.record import COMPLETED, INPROGRESS, Record, ceil_seconds, deadline_ms, expiry_ms
from ..harness import requests
from ..suite.checks import Case
from ..suite.trace import CLOCK, Trace
from .clock_control import check_by_the_clock
from .contract import HOUR_MS

_AT_ITS_DEADLINE = (
    "Powertools for AWS Lambda 3.37: its DynamoDB layer compares with a strict <, so that a record is still "
    "live at its deadline, and for the rest of that second if the deadline is an expiry"
)

_LEASES_MS = (1, 500, 999, 1_000, 30_001)
"""Leases (milliseconds): shorter than a second, a whole second, and longer."""

_YEAR_2100_MS = 4_102_444_800_000


class StoredKind(NamedTuple):
    """A record with a deadline: its name in messages, how to make it, and the clause about its deadline."""

    name: str
    record: Callable[[int, str], Record]
    clause: str


def _claim(key: str, lease: int | None, expiry: int) -> Record:
    return Record(key, INPROGRESS, expiry, lease, payload_hash="a hash", owner="alice")


def _with_lease(lease_ms: int) -> StoredKind:
    return StoredKind(
        f"a claim with a lease of {lease_ms:,} ms",
        lambda now, key: _claim(key, now + lease_ms, ceil_seconds(now + lease_ms + HOUR_MS)),
        "TIME-4",
    )


def _lease_is_expiry(now: int, key: str) -> Record:
    expiry = ceil_seconds(now) + 900
    return _claim(key, expiry * 1000, expiry)


def _no_lease(now: int, key: str) -> Record:
    return _claim(key, None, ceil_seconds(now) + 900)


def _result(now: int, key: str) -> Record:
    return Record(key, COMPLETED, ceil_seconds(now) + 900, None, '"done"', "a hash", "alice")


CLAIMS = (
    *map(_with_lease, _LEASES_MS),
    StoredKind("a claim whose lease ends at its expiry", _lease_is_expiry, "TIME-4"),
    StoredKind("a claim without a lease", _no_lease, "TIME-4"),
)
RESULT = StoredKind("a result", _result, "TIME-3")


_Put = tuple[StoredKind, Record, Trace, requests.Answer]


def _store(case: Case, kind: StoredKind) -> tuple[Record, Trace]:
    """Store a record of this kind under a new key; a result replaces a claim with a short lease."""
    record = kind.record(case.now, case.new_key())
    trace = case.trace(record.idempotency_key)
    claim = record
    if record.status == COMPLETED:
        claim = record._replace(
            status=INPROGRESS, in_progress_expiry_timestamp=case.now + 2_000, response_data=None
        )
    answer = requests.put(case, case.layer, claim)
    if answer.how == "done" and claim is not record:
        answer = requests.update(case, case.layer, record)
    trace.log("client 1", f"stores {kind.name}")
    case.require(answer.how == "done", f"Storing {kind.name} under an unused key was refused.", trace)
    return record, trace


def _put_another(case: Case, current: Record, trace: Trace, owner: str = "bob") -> requests.Answer:
    rival = Record(
        current.idempotency_key,
        INPROGRESS,
        ceil_seconds(case.now + 2 * HOUR_MS),
        case.now + HOUR_MS,
        payload_hash="a hash",
        owner=owner,
    )
    answer = requests.put(case, case.workers[1], rival)
    outcome = {"done": "gets it", "exists": "is refused"}.get(answer.how, answer.how)
    trace.log("client 2", f"puts a claim, and {outcome}")
    return answer


def _at(case: Case, kinds: tuple[StoredKind, ...], offset: int) -> Iterator[_Put]:
    """Store a record of each kind, and put another claim ``offset`` milliseconds after its deadline."""
    current = [(kind, *_store(case, kind)) for kind in kinds]
    current.sort(key=lambda each: deadline_ms(each[1]))
    for kind, record, trace in current:
        case.clock.move_to(deadline_ms(record) + offset)
        trace.log(CLOCK, f"it is {_in_words(offset)} the deadline of {kind.name}")
        yield kind, record, trace, _put_another(case, record, trace)


def _in_words(offset: int) -> str:
    if offset == 0:
        return "at"
    return f"{abs(offset):,} ms {'before' if offset < 0 else 'after'}"


def _must_be_over(case: Case, kinds: tuple[StoredKind, ...], offset: int, *also: str) -> None:
    for kind, record, trace, answer in _at(case, kinds, offset):
        case.require(
            answer.how == "done",
            f"{_capital(kind.name)} was still live {_in_words(offset)} its deadline: a put was refused.",
            trace,
            [kind.clause, *also],
        )
        found = requests.get(case.layer, record.idempotency_key).record
        case.require(
            found is not None and found.status == INPROGRESS and deadline_ms(found) == case.now + HOUR_MS,
            f"After the deadline of {kind.name}, a put was accepted, but its claim is not stored.",
            trace,
            ["ROW-1"],
        )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


@check_by_the_clock("time", "TIME-4", "ROW-4", "INV-1")
def a_claim_counts_until_its_last_millisecond(case: Case) -> None:
    """One millisecond before a claim's deadline (its lease, or its expiry without one), a put is refused."""
    for kind, _, trace, answer in _at(case, CLAIMS, -1):
        case.require(
            answer.how == "exists",
            f"{_capital(kind.name)} had ended one millisecond before its deadline: a put was accepted.",
            trace,
        )


@check_by_the_clock("time", "TIME-2", "TIME-4", "ROW-1", seen_in=_AT_ITS_DEADLINE)
def a_claim_is_over_at_its_deadline(case: Case) -> None:
    """At the deadline of a claim, a put is accepted, and takes over."""
    _must_be_over(case, CLAIMS, 0, "TIME-2", "ROW-1")


@check_by_the_clock("time", "TIME-4", "ROW-1", "INV-9")
def a_claim_is_over_after_its_deadline(case: Case) -> None:
    """Seconds after the deadline of a claim, a put is accepted: a dead worker does not block the key."""
    _must_be_over(case, CLAIMS, 2_000, "ROW-1", "INV-9")


@check_by_the_clock("time", "TIME-3", "INV-7", "INV-2")
def a_result_counts_until_its_last_millisecond(case: Case) -> None:
    """A result refuses a put until one millisecond before its expiry, long after the lease of its claim."""
    record, trace = _store(case, RESULT)
    key, end = record.idempotency_key, expiry_ms(record)
    for moment in (case.now + 2_000, case.now + 2_001, end - 1_000, end - 999, end - 1):
        case.clock.move_to(moment)
        trace.log(CLOCK, f"it is {end - moment:,} ms before the expiry of the result")
        found = requests.get(case.workers[1], key).record
        case.require(
            found is not None and found.status == COMPLETED and found.response_data == record.response_data,
            f"The result could not be read {end - moment:,} ms before its expiry: "
            f"{'nothing' if found is None else found.status} was found.",
            trace,
        )
        answer = _put_another(case, record, trace)
        case.require(
            answer.how == "exists",
            f"A result had ended {end - moment:,} ms before its expiry: a put was accepted.",
            trace,
        )


@check_by_the_clock("time", "TIME-2", "TIME-3", "ROW-1", seen_in=_AT_ITS_DEADLINE)
def a_result_is_over_at_its_expiry(case: Case) -> None:
    """At the expiry of a result, a put is accepted, and the operation runs again."""
    _must_be_over(case, (RESULT,), 0, "TIME-2", "ROW-1")


@check_by_the_clock("time", "TIME-3", "ROW-1", "INV-9")
def a_result_is_over_after_its_expiry(case: Case) -> None:
    """Seconds after the expiry of a result, a put is accepted, and a new result can be stored."""
    _must_be_over(case, (RESULT,), 2_000, "ROW-1", "INV-9")
    record, trace = _store(case, RESULT)
    case.clock.move_to(expiry_ms(record) + 2_000)
    claim = record._replace(
        status=INPROGRESS,
        response_data=None,
        owner="bob",
        in_progress_expiry_timestamp=case.now + HOUR_MS,
        expiry_timestamp=ceil_seconds(case.now + 2 * HOUR_MS),
    )
    requests.put(case, case.workers[1], claim)
    again = claim._replace(status=COMPLETED, response_data='"done again"', in_progress_expiry_timestamp=None)
    requests.update(case, case.workers[1], again)
    trace.log("client 2", "runs again after the expiry, and stores its result")
    found = requests.get(case.layer, record.idempotency_key).record
    case.require(
        found is not None and found.status == COMPLETED and found.response_data == again.response_data,
        "After a takeover of an expired result, the new result is not stored.",
        trace,
    )


@check_by_the_clock("time", "TIME-2", "TIME-4", "ROW-1", "INV-7")
def a_takeover_has_its_own_deadline(case: Case) -> None:
    """A claim that takes over is live until its own deadline, not that of the claim it replaced."""
    record, trace = _store(case, CLAIMS[0])
    case.pass_time(3_000, trace)
    answer = _put_another(case, record, trace)
    why = "A put was refused after the lease had ended."
    case.require(answer.how == "done", why, trace, ["TIME-4", "ROW-1"])
    taken = record._replace(in_progress_expiry_timestamp=case.now + HOUR_MS)
    case.clock.move_to(deadline_ms(taken) - 1)
    trace.log(CLOCK, "it is 1 ms before the deadline of client 2's claim")
    answer = _put_another(case, taken, trace, "carol")
    case.require(
        answer.how == "exists",
        "A claim that had taken over ended before its own deadline.",
        trace,
        ["TIME-4", "INV-1"],
    )


@check_by_the_clock("time", "TIME-1", "TIME-2", "TIME-3", "TIME-4")
def deadlines_are_kept_in_the_year_2100(case: Case) -> None:
    """Deadlines far in the future, beyond 31 bits of seconds, are exact too."""
    if case.now < _YEAR_2100_MS:
        case.clock.move_to(_YEAR_2100_MS)
    kinds = (_with_lease(30_001), *CLAIMS[-2:], RESULT)
    for kind, _, trace, answer in _at(case, kinds, -1):
        case.require(
            answer.how == "exists",
            f"In the year 2100, {kind.name} had ended one millisecond before its deadline.",
            trace,
            [kind.clause],
        )
    _must_be_over(case, kinds, 2_000)
