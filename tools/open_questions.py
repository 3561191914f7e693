"""Counterexamples to naive answers to questions that the IETF draft on `Idempotency-Key` leaves open.

Each naive answer is a small change of the specification or of its clients. The explorer searches the changed
rules, and its shortest trace goes into the page of the question, between two comments. The rules do not cover
who calls, or what an answer means: calls of the library show that.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.spec.explorer import Explorer, Trace, TraceLine
from idemproof.spec.happenings import Answered
from idemproof.spec.invariants import broken_by_history
from idemproof.spec.moves import Attempt, Move
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from idemproof.spec.states import RELEASING
from idemproof.testing import MovableClock
from injected_faults import FAULTS, injected

PAGES = "docs/explanation/open-questions"

_WAITING = "waiting"
_TRACE = re.compile(r"(<!-- trace: ([\w-]+) -->\n).*?(<!-- end of trace -->)", re.DOTALL)
_WORDS = {
    "gets Completed": "stores its result",
    "gets InProgress": "is refused: the operation is in progress",
    "gets LeaseLost": "learns that it has lost its lease",
    "gets Released": "releases the key",
    "gets Replay": "gets the stored result",
    "returns": "returns from its body",
    "the store forgets": "the store deletes the record",
}
_PASSES = "a second passes"


class Naive(NamedTuple):
    """A naive answer.

    Parameters
    ----------
    changed
        Puts the answer in the place of the protocol's rule.
    payload_hashes
        How many payload hashes the search needs to find a counterexample.
    """

    changed: Callable[[], AbstractContextManager[Any]]
    payload_hashes: int = 1

    def counterexample(self) -> Trace | None:
        """Return the shortest trace by which the answer fails, or None."""
        with self.changed():
            result = Explorer(2, self.payload_hashes).search()
        return result.counterexample or result.stuck


def _fault(what: str) -> Callable[[], AbstractContextManager[Any]]:
    [fault] = [fault for fault in FAULTS if fault.what == what]
    return lambda: injected(fault)


def _waits() -> AbstractContextManager[Any]:
    """Let a caller that finds a claim wait until there is a result, and return it."""
    claiming = Attempt._claiming

    def claims(attempt: Attempt) -> Iterator[Move]:
        for move in claiming(attempt):
            waits = move.what == "gets InProgress"
            yield attempt._then("waits for the result", _WAITING) if waits else move

    def waiting(attempt: Attempt) -> Iterator[Move]:
        record = attempt._record
        if record is not None and record.status == COMPLETED:
            answer = Answered(0, record.response_data, attempt._client.payload_hash or None, record)
            move = attempt._over("gets the result that it waited for", finishes=True)
            yield move._replace(broken=tuple(broken_by_history([answer])))

    return patch.multiple(Attempt, _claiming=claims, _waiting=waiting, create=True)


def _releases_after_any_failure() -> AbstractContextManager[Any]:
    """Treat a result that cannot be stored as any other failure: release the key."""
    completing = Attempt._completing

    def completes(attempt: Attempt) -> Iterator[Move]:
        yield from completing(attempt)
        # The effect has happened, so as after a crash its lease is what keeps others away.
        lease = attempt._client.lease
        yield attempt._then("cannot store its result", RELEASING, crashed=lease, faultless=False)

    return patch.object(Attempt, "_completing", completes)


def _answers_with_its_own() -> AbstractContextManager[Any]:
    """Answer with what the body returned, even if another result is stored."""
    completing = Attempt._completing

    def completes(attempt: Attempt) -> Iterator[Move]:
        for move in completing(attempt):
            if move.what != "gets Superseded":
                yield move
                continue
            answer = Answered(0, "its own result", attempt._client.payload_hash or None, attempt._record)
            broken = tuple(broken_by_history([answer]))
            yield move._replace(what="answers with its own result", broken=broken)

    return patch.object(Attempt, "_completing", completes)


NAIVE = {
    "wait": Naive(_waits, payload_hashes=2),
    "release": Naive(_releases_after_any_failure),
    "own-result": Naive(_answers_with_its_own),
    "window-from-claim": Naive(_fault("a result expires with its claim")),
    "delete": Naive(_fault("any record is evicted")),
    "ignore-payload": Naive(_fault("a different payload is not detected"), payload_hashes=2),
    "no-lease": Naive(_fault("only an absent record can be claimed")),
    "no-fencing": Naive(_fault("any attempt may complete any record")),
}


# Calls of the library.


class Call(NamedTuple):
    """A call: when and by whom it was made, with what, and its answer."""

    seconds: int
    who: str
    what: str
    answer: str


def stored_failure() -> list[Call]:
    """Store an answer that says "try again later", as any other answer."""
    clock = MovableClock()
    config = IdempotencyConfig(
        event_key_jmespath="key",
        expires_after_seconds=86_400,
        in_progress_expires_after_seconds=30,
        clock=clock,
    )
    began = clock()
    is_up = False

    @idempotent_function(
        data_keyword_argument="request", persistence_store=InMemoryPersistenceLayer(), config=config
    )
    def pay(request: dict[str, Any]) -> str:
        return f"201, {request['amount']} EUR paid" if is_up else "503, try again later"

    calls = []
    for seconds in (0, 2, 3_600, 86_400):
        clock.advance(seconds=seconds - (clock() - began) // 1000)
        answer = pay(request={"key": "k-1", "amount": 120})
        calls.append(Call(seconds, "client", f"pays; the bank is {'up' if is_up else 'down'}", answer))
        is_up = True
    return calls


def header_alone(expression: str = "key") -> list[Call]:
    """Look records up by the header alone, unless another expression is given."""
    config = IdempotencyConfig(event_key_jmespath=expression, in_progress_expires_after_seconds=30)

    @idempotent_function(
        data_keyword_argument="request", persistence_store=InMemoryPersistenceLayer(), config=config
    )
    def order(request: dict[str, Any]) -> str:
        return f"201, a parcel for {request['client']}"

    return [
        Call(seconds, client, "orders with Idempotency-Key: 1", order(request={"client": client, "key": "1"}))
        for seconds, client in enumerate(("Ann", "Bob"))
    ]


CALLS: dict[str, Callable[[], list[Call]]] = {"stored-failure": stored_failure, "header-alone": header_alone}


# The pages.


def block(name: str) -> str:
    """Return the trace of a naive answer, as the page shows it.

    Raises
    ------
    ValueError
        There is no such answer, or no counterexample to it.
    """
    if name in CALLS:
        rows = [
            f"| {_time(seconds)} | {who} | {what} | {answer} |"
            for seconds, who, what, answer in CALLS[name]()
        ]
        return "\n".join(["| time | who | request | answer |", "|---|---|---|---|", *rows, ""])
    if name not in NAIVE:
        raise ValueError(f"tools/open_questions.py has no trace {name!r}")
    trace = NAIVE[name].counterexample()
    if trace is None:
        raise ValueError(f"the search finds no counterexample to {name!r}")
    broken = " and ".join(sorted({rule.partition(" ")[0] for rule in trace.broken}))
    head = ["| step | what happens | stored record |", "|---|---|---|"]
    return "\n".join([*head, *_rows(trace), "", f"The last step breaks {broken}.", ""])


def _time(seconds: int) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _rows(trace: Trace) -> Iterator[str]:
    """Yield the steps of a trace; seconds that pass without any other step count as one step."""
    steps: list[tuple[int, TraceLine, str]] = []
    before: Record | None = None
    owner = ""
    payloads = any("payload" in line.what for line in trace.lines)
    for line in trace.lines:
        if line.who and _version(line.record) != _version(before):
            owner = line.who
        before = line.record
        seconds = 1
        if line.what == _PASSES and steps and steps[-1][1].what == _PASSES:
            seconds += steps.pop()[0]
        steps.append((seconds, line, _in_words(line.record, owner, payloads=payloads)))
    shown = ""
    dead: set[str] = set()  # clients whose worker has died
    for number, (seconds, line, record) in enumerate(steps, 1):
        what = f"{seconds} seconds pass" if seconds > 1 else _WORDS.get(line.what, line.what)
        if line.what == "dies":
            dead.add(line.who)
        elif line.who in dead and line.what.startswith("calls"):
            rest = line.what.removeprefix("calls").strip()
            what = "calls again, on a new worker" + (f", {rest}" if rest else "")
            dead.remove(line.who)
        yield f"| {number} | {f'{line.who} {what}'.strip()} | {record if record != shown else ''} |"
        shown = record


def _version(record: Record | None) -> tuple[object, ...] | None:
    """Return what changes of a record when it is written."""
    return record and (record.status, record.expiry_timestamp, record.in_progress_expiry_timestamp)


def _in_words(record: Record | None, owner: str, *, payloads: bool) -> str:
    if record is None:
        return "nothing"
    lease = record.in_progress_expiry_timestamp
    left = record.expiry_timestamp if lease is None else lease // 1000
    what = "lease" if record.status == INPROGRESS else "window"
    rest = f"{what} {left}\N{NO-BREAK SPACE}s" if left > 0 else f"{what} over"
    which = f", payload {record.payload_hash}" if payloads else ""
    return f"{record.status} of {owner}{which}, {rest}"


def files(root: Path) -> dict[str, str]:
    """Return the pages of a checkout by their names, with fresh traces.

    Raises
    ------
    ValueError
        A page names a trace that cannot be had.
    """
    return {
        page.name: _TRACE.sub(
            lambda found: found[1] + block(found[2]) + found[3], page.read_text(encoding="utf-8")
        )
        for page in sorted((root / PAGES).glob("*.md"))
    }
