"""Transition vectors: the shortest trace to every situation that the table distinguishes, found by search.

The search is breadth first. It begins without a record, and tries events of three owners, of three
invocations of two durable executions, and without an owner, at the milliseconds around every deadline. Each
step lists the situations that it is an example of; the first example of a situation is the vector.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

from idemproof.spec.events import (
    ASK,
    REFUSE,
    RUN,
    Abandon,
    Claim,
    Complete,
    CompleteWithin,
    Event,
    Evict,
    Outcome,
    Release,
    Renew,
)
from idemproof.spec.record import (
    COMPLETED,
    DURABLE,
    INPROGRESS,
    RESULT_UNAVAILABLE,
    Record,
    deadline_ms,
    execution_of,
    expiry_ms,
)
from idemproof.spec.transition import TABLE, deciding_row, transition

START = 4_102_444_800_000
"""The year 2100 (epoch milliseconds): neither the milliseconds nor the seconds fit into 32 bits."""

_SECOND = START // 1000
_LEASE = START + 2500
_CLAIM_EXPIRY = _SECOND + 4
_FAR_BEYOND = 1500
_LEASES = (
    *(_LEASE, None, 0),
    *(_CLAIM_EXPIRY * 1000 + beyond for beyond in (-1, 0, 1, 1000, _FAR_BEYOND)),
)
_RESULT_EXPIRIES = (_SECOND + 6, _CLAIM_EXPIRY - 1)
_RESPONSES = ('"x"', '"y"', None, RESULT_UNAVAILABLE)
_PLAIN_RESULT = (_RESULT_EXPIRIES[0], _RESPONSES[0])
_HASHES = (None, "a", "b")
_INVOCATIONS = (f"{DURABLE}e/1", f"{DURABLE}e/2", f"{DURABLE}f/1")
_FIRST_OWNERS = ("w1", None, _INVOCATIONS[0])  # the first named owner is w1, by symmetry
_OWNERS = ("w2", "w1", "w3", None, *_INVOCATIONS)
_LONGEST = 4

_NUMBERS = {row.clause: number for number, row in enumerate(TABLE)}
_TIMELESS = ("ROW-22", "ROW-23", "ROW-10", "ROW-11", "ROW-20", "ROW-12", "ROW-13")
"""Rows whose conditions do not depend on time: examples on two sides of a deadline show that."""

_OFFSETS = {-1: "one millisecond before", 0: "exactly at", 1: "one millisecond after"}

_ASKERS = {
    "own": "the owner of the record",
    "another": "another owner",
    "resuming": "another invocation of the durable execution that owns the record",
    "another execution": "another durable execution than the one that owns the record",
    "no owner, owned record": "no owner, for a record with an owner",
    "owner, unowned record": "an owner, for a record without an owner",
    "no owner, unowned record": "no owner, for a record without an owner",
}
_UNNAMED = ("no owner, owned record", "owner, unowned record", "no owner, unowned record")
_DISTINCTIVE = {
    "ROW-1": (*_UNNAMED, "resuming"),
    "ROW-3": ("own", "no owner, unowned record"),
    "ROW-4": (*_UNNAMED, "another execution"),
    "ROW-5": ("own", "no owner, unowned record"),
    "ROW-7": ("own", *_UNNAMED),
    "ROW-8": ("own", "no owner, unowned record"),
    "ROW-9": ("own", *_UNNAMED, "resuming"),
    "ROW-11": ("own", *_UNNAMED, "resuming"),
    "ROW-13": ("own", *_UNNAMED, "resuming"),
    "ROW-17": _UNNAMED,
    "ROW-18": (*_UNNAMED, "resuming"),
    "ROW-23": ("own", *_UNNAMED, "resuming"),
    "ROW-20": ("own", *_UNNAMED, "resuming"),
}
"""The owners that deserve a vector, by row. The other rows, and another owner, have vectors already."""

_HASH_RELATIONS = {
    "equal": "with the stored payload hash",
    "different": "with a payload hash that differs from the stored one",
    "event lacks": "without a payload hash, although one is stored",
    "record lacks": "with a payload hash, although none is stored",
}


class Move(NamedTuple):
    """One step of a trace."""

    before: Record | None
    event: Event
    now: int
    row: str
    after: Record | None
    outcome: Outcome


class Situation(NamedTuple):
    """A situation that a step is an example of: a unique key, its clauses, and a description."""

    key: tuple[Any, ...]
    clauses: tuple[str, ...]
    words: str


class Case(NamedTuple):
    """A situation, and the shortest trace that ends in it."""

    situation: Situation
    trace: tuple[Move, ...]


class _Place(NamedTuple):
    """A state of the search; ``earlier`` contains the owners that have lost a claim so far."""

    record: Record | None
    earlier: frozenset[str]


def cases() -> list[Case]:
    """Return the vectors, in the order of the rows that decide their last steps."""
    found: dict[tuple[Any, ...], Case] = {}
    seen = {_Place(None, frozenset())}
    edge: list[tuple[_Place, tuple[Move, ...]]] = [(place, ()) for place in seen]
    while edge:
        reached: list[tuple[_Place, tuple[Move, ...]]] = []
        for place, trace in edge:
            for move in _moves(place, trace):
                extended = (*trace, move)
                situation = next((s for s in _situations(move, place) if s.key not in found), None)
                if situation is not None:
                    found[situation.key] = Case(situation, extended)
                there = _place_after(place, move)
                if there not in seen and len(extended) < _LONGEST and (not trace or _plain(there)):
                    seen.add(there)
                    reached.append((there, extended))
        edge = reached
    return sorted(found.values(), key=lambda case: _NUMBERS[case.trace[-1].row])


def _plain(place: _Place) -> bool:
    """Return whether a long trace may pass through this place, because only its owner is unusual."""
    record = place.record
    return record is None or (
        record.payload_hash is None
        and record.in_progress_expiry_timestamp in (None, _LEASE)
        and record.response_data in (None, '"x"')
        and record.expiry_timestamp in (_CLAIM_EXPIRY, _RESULT_EXPIRIES[0])
    )


def _place_after(place: _Place, move: Move) -> _Place:
    before = place.record
    lost = before is not None and before.status == INPROGRESS and before.owner != _owner(move.after)
    earlier = (
        place.earlier | {before.owner} if lost and before is not None and before.owner else place.earlier
    )
    return _Place(move.after, earlier)


def _owner(record: Record | None) -> str | None:
    return None if record is None else record.owner


def _moves(place: _Place, trace: tuple[Move, ...]) -> Iterator[Move]:
    record = place.record
    now = trace[-1].now if trace else START
    times = {now}
    if record is not None:
        limits = (deadline_ms(record), expiry_ms(record))
        times |= {limit + offset for limit, offset in product(limits, _OFFSETS)}
    owners = _OWNERS if trace else _FIRST_OWNERS
    for time in sorted(times):
        if time >= now:
            for event in _events(record, owners):
                after, outcome = transition(record, event, time)
                yield Move(record, event, time, deciding_row(record, event, time).clause, after, outcome)


def _events(record: Record | None, owners: tuple[str | None, ...]) -> Iterator[Event]:
    # An event with an unusual lease, response or expiry has no payload hash: one variation at a time.
    for payload_hash, lease, owner in product(_HASHES, _LEASES, owners):
        if payload_hash is None or lease == _LEASE:
            yield Claim(owner, lease, _CLAIM_EXPIRY, payload_hash)
    # Only the takeover of a claim depends on the policy.
    if record is not None and record.status == INPROGRESS:
        for payload_hash, owner, policy in product(_HASHES, owners, (REFUSE, ASK)):
            yield Claim(owner, _LEASE, _CLAIM_EXPIRY, payload_hash, policy=policy)
    for payload_hash, result, owner in product(_HASHES, product(_RESULT_EXPIRIES, _RESPONSES), owners):
        if payload_hash is None or result == _PLAIN_RESULT:
            expiry, response = result
            yield Complete(owner, response, payload_hash, expiry)
            yield CompleteWithin(owner, response, payload_hash, expiry)
    limits = (START,) if record is None else (deadline_ms(record), expiry_ms(record))
    leases = sorted({limit + offset for limit, offset in product(limits, (-1, 0, 1, 1000, _FAR_BEYOND))})
    for owner in owners:
        yield Release(owner)
        yield Abandon(owner)
        for lease in leases:
            yield Renew(owner, lease)
    yield Evict()


# The situations that a step is an example of, the plainest kinds first.


def _situations(move: Move, place: _Place) -> Iterator[Situation]:
    """Yield the situations that ``move`` is an example of."""
    outcome = type(move.outcome).__name__
    for group in (
        *(_of_time, _of_order, _of_owner, _of_hash, _of_lease, _of_result, _of_lateness),
        _of_policy,
    ):
        for key, clauses, words in group(move, place):
            yield Situation(
                (move.row, group.__name__, *key),
                (move.row, *clauses),
                f"{type(move.event).__name__} {words}: {outcome}.",
            )


_Examples = Iterator[tuple[tuple[Any, ...], tuple[str, ...], str]]


def _of_time(move: Move, _place: _Place) -> _Examples:
    record = move.before
    if record is None:
        yield ("nothing",), (), "when no record is stored"
        return
    lease = record.in_progress_expiry_timestamp
    if record.status == COMPLETED:
        limits = {"the expiry of a result": expiry_ms(record)}
    elif lease is None:
        limits = {"the expiry of a claim without a lease": expiry_ms(record)}
    elif lease == _LEASE:
        limits = {"the lease of a claim": lease}
        if isinstance(move.event, Evict):
            limits["the expiry of a claim whose lease has ended"] = expiry_ms(record)
    else:
        return
    for name, limit in limits.items():
        offset = move.now - limit
        if offset in _OFFSETS and not (offset > 0 and move.row in _TIMELESS):
            clause = "TIME-3" if record.status == COMPLETED else "TIME-4"
            yield (name, offset), ("TIME-1", "TIME-2", clause), f"{_asker(move)}{_OFFSETS[offset]} {name}"


def _asker(move: Move) -> str:
    relation = _relation(move)
    return "" if relation is None else f"by {_ASKERS[relation]}, "


def _of_order(move: Move, _place: _Place) -> _Examples:
    for row in TABLE:
        if (
            row.event is type(move.event)
            and _NUMBERS[row.clause] > _NUMBERS[move.row]
            and not row.when.startswith("else")
            and move.before is not None
            and row.guard(move.before, move.event, move.now)
        ):
            yield (row.clause,), ("ROW-0",), f"for which the later row {row.clause} holds as well"


def _relation(move: Move) -> str | None:
    if move.before is None or isinstance(move.event, Evict):
        return None
    named, asker = move.before.owner, move.event.owner
    if named is None:
        return "no owner, unowned record" if asker is None else "owner, unowned record"
    if asker is None:
        return "no owner, owned record"
    if named == asker:
        return "own"
    current, asking = execution_of(named), execution_of(asker)
    if current is None or asking is None:
        return "another"
    return "resuming" if current == asking else "another execution"


def _of_owner(move: Move, _place: _Place) -> _Examples:
    relation = _relation(move)
    record = move.before
    if relation is not None and record is not None and relation in _DISTINCTIVE.get(move.row, ()):
        yield (relation,), ("REC-5",), f"by {_ASKERS[relation]} ({record.status})"


def _of_hash(move: Move, _place: _Place) -> _Examples:
    if move.before is None or not isinstance(move.event, Claim | Complete | CompleteWithin):
        return
    current, asked = move.before.payload_hash, move.event.payload_hash
    if current is None or asked is None:
        relation = "" if current == asked else "event lacks" if asked is None else "record lacks"
    else:
        relation = "equal" if current == asked else "different"
    wanted = (
        ("different",)
        if move.row in ("ROW-6", "ROW-7", "ROW-21", "ROW-22")
        else ("equal", "event lacks", "record lacks")
    )
    if relation in wanted and move.row in (
        "ROW-4",
        "ROW-16",
        "ROW-17",
        "ROW-18",
        "ROW-5",
        "ROW-6",
        "ROW-7",
        "ROW-8",
        "ROW-21",
        "ROW-22",
    ):
        yield (relation,), (), _HASH_RELATIONS[relation]


def _of_lease(move: Move, _place: _Place) -> _Examples:
    event, before = move.event, move.before
    if move.row == "ROW-1" and isinstance(event, Claim):
        yield from _of_claimed_lease(event, before)
    elif move.row == "ROW-12" and isinstance(event, Renew) and before is not None:
        if before.in_progress_expiry_timestamp is None:
            limits = {"expiry of a claim without a lease": expiry_ms(before)}
        else:
            limits = {"stored lease": deadline_ms(before), "stored expiry": expiry_ms(before)}
        for name, limit in limits.items():
            offset, beyond = event.lease - limit, event.lease - expiry_ms(before)
            if offset in _OFFSETS or offset == beyond == _FAR_BEYOND:
                where = _OFFSETS.get(offset, f"{offset} milliseconds after")
                yield (name, offset), _expiry_clauses(beyond), f"to a lease {where} the {name}"


def _of_claimed_lease(event: Claim, before: Record | None) -> _Examples:
    if before is not None:
        if before.in_progress_expiry_timestamp == 0:
            yield (
                ("zero stored",),
                ("TIME-4",),
                "where a lease of 0 is stored, which is a lease that has ended",
            )
    elif event.lease is None:
        yield ("none",), (), "without a lease"
    elif event.lease == 0:
        yield ("zero",), (), "with a lease of 0, which is not an absent lease"
    elif event.lease != _LEASE:
        beyond = event.lease - event.expiry * 1000
        where = _OFFSETS.get(beyond, f"{beyond} milliseconds after")
        yield (beyond,), _expiry_clauses(beyond), f"with a lease {where} the requested expiry"


def _expiry_clauses(beyond: int) -> tuple[str, ...]:
    return ("TIME-5", "TIME-6") if beyond > 0 else ("TIME-6",)


def _of_result(move: Move, _place: _Place) -> _Examples:
    event, after = move.event, move.after
    if move.row not in ("ROW-5", "ROW-6", "ROW-7", "ROW-21", "ROW-22") or after is None:
        return
    if after.response_data is None:
        yield ("none",), (), "where the result has no response"
    elif after.response_data == RESULT_UNAVAILABLE:
        yield ("unavailable",), ("REC-6",), "where the result could not be stored, which is also a response"
    if (
        move.row in ("ROW-7", "ROW-22")
        and move.before is not None
        and isinstance(event, Complete | CompleteWithin)
    ):
        if event.expiry < move.before.expiry_timestamp:
            yield ("shorter",), ("TIME-3",), "with an expiry before that of the claim, which the result gets"
        if move.before.payload_hash is not None and event.payload_hash is None:
            yield ("hash dropped",), (), "without a payload hash, where the claim had one"


def _of_lateness(move: Move, place: _Place) -> _Examples:
    owner = getattr(move.event, "owner", None)
    if move.before is not None and owner in place.earlier and owner != move.before.owner:
        words = f"by an owner whose claim was taken over earlier ({move.before.status})"
        yield (), ("REC-5",), words


def _of_policy(move: Move, _place: _Place) -> _Examples:
    record, event = move.before, move.event
    if not isinstance(event, Claim) or event.policy == RUN or record is None:
        return
    relation = _relation(move)
    if move.row == "ROW-1" and record.status == INPROGRESS:
        what = "its own claim" if relation == "own" else "a claim that has expired"
        yield (event.policy, what), ("TAKE-2",), f"with the policy {event.policy}, which finds {what}"
    elif move.row == "ROW-3" and move.now >= deadline_ms(record):
        yield (
            (event.policy,),
            ("TAKE-2",),
            f"with the policy {event.policy} and another payload, after the lease",
        )
    elif move.row == "ROW-18" and record.expiry_timestamp > event.expiry:
        yield ("later",), ("TAKE-2",), "whose expiry is before that of the claim it takes over"
