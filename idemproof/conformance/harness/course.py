"""Runs races, in many orders of the clients' steps, and checks each outcome."""

import contextlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NoReturn, Self

from ...spec.commands import Load, Swap
from ...spec.record import Record
from ..suite.checks import Broken, Case
from ..suite.subjects import Subject, as_a_sentence, came_from_the_layer, clause_of, error_text
from ..suite.trace import STORE
from . import requests
from .cooperative import CooperativeLocks
from .interception import Interception
from .linearizability import Answer, Get, Operation, Put, Refused, Request, linearization
from .preemption import AwaitsPausing, lines_pausing, own_files
from .race_traces import Watch, in_words, outcome_in_words
from .races import RETENTION_MS, Explain, Fault, Make, Outcome, Race
from .recording import key_of, refuses, says_busy
from .scheduled_client import Client, PauseKind
from .scheduler import Choose, Interleaving, ScheduleStep
from .schedules import RunOnce, Schedule, ScheduledRun, chooser, explore, round_robin, shortest, turns

_FAULTS_OF_SHARING = (LookupError, TypeError, AttributeError, RuntimeError, AssertionError)
"""Errors that a layer raises only if another thread has changed its data."""
_REPLAYS = 3
_TURNS = (1, 2, 3, 5, 8)
"""How many steps each client makes before the next one goes on."""
_SHOWN_KEYS = 4

_HOW: dict[PauseKind, str] = {
    "call": "the calls of the layer's client",
    "line": "the lines of the layer's source",
    "await": "the awaits of the layer",
    "request": "whole requests",
}

_AT_ONCE = ("CAS-4",)
_OF_OTHER_KEYS = ("CAS-6",)
_BY_SWAPS = ("CAS-2", "CAS-3")
_BY_METHODS = ("CAS-7", "CAS-8")


