"""The contract tier for the two methods: what a swap replaces and returns, and how long a record is kept."""

import itertools
import time

from ...spec.record import COMPLETED, INPROGRESS, Record, ceil_seconds, deadline_ms, expiry_ms, same_version
from ..harness import requests
from ..suite.checks import Broken, Case, check
from ..suite.trace import Trace, in_words
from .contract import HOUR_MS, claim_of, result_of

_SHORTER_MS = 300_000
_DAY_MS = 24 * HOUR_MS

_KEEP_SECONDS = (601, 3_600, 86_401, 2**31 // 1000 + 1, 2**32 // 1000 + 1, 36_525 * 86_400)
"""Requested retention times (seconds), long enough for a store that uses its own clock."""

_FINDINGS = 6
_UNIT_MS = 60_000
_REAL_WAIT_SECONDS = 0.15
"""A store that treats the milliseconds as microseconds deletes the record after 0.06 s."""


def load(case: Case, key: str, worker: int = 0) -> Record | None:
    """Return the stored record without the differences that the protocol ignores."""
    return requests.plain(case.workers[worker].load(key), key, swaps=True)


def swap(
    case: Case, key: str, expected: Record | None, new: Record | None, ttl_ms: int = _DAY_MS, worker: int = 0
) -> Record | None:
    """Swap, and return the answer without the differences that the protocol ignores."""
    answer = case.workers[worker].swap(key, expected, new, 0 if new is None else ttl_ms)
    return requests.plain(answer, key, swaps=True)


_NEVER_STORED = ("the status", "the response")
"""Variants that no row of the table stores: a result with a lease, a claim with a response."""

_NO_OWNER = "the absence of an owner"
_SAME_OWNER = {_NO_OWNER, "the empty owner"}
_ALONE = ("REC-4",)
"""The clause of a difference between these two alone."""
_EMPTY_OWNER = (
    "An owner of empty text is not the same as no owner for this layer (REC-4). This has no consequence, "
    "because no attempt writes such an owner."
)


def _variants(claim: Record) -> dict[str, Record | None]:
    """Return variants of ``claim``, each by the name of the one field in which it differs."""
    lease, expiry = deadline_ms(claim), claim.expiry_timestamp
    result = result_of(claim)
    return {
        "nothing": None,
        "the claim": claim,
        "the owner": claim._replace(owner="bob"),
        "the case of the owner": claim._replace(owner="ALICE"),
        _NO_OWNER: claim._replace(owner=None),
        "the empty owner": claim._replace(owner=""),
        "the status": claim._replace(status=COMPLETED),
        "the expiry": claim._replace(expiry_timestamp=expiry + 1),
        "the lease": claim._replace(in_progress_expiry_timestamp=lease + 1),
        "the absence of a lease": claim._replace(in_progress_expiry_timestamp=None),
        "the response": claim._replace(response_data='"another"'),
        "the payload hash": claim._replace(payload_hash="another hash"),
        "its result": result,
        "its result's response": result._replace(response_data='"another"'),
        "its result's payload hash": result._replace(payload_hash=None),
    }


@check("contract", "CAS-2", "CAS-3", needs=("swaps",))
def a_swap_replaces_what_is_expected_and_nothing_else(case: Case) -> None:
    """Among records that differ in one field, a swap replaces only the expected version, and reports it."""
    names = list(_variants(claim_of(case, "")))
    complaints: set[tuple[tuple[str, ...], str]] = set()
    stored = [name for name in names if name not in _NEVER_STORED]
    swaps = [*itertools.product(stored, names, ("another claim", "a result", "nothing"))]
    for current, expected, replaced_by in case.some(swaps, least=20):
        fault = _one_swap(case, current, expected, replaced_by)
        if fault is None:
            continue
        clauses, why, trace = fault
        if clauses == _ALONE:
            case.notes.add(_EMPTY_OWNER)
            continue
        # One finding for each ignored field, not one for each pair.
        known = {(clauses, expected), (clauses, current)} & complaints
        if not known and len(case.findings) < _FINDINGS:
            complaints |= {(clauses, expected), (clauses, current)}
            case.found(why, trace, clauses)


def _one_swap(
    case: Case, stored: str, expects: str, replaced_by: str
) -> tuple[tuple[str, ...], str, Trace] | None:
    key = case.new_key()
    claim = claim_of(case, key)
    variants = _variants(claim)
    current, expected = variants[stored], variants[expects]
    new = {
        "another claim": claim._replace(owner="carol", payload_hash=None),
        "a result": result_of(claim._replace(owner="carol"), '"new"'),
        "nothing": None,
    }[replaced_by]
    trace = case.trace(key)
    if current is not None:
        swap(case, key, None, current)
    answer = swap(case, key, expected, new, worker=1)
    found = load(case, key)
    allowed = same_version(current, expected)
    right = _kept(new if allowed else current)
    if found == right and answer == right:
        return None
    trace.log(
        "client 2",
        f"swaps in {replaced_by}, expecting {_named(expects, expected)} while {_named(stored, current)} was "
        f"stored, and gets: {in_words(answer)}",
    )
    if found == right:
        done = "done" if allowed else "refused"
        why = f"A swap that was {done} returned {_few(answer)}, but {_few(right)} is stored."
        return ("CAS-3",), why, trace
    if allowed and found == _kept(current) and answer == right:
        why = f"A swap reported success, with {_few(right)}, but {_few(found)} is still stored."
        return ("CAS-3",), why, trace
    if allowed and found == _kept(current):
        difference = "" if expects == stored else f", because of a difference that does not count ({expects})"
        clauses: tuple[str, ...] = _ALONE if {stored, expects} == _SAME_OWNER else ("CAS-2",)
        if stored == expects == _NO_OWNER:
            clauses = ("CAS-2", *_ALONE)
        return (
            clauses,
            f"A swap was refused although the stored record was the expected version{difference}.",
            trace,
        )
    if allowed:
        return ("CAS-3",), f"A swap stored {_few(found)} instead of {_few(right)}.", trace
    why = (
        f"A swap was done although the stored record was not the expected one: {_named(expects, expected)} "
        f"was expected, {_named(stored, current)} was stored."
    )
    return ("CAS-2",), why, trace


def _named(name: str, record: Record | None) -> str:
    if record is None or name in ("the claim", "its result"):
        return name
    return f"a record that differs in {name}"


def _kept(record: Record | None) -> Record | None:
    return requests.plain(record, record.idempotency_key, swaps=True) if record is not None else None


def _few(record: Record | None) -> str:
    return "nothing" if record is None else str(tuple(record))


@check("contract", "CAS-3", "INV-6", needs=("swaps",))
def a_swap_recognises_what_was_written_already(case: Case) -> None:
    """A repeated swap, as after a lost reply, returns the record that it wrote, or nothing if it deleted."""
    key = case.new_key()
    claim = claim_of(case, key)
    renewed = claim._replace(in_progress_expiry_timestamp=deadline_ms(claim) + 1)
    result = result_of(claim)
    trace = case.trace(key)
    steps = (
        ("a claim", None, claim),
        ("a longer lease", claim, renewed),
        ("a result", renewed, result),
        ("a deletion", result, None),
    )
    for what, expected, new in steps:
        for again in ("", " again"):
            answer = swap(case, key, expected, new, worker=1 if again else 0)
            trace.log("client 1", f"swaps in {what}{again}, and gets: {in_words(answer)}")
            case.require(
                answer == new,
                f"Swapping in {what}{again} returned {_few(answer)}, not the stored record, {_few(new)}.",
                trace,
            )


@check("contract", "CAS-5", needs=("swaps", "movable_clock"))
def neither_load_nor_swap_looks_at_a_clock(case: Case) -> None:
    """Before and after the lease and the expiry, the layer finds and replaces the same records."""
    began = case.now
    lease, expiry = began + 1_500, began // 1000 + 7_200
    end = expiry * 1000
    moments = (began, lease - 1, lease, lease + 1, lease + HOUR_MS, end - 1, end, end + 1)
    prepared = []
    first: dict[tuple[str, str], tuple[bool, str, Trace]] = {}
    for moment in moments:
        for status in (INPROGRESS, COMPLETED):
            for expects in ("nothing", "it", "another version"):
                key = case.new_key()
                claim = Record(key, INPROGRESS, expiry, lease, None, "a hash", "alice")
                current = claim if status == INPROGRESS else result_of(claim)
                swap(case, key, None, current, expiry_ms(current) - began)
                for worker, clause in enumerate(("CAS-3", "CAS-1")):
                    read = load(case, key, worker)
                    why = f"Before any time has passed, {in_words(current)} is read as {_few(read)}."
                    case.require(read == current, why, case.trace(key), [clause])
                prepared.append((moment, current, expects))
    for moment, current, expects in prepared:
        case.clock.move_to(moment)
        decision = _decides(case, current, expects, moment - began)
        if decision is None:
            continue
        right, why, trace = decision
        at_first = first.setdefault((current.status, expects), decision)
        if right is not at_first[0]:
            case.fail(f"{why}, unlike before: the layer decides by a clock.", trace, ["CAS-5"])
    for right, why, trace in first.values():
        case.require(right, f"{why}.", trace, ["CAS-2"])


def _decides(case: Case, current: Record, expects: str, passed: int) -> tuple[bool, str, Trace] | None:
    """Return whether a swap decides correctly; None if any decision is allowed because the record expired."""
    key = current.idempotency_key
    trace = case.trace(key)
    where = f"{passed:,} ms after {in_words(current)} was stored"
    over = case.now >= expiry_ms(current)
    try:
        found = load(case, key)
    except Broken as malformed:
        # The record was well-formed before time passed.
        case.fail(malformed.why, trace, ("CAS-5", *malformed.clauses))
    if found is None and over:
        return None  # the store may have deleted it by then
    case.require(found == current, f"{where}, it is read as {_few(found)}.", trace, _late(found))
    expected = {
        "nothing": None,
        "it": current,
        "another version": current._replace(owner="bob"),
    }[expects]
    new = Record(key, INPROGRESS, case.now // 1000 + 7_200, case.now + HOUR_MS, owner="carol")
    answer = swap(case, key, expected, new, 7_200_000, worker=1)
    trace.log("client 2", f"swaps, expecting {expects}, and gets: {in_words(answer)}")
    right = new if expects == "it" else current
    outcome = (answer, load(case, key))
    allowed: list[tuple[Record | None, Record | None]] = [(right, right)]
    if over:
        # The store may have deleted it after the read, before the swap or after it.
        instead = new if expects == "nothing" else None
        allowed += [(instead, instead), (current, None)]
    if over and outcome in allowed:
        return None
    done = answer == new
    return (
        outcome in allowed,
        f"{where}, a swap that expected {expects} was {'done' if done else 'refused'}",
        trace,
    )


def _late(found: Record | None) -> tuple[str, ...]:
    return ("CAS-5", "CAS-6") if found is None else ("CAS-5",)


@check("contract", "CAS-6", needs=("swaps", "movable_clock"))
def a_record_is_kept_for_its_time_to_live(case: Case) -> None:
    """A record is kept until the last millisecond of the requested time."""
    case.clock.move_to(ceil_seconds(case.now) * 1000 + 1)
    began = case.now
    records = []
    for seconds in _KEEP_SECONDS:
        ttl_ms = seconds * 1000 - 1
        fresh, rewritten, refused = (_kept_for(case, case.new_key(), ttl_ms) for _ in range(3))
        key = fresh.idempotency_key
        swap(case, key, None, fresh, ttl_ms)
        records.append((ttl_ms, fresh, "was stored"))
        key = rewritten.idempotency_key
        first = _kept_for(case, key, _SHORTER_MS)._replace(status=INPROGRESS, response_data=None, owner="bob")
        swap(case, key, None, first, _SHORTER_MS)
        swap(case, key, first, rewritten, ttl_ms)
        records.append((ttl_ms, rewritten, "replaced one with a shorter retention time"))
        key = refused.idempotency_key
        swap(case, key, None, refused, ttl_ms)
        swap(case, key, None, _kept_for(case, key, _SHORTER_MS), _SHORTER_MS)
        records.append((ttl_ms, refused, "was stored, and another swap was refused"))
    for ttl_ms, record, how in records:
        case.clock.move_to(began + ttl_ms - 1)
        trace = case.trace(record.idempotency_key)
        found = load(case, record.idempotency_key)
        if found != record:
            trace.log("client 1", f"reads the record {ttl_ms - 1:,} ms after it {how}")
        case.require(
            found == record,
            f"A record with a retention time of {ttl_ms:,} ms was gone {ttl_ms - 1:,} ms after it {how}.",
            trace,
        )


def _kept_for(case: Case, key: str, ttl_ms: int) -> Record:
    # The engine never requests a retention time that ends before the expiry.
    return Record(key, COMPLETED, (case.now + ttl_ms) // 1000, None, '"done"', None, "alice")


@check("contract", "CAS-6", needs=("swaps",))
def a_record_is_kept_for_milliseconds_and_not_less(case: Case) -> None:
    """The retention time is in milliseconds by the store's own clock too: the check waits for a moment."""
    record = _kept_for(case, case.new_key(), _UNIT_MS)
    trace = case.trace(record.idempotency_key)
    swap(case, record.idempotency_key, None, record, _UNIT_MS)
    trace.log("client 1", f"stores a result with a retention time of {_UNIT_MS:,} ms")
    time.sleep(_REAL_WAIT_SECONDS)
    found = load(case, record.idempotency_key)
    trace.log("client 1", f"reads it {_REAL_WAIT_SECONDS * 1000:.0f} ms later")
    case.require(
        found == record,
        f"A record with a retention time of {_UNIT_MS:,} ms was gone after "
        f"{_REAL_WAIT_SECONDS * 1000:.0f} ms: does the layer treat the time as microseconds?",
        trace,
    )
