"""What worker processes have noted, and the rules that it must keep whatever happens to them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

LEASE_MS = 300


class Entry(NamedTuple):
    """A line of the journal."""

    pid: int
    what: str
    key: int = 0
    run: int = 0
    """The token of the run that this is about, 0 if the call has run nothing."""
    answer: int = 0
    ms: int = 0
    lease: int = 0
    """When the lease of the run ends."""


@dataclass
class Run:
    """One run of a body, and how it went on."""

    began: Entry
    ran: Entry | None = None
    fell: Entry | None = None
    end: Entry | None = None
    """What the caller got."""
    lease_ms: int = LEASE_MS

    @property
    def claimed(self) -> int:
        return self.lease - self.lease_ms

    @property
    def lease(self) -> int:
        return self.began.lease


def had_given_way(earlier: Run, later: Run, runs: Sequence[Run]) -> bool:
    """Return whether ``earlier``, or who took over from it, had nothing left when ``later`` was let in.

    A claim is granted some time after its clock was read, and before its body begins.
    """
    if later.claimed >= earlier.lease:
        return True
    back = [run for run in runs if run.fell is not None and run.fell.ms <= later.began.ms]
    return any(run is earlier or run.claimed >= earlier.lease for run in back)


@dataclass
class Aftermath:
    """What a fleet has left behind."""

    seed: int
    entries: list[Entry]
    killed: frozenset[int]
    lease_ms: int = LEASE_MS
    runs: dict[int, Run] = field(default_factory=dict)
    answers: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The answers given to each key."""
    answered: dict[int, int] = field(default_factory=dict)
    """When each key was answered first."""

    def __post_init__(self) -> None:
        for entry in self.entries:
            if entry.what == "answered":
                self.answers[entry.key].add(entry.answer)
                self.answered[entry.key] = min(entry.ms, self.answered.get(entry.key, entry.ms))
            if entry.what == "began":
                assert entry.run not in self.runs
                self.runs[entry.run] = Run(entry, lease_ms=self.lease_ms)
            elif entry.run and entry.what in ("ran", "fell"):
                setattr(self.runs[entry.run], entry.what, entry)
            elif entry.run and entry.what != "failed":
                assert self.runs[entry.run].end is None
                self.runs[entry.run].end = entry

    def in_turn(self) -> list[list[Run]]:
        """Return the runs of each key, in the order in which they were let in."""
        of_key = defaultdict(list)
        for run in self.runs.values():
            of_key[run.began.key].append(run)
        return [
            sorted(runs, key=lambda run: (sum(had_given_way(each, run, runs) for each in runs), run.claimed))
            for runs in of_key.values()
        ]

    def why_again(self, run: Run) -> str | None:
        """Return why another may run after this one, None if there is no reason."""
        if run.fell is not None:
            return "raised"
        if run.end is None:
            return "killed" if run.began.pid in self.killed else None
        if run.end.what == "untold":
            return "untold"
        return "outlived" if run.end.ms >= run.lease else None

    def repeated(self) -> Counter[str | None]:
        """Count the runs after which another ran, by the reason."""
        return Counter(self.why_again(run) for runs in self.in_turn() for run in runs[:-1])

    def counts(self) -> Counter[str]:
        return Counter(entry.what for entry in self.entries)

    def __str__(self) -> str:
        counts = dict(sorted(self.counts().items()))
        return (
            f"seed {self.seed}: {len(self.killed)} killed, {len(self.answers)} keys answered, "
            f"{len(self.runs)} runs, of which another ran after {dict(self.repeated())}; journal: {counts}"
        )


Rule = Callable[[Aftermath], Iterator[object]]
"""Yields what breaks it."""


def everybody_is_given_the_same_answer_to_the_same_key(log: Aftermath) -> Iterator[object]:
    yield from ((key, reported) for key, reported in log.answers.items() if len(reported) != 1)


def an_answer_is_the_result_of_a_run(log: Aftermath) -> Iterator[object]:
    results = {(run.ran.key, run.ran.run) for run in log.runs.values() if run.ran is not None}
    for entry in log.entries:
        if entry.what == "answered" and (entry.key, entry.answer) not in results:
            yield entry


def whoever_lives_is_told_how_each_run_ended(log: Aftermath) -> Iterator[object]:
    last = {run.began.pid: run for run in log.runs.values()}
    for run in log.runs.values():
        end = run.end
        if end is None:
            if run.began.pid not in log.killed or run is not last[run.began.pid]:
                yield run
        elif run.fell is not None:
            if end.what != "raised":
                yield run
        elif end.what != "answered" and (end.what not in ("lost", "untold") or end.answer != end.run):
            yield run


def what_refuses_to_run_has_not_run(log: Aftermath) -> Iterator[object]:
    for entry in log.entries:
        if entry.what in ("refused", "not claimed", "not served") and entry.run:
            yield entry


def a_result_counts_unless_its_run_outlived_its_lease(log: Aftermath) -> Iterator[object]:
    for run in log.runs.values():
        if run.end is None or run.end.what not in ("answered", "lost") or run.end.ms >= run.lease:
            continue
        if run.end.answer != run.end.run or run.end.what == "lost":
            yield run


def a_body_runs_again_only_for_a_reason(log: Aftermath) -> Iterator[object]:
    for runs in log.in_turn():
        yield from (runs for run in runs[:-1] if log.why_again(run) is None)


def a_key_is_claimed_again_only_when_the_lease_before_is_over_or_given_back(
    log: Aftermath,
) -> Iterator[object]:
    for runs in log.in_turn():
        for earlier, later in pairwise(runs):
            if not had_given_way(earlier, later, runs):
                yield earlier, later


def when_an_answer_is_given_no_other_run_holds_its_key_nor_ever_will(log: Aftermath) -> Iterator[object]:
    for runs in log.in_turn():
        key = runs[0].began.key
        for run in runs:
            if key not in log.answered or run.began.run in log.answers[key]:
                continue
            answered = log.answered[key]
            if run.lease > answered and not (run.fell and run.fell.ms <= answered):
                yield run


RULES: tuple[Rule, ...] = (
    everybody_is_given_the_same_answer_to_the_same_key,
    an_answer_is_the_result_of_a_run,
    whoever_lives_is_told_how_each_run_ended,
    what_refuses_to_run_has_not_run,
    a_result_counts_unless_its_run_outlived_its_lease,
    a_body_runs_again_only_for_a_reason,
    a_key_is_claimed_again_only_when_the_lease_before_is_over_or_given_back,
    when_an_answer_is_given_no_other_run_holds_its_key_nor_ever_will,
)


def breaches(log: Aftermath) -> dict[str, list[object]]:
    """Return what breaks the rules, by rule."""
    found = {rule.__name__: list(rule(log)) for rule in RULES}
    return {name: broken for name, broken in found.items() if broken}