class Course:
    """Runs races: intercepts the layers' clients, and chooses the kind of pauses that fits the layer.

    Parameters
    ----------
    case
        The case of the check.
    workers
        The layers that race, if not all of the case.
    """

    def __init__(self, case: Case, workers: Sequence[Subject] | None = None) -> None:
        self._case = case
        self._undo = ExitStack()
        self._workers = case.workers if workers is None else workers
        self._layers = [worker.layer for worker in self._workers]
        self._racers = [Subject(worker.layer, worker.loop, over=worker._over) for worker in self._workers]
        self._files: frozenset[str] = frozenset()
        self._sequential: dict[Make, set[Any]] = {}
        self._raised: set[tuple[Make, type[Exception]]] = set()
        self._last_failure: Exception | None = None
        self.kind: PauseKind = "call"

    def __enter__(self) -> Self:
        try:
            for worker in self._workers:  # some layers create their clients on first use
                worker.load(self._case.new_key())
            self._undo.enter_context(Interception(self._layers, self._case.capabilities.client_methods))
            self._undo.enter_context(CooperativeLocks(self._layers))
            self._choose_kind()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def run(
        self, make: Make, explain: Explain, seconds: float, preempted: Collection[int] | None = None
    ) -> None:
        """Run every schedule within the profile's bounds; the first fault ends the check.

        With ``preempted``, only these clients, by their numbers, are preempted.
        """
        case, profile = self._case, self._case.profile
        case.histories += 1

        def interleaving(choose: Choose) -> tuple[Sequence[ScheduleStep], Outcome]:
            return self._run_schedule(make, choose, explain)

        # First in turns, so that the layer opens all connections that it will need.
        first = self._in_turns(interleaving, make, explain)
        outcome = first.result
        limit = case.limit(seconds)
        tried = explore(
            interleaving,
            preemptions=profile.preemptions,
            most=profile.schedules,
            seconds=limit.left,
            preempted=preempted,
        )
        for run in tried:
            if run.result.fault is not None:
                if run.result.usable and not (case.is_shortened and limit.over):
                    run = shortest(run, interleaving, lambda result: result.fault is not None)  # noqa: PLW2901
                self._report(run, make, explain)
        if outcome.fault is not None:
            self._report(first, make, explain)
        case.cut_short = case.cut_short or limit.over

    def run_in_turns(self, make: Make, explain: Explain) -> None:
        """Run the schedules in which all clients are in the middle of their requests at once."""
        self._case.histories += 1
        for steps_in_a_row in _TURNS:
            first = self._in_turns(
                lambda choose: self._run_schedule(make, choose, explain), make, explain, steps_in_a_row
            )
            if first.result.fault is not None:
                self._report(first, make, explain)

    def _in_turns(
        self, interleaving: RunOnce[Outcome], make: Make, explain: Explain, steps_in_a_row: int = 1
    ) -> ScheduledRun[Outcome]:
        steps, outcome = interleaving(turns(steps_in_a_row))
        first = ScheduledRun(Schedule(), steps, outcome)
        if not outcome.usable:
            self._report(first, make, explain)
        if self._last_failure is not None and all(each.end is None for each in outcome.operations):
            why = f"{as_a_sentence(self._last_failure)} This happened to every request from another thread"
            self._case.fail(
                f"{why}, without any concurrent request.", outcome.lines, [clause_of(self._last_failure)]
            )
        return first

    def _choose_kind(self) -> None:
        """Pause at calls of the layer's client if there are any; else at its lines or awaits."""
        key = self._case.new_key()
        lease = self._case.now + RETENTION_MS
        claim = Record(key, "INPROGRESS", lease // 1000 + 60, lease, owner="alice")
        work = partial(self._ask_all, (Put(claim), Get(key)), key, self._racers[0], itertools.count(), [], [])
        interleaving = Interleaving([work], round_robin, self._case.profile.patience)
        interleaving.run()
        if "call" in interleaving.clients[0].kinds:
            return
        if self._racers[0].asynchronous:
            loop: Any = AwaitsPausing(self._case.layer.loop)
            self._racers = [Subject(worker.layer, loop, over=worker._over) for worker in self._workers]
            self.kind = "await"
        else:
            self._files = own_files(self._layers)
            self.kind = "line" if self._files else "request"

    def _run_schedule(
        self, make: Make, choose: Choose, explain: Explain, *, watched: bool = False
    ) -> tuple[Sequence[ScheduleStep], Outcome]:
        case = self._case
        case.schedules += 1
        key, began = case.new_key(), case.now
        race = make(key, began)
        _prepare(self._case, race, key)
        watch = Watch(case, key, began, looks=watched)
        watch.log(STORE, "before they begin")
        operations: list[Operation] = []
        failures: list[Exception] = []
        order = itertools.count(1)
        tasks = [
            partial(
                self._ask_all,
                asked,
                key,
                self._racers[number % len(self._racers)],
                order,
                operations,
                failures,
            )
            for number, asked in enumerate(race.clients)
        ]
        interleaving = Interleaving(tasks, choose, case.profile.patience, watch.step, reads_layer=watched)
        interleaving.run()
        faults = [self._blame(make, race, failure) for failure in failures]
        fault = next((each for each in faults if each is not None), None)
        finals: dict[str, Record | None] = {}
        linearizable = True
        if interleaving.hung is not None:
            why = f"The layer hangs if its requests are interleaved: {interleaving.hung}."
            fault = fault or Fault(why, _AT_ONCE)
        elif not interleaving.given_up:
            finals = {each: requests.read(case.layer, each) for each in race.keys}
            for each, final in finals.items():
                if each == key or len(race.keys) <= _SHOWN_KEYS:
                    watch.log(STORE, f"in the end{_of_key(each, key)}", final)
            linearizable = fault is not None or self._is_linearizable(
                make, race, operations, finals, next(order)
            )
        outcome = Outcome(
            race, tuple(operations), finals, fault, tuple(watch.lines), not interleaving.blocked
        )
        if not linearizable:
            seen = explain(outcome) or Fault(outcome_in_words(outcome.operations, outcome.final), ())
            clauses = {*seen.clauses, *_clauses_of(race, interleaving.steps)}
            outcome = outcome._replace(fault=Fault(seen.why, tuple(sorted(clauses))))
        return interleaving.steps, outcome

    def _ask_all(
        self,
        asked: Sequence[Request],
        main: str,
        worker: Subject,
        order: Iterator[int],
        operations: list[Operation],
        faults: list[Exception],
        client: Client,
    ) -> None:
        """Send the requests of one client, in its thread."""
        for request in asked:
            which = _of_key(key_of(request), main)
            client.pause(partial(_request_in_words, request, which), "request")
            client.has_waited = False
            operation = Operation(client.name, next(order), None, self._case.now, request)
            try:
                with self._pausing_lines():
                    answer = requests.ask(self._case, worker, request)
            except Broken as broken:
                faults.append(broken)
                client.notes.append("gets an answer that is not a well-formed record")
            except Exception as failure:  # noqa: BLE001 - it is unknown whether the request took effect
                client.notes.append(f"gets {error_text(failure)}")
                self._last_failure = failure
                # A layer that has waited for another client may lose patience.
                patient = not client.has_waited and not says_busy(failure)
                unanswered = patient or _is_of_sharing(failure)
                if came_from_the_layer(failure) and unanswered:
                    faults.append(failure)
            else:
                operation = operation._replace(end=next(order), answer=answer)
                client.notes.append(f"{in_words(operation)}{which}")
            operations.append(operation)

    def _pausing_lines(self) -> contextlib.AbstractContextManager[None]:
        return lines_pausing(self._files) if self._files else contextlib.nullcontext()

    def _is_linearizable(
        self,
        make: Make,
        race: Race,
        operations: Sequence[Operation],
        finals: Mapping[str, Record | None],
        order: int,
    ) -> bool:
        case = self._case
        swaps, fenced = case.layer.swaps, case.fenced
        for key, final in finals.items():
            last = Operation(STORE, order, order + 1, case.now, Load(key) if swaps else Get(key), final)
            of_key = [each for each in operations if key_of(each.request) == key]
            if linearization([*of_key, last], race.at_first(key), swaps=swaps, fenced=fenced) is None:
                return False
        if swaps or len(race.keys) > 1 or any(each.end is None for each in operations):
            return True
        asked = sorted(operations, key=lambda each: (each.who, each.start))
        answers = [each.answer for each in asked]
        return _comparable(answers, finals.values()) in self._sequential_outcomes(make, race)

    def _blame(self, make: Make, race: Race, failure: Exception) -> Fault | None:
        """Return the fault that a failure shows; None if sequential requests fail in the same way."""
        if isinstance(failure, Broken):
            return Fault(failure.why, failure.clauses)
        if not self._case.layer.swaps:
            self._sequential_outcomes(make, race)
            if (make, type(failure)) in self._raised:
                return None
        if _is_of_sharing(failure):
            return Fault(as_a_sentence(failure), _AT_ONCE)
        why = "The request met another one, which is no failure: it must be answered"
        return Fault(f"{as_a_sentence(failure)} {why}.", (clause_of(failure),))

    def _sequential_outcomes(self, make: Make, race: Race) -> set[Any]:
        """Return the outcomes of a race with sequential requests, for a layer with the four methods.

        Such a layer may handle a request without a claim in any way. But concurrent requests of other clients
        must not make a difference.
        """
        known = self._sequential.get(make)
        if known is None:
            turns = [number for number, asked in enumerate(race.clients) for _ in asked]
            # Requests for different keys are independent, and may be too many for all orders.
            orders = {(*turns,), (*turns[::-1],)} if len(race.keys) > 1 else {*itertools.permutations(turns)}
            known = {self._in_order(make, order) for order in sorted(orders)}
            self._sequential[make] = known
        return known

    def _in_order(self, make: Make, order: Sequence[int]) -> Any:
        key = self._case.new_key()
        race = make(key, self._case.now)
        _prepare(self._case, race, key)
        left = [list(asked) for asked in race.clients]
        answers: list[list[Answer]] = [[] for _ in race.clients]
        for number in order:
            worker = self._racers[number % len(self._racers)]
            try:
                answer = requests.ask(self._case, worker, left[number].pop(0))
            except Broken:
                raise
            except Exception as failure:  # noqa: BLE001 - counts as a refusal
                self._raised.add((make, type(failure)))
                answer = Refused()
            answers[number].append(answer)
        finals = [requests.read(self._case.layer, each) for each in race.keys]
        return _comparable(itertools.chain.from_iterable(answers), finals)

    def _report(self, run: ScheduledRun[Outcome], make: Make, explain: Explain) -> NoReturn:
        """Repeat the schedule, with reads of the stored record in between, and end the check."""
        case, outcome = self._case, run.result
        assert outcome.fault is not None
        why, clauses = outcome.fault
        case.suspected = Broken(f"{why} {self._how_found(run.steps)}.", clauses, outcome.lines)
        if not outcome.usable:
            case.fail(f"{why} {self._how_found(run.steps)}.", outcome.lines, clauses)
        choices = [step.chosen for step in run.steps]
        for _ in range(_REPLAYS):
            steps, again = self._run_schedule(make, chooser(choices), explain, watched=True)
            if again.fault is not None:
                case.fail(f"{again.fault.why} {self._how_found(steps)}.", again.lines, again.fault.clauses)
        case.fail(
            f"{why} {self._how_found(run.steps)}; it did not happen again when the same order was "
            "repeated, so it depends on chance.",
            outcome.lines,
            clauses,
        )

    def _how_found(self, steps: Sequence[ScheduleStep]) -> str:
        if _interleaved(steps):
            return f"Found by interleaving {_HOW[self.kind]}"
        return "No interleaving is needed: the requests were sequential"


def _prepare(case: Case, race: Race, key: str) -> None:
    if race.current is None:
        case.layer.load(key)  # also raises if the run is interrupted
    for record in (race.current, *race.others):
        if record is not None:
            requests.establish(case.layer, record, RETENTION_MS)
    if race.pass_ms:
        case.pass_time(race.pass_ms)


def _is_of_sharing(failure: Exception) -> bool:
    known = isinstance(failure, _FAULTS_OF_SHARING) and type(failure).__module__ == "builtins"
    return known and not refuses(failure)


def _interleaved(steps: Sequence[ScheduleStep]) -> bool:
    return any(step.before not in (None, step.chosen) for step in steps)


def _clauses_of(race: Race, steps: Sequence[ScheduleStep]) -> tuple[str, ...]:
    """Return the clauses that the outcome breaks; they depend on whether requests were concurrent."""
    if _interleaved(steps):
        return _AT_ONCE if len(race.keys) == 1 else _OF_OTHER_KEYS
    return _BY_SWAPS if isinstance(race.clients[0][0], Swap) else _BY_METHODS


def _comparable(answers: Iterable[Answer], finals: Iterable[Record | None]) -> Any:
    """Return the part of an outcome that is comparable between runs: refusals, and the stored records."""
    stored = tuple(None if each is None else (each.status, each.response_data) for each in finals)
    return tuple(isinstance(each, Refused) for each in answers), stored


def _request_in_words(request: Request, which: str) -> str:
    return f"{in_words(request)}{which}"


def _of_key(key: str, main: str) -> str:
    return "" if key == main else f" (key {key})"
