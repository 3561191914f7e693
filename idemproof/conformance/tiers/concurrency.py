"""The concurrency tier: stress tests with real threads and real processes, on one key and on many."""

import contextlib
import time
from collections.abc import Callable, Sequence

from ...spec.commands import Load
from ..harness.course import Course
from ..harness.evidence import is_explained, lines_of, unexplained
from ..harness.linearizability import Get, Put
from ..harness.messages import Go, Join, Look, Seen, Start
from ..harness.processes import Process, place_of
from ..harness.races import Race
from ..harness.recording import Recorder, key_of
from ..harness.stress import Fault, Plan, Round, faults_of_runs, kinds, stress
from ..suite.checks import Case, NotJudged, NotOffered, check
from ..suite.subjects import Subject
from ..suite.trace import Line
from .contract import claim_of
from .exclusion import Scene

_CLIENTS = 8
_AT_ONCE = 10
"""How many clients are in the middle of their requests at once, by their schedule."""
_CROWD = 32
"""How many real threads send requests as fast as they can."""
_PROCESSES = 3
_CLIENTS_PER_PROCESS = 2
_HEAD_START_NS = 5_000_000

_CLAUSES = ("CAS-4", "CAS-6", "INV-1", "INV-2", "INV-4", "INV-5")


@check("concurrency", *_CLAUSES, needs=("threads",))
def many_threads_may_share_a_layer(case: Case) -> None:
    """Eight threads, or tasks, use one layer: requests are atomic, one body runs, no record is lost."""
    _in_threads(case, [case.layer] * _CLIENTS)


@check("concurrency", *_CLAUSES, needs=("shared",))
def many_threads_may_share_a_store(case: Case) -> None:
    """Threads with separate layers: each request is atomic, one body runs, and no key loses its record."""
    case.require_clients(2)
    share = _CLIENTS // 2 if case.capabilities.threads else 1
    _in_threads(case, case.workers[:2] * share)


@check("concurrency", *_CLAUSES, needs=("shared", "processes"))
def many_processes_may_share_a_store(case: Case) -> None:
    """Processes with separate layers: each request is atomic, one body runs, and no key loses its record."""
    try:
        place = place_of(case.factory)
    except NotOffered as unknown:
        if case.capabilities.processes:
            raise NotJudged(str(unknown)) from None
        raise
    start = Start(place, case.now, case.capabilities.movable_clock)
    share = _CLIENTS_PER_PROCESS if case.capabilities.threads else 1
    with contextlib.ExitStack() as running:
        processes = [running.enter_context(Process(start))]
        _require_one_store(case, processes[0])
        processes += [running.enter_context(Process(start)) for _ in range(1, _PROCESSES)]
        for process in processes[1:]:
            process.wait_until_up()
        _rounds(case, lambda plan: _in_processes(plan, processes, share))


@check("concurrency", "CAS-1", "CAS-3", "CAS-7", needs=("threads",))
def many_requests_at_once_are_all_answered(case: Case) -> None:
    """Many clients of one layer are in the middle of their requests at once: each gets its answer."""
    with Course(case, [case.layer]) as course:
        course.run_in_turns(_all_at_once, lambda _: None)
    clients = [(f"client {number}", case.layer) for number in range(1, _CROWD + 1)]
    key = case.new_key()
    case.histories += 1
    outcome = stress(Plan("own keys", key, case.now, case.seed), clients)
    for fault in _faults(case, key, outcome):
        case.found(fault.why, _evidence(case, outcome), fault.clauses)


def _all_at_once(key: str, began: int) -> Race:
    scenes = [Scene(f"{key}-{number}", began, swaps=True) for number in range(_AT_ONCE)]
    return Race(None, 0, tuple((Put(scene.claim("alice")),) for scene in scenes))


def _in_threads(case: Case, subjects: Sequence[Subject]) -> None:
    clients = [(f"client {number}", subject) for number, subject in enumerate(subjects, 1)]
    _rounds(case, lambda plan: stress(plan, clients))


