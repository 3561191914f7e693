"""Faults sown into the specification, one at a time, to see whether the explorer sees them.

Each changes one row of the table, or what a client does between its requests, and names what it violates.
The explorer must find a shortest story for every one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from idemproof.spec import transition as rules
from idemproof.spec.events import (
    Claimed,
    Completed,
    Kept,
    LeaseLost,
    NotHeld,
    Outcome,
    Renewed,
    Replay,
    Superseded,
)
from idemproof.spec.explorer import Explorer, Story
from idemproof.spec.model import RUNNING, Attempt
from idemproof.spec.record import (
    COMPLETED,
    INPROGRESS,
    Record,
    claimable,
    deadline_ms,
    execution_of,
    holds,
    same_execution,
)

REPORT = "seeded-faults.md"

_LIMIT = 50_000
_HEAD = """\
# Does the explorer see?

Each line is one fault, sown into the specification for the length of one search with two clients. The search
is breadth first, so the story it finds is a shortest one; "steps" is its length, and a second's passing is
one. Of {count} faults, {found} are found. This page is written by the search itself.

"""

Guard = Callable[[Any, Any, int], bool]
Step = Callable[[Any, Any, int], tuple[Record | None, Outcome]]


class Fault(NamedTuple):
    """One fault.

    Parameters
    ----------
    row
        The row of the table that is changed.
    what
        In words.
    guard, step
        What stands in the row's place; None for what the row says.
    fingerprints
        How many payload hashes are needed to see it.
    invocations
        How many of the two clients have to be invocations of one durable execution.
    """

    row: str
    what: str
    guard: Guard | None = None
    step: Step | None = None
    fingerprints: int = 1
    invocations: int = 0


def _never(*_: Any) -> bool:
    return False


def _always(*_: Any) -> bool:
    return True


def _anybody_running(record: Record | None, *_: Any) -> bool:
    return record is not None and record.status == INPROGRESS


def _held_by_its_execution(record: Record | None, event: Any, *_: Any) -> bool:
    return record is not None and (holds(record, event.owner) or same_execution(record, event.owner))


def _stands(record: Record | None, *_: Any) -> bool:
    return record is not None


def _claimed(change: Callable[[Record], Record]) -> Step:
    def step(record: Record | None, event: Any, now: int) -> tuple[Record | None, Outcome]:
        after, _ = rules._claim(record, event, now)
        assert after is not None
        after = change(after)
        return after, Claimed(after, record)

    return step


def _completed(change: Callable[[Record | None, Record], Record]) -> Step:
    def step(record: Record | None, event: Any, now: int) -> tuple[Record | None, Outcome]:
        after, _ = rules._complete(record, event, now)
        assert after is not None
        after = change(record, after)
        return after, Completed(after)

    return step


def _overwrite(outcome: Callable[[Any], Outcome]) -> Step:
    def step(record: Record | None, event: Any, now: int) -> tuple[Record | None, Outcome]:
        return rules._complete(record, event, now)[0], outcome(record)

    return step


def _deletes(outcome: Callable[[Any], Outcome]) -> Step:
    return lambda record, _event, _now: (None, outcome(record))


def _not_held(_record: Any) -> Outcome:
    return NotHeld()


def _kept(_record: Any) -> Outcome:
    return Kept()


def _renew_without_writing(record: Record, event: Any, now: int) -> tuple[Record | None, Outcome]:
    return record, Renewed(rules._renew(record, event, now)[0])  # type: ignore[arg-type]


def _renew_unheld(record: Record | None, event: Any, now: int) -> tuple[Record | None, Outcome]:
    if record is None or record.status == COMPLETED:
        return record, LeaseLost(record)
    return rules._renew(record, event, now)[0], LeaseLost(record)


FAULTS = (
    Fault(
        "ROW-1", "a live claim can be taken over", lambda r, _e, now: _anybody_running(r) or claimable(r, now)
    ),
    Fault(
        "ROW-1",
        "a live result can be claimed",
        lambda r, _e, now: not _anybody_running(r) or claimable(r, now),
    ),
    Fault(
        "ROW-1",
        "what lives for another second can be claimed",
        lambda r, _e, now: r is None or deadline_ms(r) - 1000 <= now,
    ),
    Fault("ROW-1", "only what was forgotten can be claimed", lambda r, _e, _now: r is None),
    Fault(
        "ROW-1", "a claim is granted and not written", step=lambda r, e, now: (r, rules._claim(r, e, now)[1])
    ),
    Fault("ROW-1", "a claim does not name its owner", step=_claimed(lambda c: c._replace(owner=None))),
    Fault(
        "ROW-1",
        "a claim's record is over before its lease",
        step=_claimed(lambda c: c._replace(expiry_timestamp=1)),
    ),
    Fault(
        "ROW-1",
        "a claim is over at once",
        step=_claimed(lambda c: c._replace(in_progress_expiry_timestamp=0)),
    ),
    Fault("ROW-2", "an own claim is not recognised", _never),
    Fault("ROW-2", "anybody's claim is taken for one's own", _anybody_running),
    Fault("ROW-3", "another payload is not noticed", _never, fingerprints=2),
    Fault(
        "ROW-16",
        "a durable execution resumes anybody's claim",
        lambda r, e, _now: _anybody_running(r) and execution_of(e.owner) is not None,
        invocations=1,
    ),
    Fault("ROW-16", "a claim that is resumed gets another lease", step=rules._claim, invocations=1),
    Fault("ROW-4", "a claim is taken for a result", _never),
    Fault("ROW-5", "who finds a result may run again", step=lambda r, _e, _now: (r, Claimed(r))),
    Fault("ROW-5", "a result is answered once only", step=_deletes(Replay)),
    Fault("ROW-6", "an own result is not recognised", _never),
    Fault(
        "ROW-6",
        "any result is taken for one's own",
        lambda r, _e, _now: r is not None and r.status == COMPLETED,
    ),
    Fault(
        "ROW-7",
        "anybody may complete a claim",
        lambda r, _e, now: r is None or _anybody_running(r) or claimable(r, now),
    ),
    Fault(
        "ROW-7",
        "an invocation completes what a newer one has resumed",
        lambda r, e, now: r is None or _held_by_its_execution(r, e) or claimable(r, now),
        invocations=2,
    ),
    Fault("ROW-7", "anybody may complete anything", _always),
    Fault("ROW-7", "nobody may complete", _never),
    Fault("ROW-7", "only what is over may be completed", lambda r, _e, now: claimable(r, now)),
    Fault(
        "ROW-7", "a result stays in progress", step=_completed(lambda _r, c: c._replace(status=INPROGRESS))
    ),
    Fault(
        "ROW-7",
        "a result is kept no longer than its claim",
        step=_completed(lambda r, c: c if r is None else c._replace(expiry_timestamp=r.expiry_timestamp)),
    ),
    Fault("ROW-7", "a result does not name its owner", step=_completed(lambda _r, c: c._replace(owner=None))),
    Fault("ROW-8", "who is superseded overwrites", step=_overwrite(Superseded)),
    Fault("ROW-8", "who is superseded deletes", step=_deletes(Superseded)),
    Fault(
        "ROW-8",
        "who had another payload is told the result",
        lambda r, _e, _now: r is not None and r.status == COMPLETED,
        fingerprints=2,
    ),
    Fault("ROW-8", "who runs late is told a claim for a result", _stands),
    Fault("ROW-9", "who lost the lease overwrites", step=_overwrite(LeaseLost)),
    Fault("ROW-9", "who lost the lease deletes", step=_deletes(LeaseLost)),
    Fault("ROW-10", "anybody may release a claim", _anybody_running),
    Fault(
        "ROW-10", "an invocation releases what a newer one has resumed", _held_by_its_execution, invocations=2
    ),
    Fault("ROW-10", "anybody may release anything", _stands),
    Fault("ROW-11", "who holds nothing deletes", step=_deletes(_not_held)),
    Fault("ROW-12", "anybody may renew a claim", _anybody_running),
    Fault("ROW-12", "a renewal is granted and not written", step=_renew_without_writing),
    Fault("ROW-13", "who lost the lease renews it", step=_renew_unheld),
    Fault(
        "ROW-14",
        "what is over, and not past its expiry, is forgotten",
        lambda r, _e, now: r is not None and claimable(r, now),
    ),
    Fault("ROW-14", "anything is forgotten", _stands),
    Fault("ROW-15", "what is kept is deleted", step=_deletes(_kept)),
)


@contextmanager
def sown(fault: Fault) -> Iterator[None]:
    """Let the specification have ``fault``."""
    rows = tuple(
        row
        if row.clause != fault.row
        else row._replace(guard=fault.guard or row.guard, step=fault.step or row.step)
        for row in rules.TABLE
    )
    with patch.object(rules, "TABLE", rows):
        yield


def found(fault: Fault) -> Story | None:
    """Return the shortest story by which the explorer sees ``fault``, None if it does not."""
    with sown(fault):
        explorer = Explorer(2, fault.fingerprints, invocations=fault.invocations)
        result = explorer.search(limit=_LIMIT)
    return result.counterexample or result.stuck


def found_beginning_late() -> Story | None:
    """Return the story by which a client is seen that begins without looking at its lease (ENG-3)."""

    def granted(attempt: Attempt) -> Iterator[Any]:
        yield attempt._then("begins its body", RUNNING)

    with patch.object(Attempt, "_granted", granted):
        return Explorer(2).search(limit=_LIMIT).counterexample


def report() -> str:
    """Return, in Markdown, which faults there are and by how long a story each is found."""
    lines = ["| fault in | fault | breaks | steps |", "|---|---|---|---|"]
    stories = [(fault.row, fault.what, found(fault)) for fault in FAULTS]
    stories.append(("ENG-3", "a body begins though its lease is over", found_beginning_late()))
    for place, what, story in stories:
        told = "**not found** |" if story is None else f"{', '.join(_clauses(story))} | {len(story.lines)}"
        lines.append(f"| {place} | {what} | {told} |")
    return (
        _HEAD.format(count=len(stories), found=sum(story is not None for *_, story in stories))
        + "\n".join(lines)
        + "\n"
    )


def _clauses(story: Story) -> list[str]:
    return sorted({name.partition(" ")[0] for name in story.broken})


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - it comes from the code
    """Return the report, by its file's name."""
    return {REPORT: report()}