def _in_processes(plan: Plan, processes: Sequence[Process], share: int) -> Round:
    for number, process in enumerate(processes):
        names = tuple(f"client {number * share + each}" for each in range(1, share + 1))
        process.send(Join(plan, names))
    for process in processes:
        process.hear()  # "ready"
    go = Go(time.perf_counter_ns() + _HEAD_START_NS)
    for process in processes:
        process.send(go)
    outcome = Round()
    for process in processes:
        outcome.add(process.hear())
    return outcome


def _require_one_store(case: Case, process: Process) -> None:
    process.wait_until_up()
    claim = claim_of(case, case.new_key())
    case.layer.put(claim)
    process.send(Look(claim.idempotency_key))
    seen: Seen = process.hear()
    if seen.record is None:
        problem = "a layer that the factory makes in another process does not see the records of this process"
        if case.capabilities.processes:
            case.fail(
                f"The layer claims that other processes see its records (processes), but {problem}.",
                (),
                ["CAS-1", "CAS-4"],
            )
        raise NotOffered(
            f"{problem}: if the store can be shared, let the factory open the same store in each process"
        )


def _rounds(case: Case, run: Callable[[Plan], Round]) -> None:
    """Run rounds of every kind; keep the first evidence for each clause that is broken."""
    known: set[str] = set()
    limit = case.limit(case.profile.race_seconds)
    for number in range(case.profile.stress):
        for at, kind in enumerate(kinds(swaps=case.layer.swaps)):
            may_end = number if at == 0 else case.is_shortened
            if may_end and limit.over:
                case.cut_short = True
                return
            key = case.new_key()
            case.histories += 1
            outcome = run(Plan(kind, key, case.now, case.seed + number))
            faults = [fault for fault in _faults(case, key, outcome) if not known.issuperset(fault.clauses)]
            if faults:
                lines = _evidence(case, outcome)
                for fault in faults:
                    case.found(fault.why, lines, fault.clauses)
                    known.update(fault.clauses)


def _faults(case: Case, key: str, outcome: Round) -> list[Fault]:
    swaps, fenced = case.layer.swaps, case.fenced
    reader = Recorder(lambda: case.now)
    keys = dict.fromkeys((key, *(key_of(each.request) for each in outcome.operations)))
    for each in keys:
        reader.ask(case.workers[-1], "the final reader", Load(each) if swaps else Get(each))
    outcome.operations += reader.operations
    faults = []
    wrong = [
        history for history in outcome.histories() if not is_explained(history, swaps=swaps, fenced=fenced)
    ]
    if wrong and len(keys) == 1:
        why = (
            "The answers to concurrent requests are not linearizable: no sequential order of the requests "
            "gives them, so the layer's requests are not atomic."
        )
        faults.append(Fault(("CAS-4",), why))
    elif wrong:
        why = (
            f"Of {len(keys):,} keys that were written at once, each by one client, {len(wrong)} do not have "
            "the record that was acknowledged: writes of different keys undo each other."
        )
        faults.append(Fault(("CAS-6", "INV-1", "INV-2"), why))
    if outcome.mistakes:
        why = f"Under concurrent requests, the layer raised {outcome.mistakes[0]}."
        faults.append(Fault(("CAS-4",), why))
    if outcome.raised:
        clause, sentence = outcome.raised[0]
        others = f"So did {len(outcome.raised) - 1} more requests of this round" if outcome.raised[1:] else ""
        why = f"{sentence} Concurrent requests are no failure: each must be answered. {others}".rstrip()
        faults.append(Fault((clause,), f"{why}." if others else why))
    if fenced or all(each.end is not None for each in outcome.operations):
        # Without fencing, an abandoned request may arrive late, and legitimately free the key.
        faults += faults_of_runs(outcome)
    return faults


def _evidence(case: Case, outcome: Round) -> list[Line]:
    swaps, fenced = case.layer.swaps, case.fenced
    histories = outcome.histories()
    wrong = (unexplained(history, swaps=swaps, fenced=fenced) for history in histories)
    return lines_of(next((each for each in wrong if each), outcome.operations))
