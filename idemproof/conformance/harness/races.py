"""Races: a few clients ask for one key at once, in every order of their steps, and each outcome is judged."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple, NoReturn, Self

from ...spec.commands import Load, Swap
from ...spec.record import Record
from ..suite.checks import Broken, Case
from ..suite.subjects import Subject, as_a_sentence, came_from_the_layer, clause_of
from ..suite.trace import STORE, Line
from . import requests
from .cooperative import CooperativeLocks
from .interception import Interception
from .linearizability import Answer, Get, Operation, Put, Refused, Request, linearization
from .preemption import AwaitsPausing, lines_pausing, own_files
from .race_traces import Watch, in_words, outcome_in_words
from .recording import refuses
from .scheduled_client import Client, Kind
from .scheduler import Choose, Interleaving, Step
from .schedules import Schedule, ScheduledRun, chooser, explore, round_robin, shortest

KEEP_MS = 24 * 3_600_000
_FAULTS_OF_SHARING = (LookupError, TypeError, AttributeError, RuntimeError, AssertionError)
"""What a layer raises only if another thread has changed what it works on."""
_REPLAYS = 3

_HOW: dict[Kind, str] = {
    "call": "the calls of the layer's client",
    "line": "the lines of the layer's source",
    "await": "the awaits of the layer",
    "request": "whole requests",
}


class Race(NamedTuple):
    """What is raced for one key.

    Parameters
    ----------
    standing
        The record that stands at first, or None.
    pass_ms
        How many milliseconds pass before the clients begin.
    clients
        What each asks, one after the other.
    """

    current: Record | None
    pass_ms: int
    clients: tuple[tuple[Request, ...], ...]


class Fault(NamedTuple):
    """What is wrong with an outcome.

    Parameters
    ----------
    why
        As a sentence about the layer.
    clauses
        What that breaks, besides what the order of the requests tells.
    """

    why: str
    clauses: tuple[str, ...]


class Outcome(NamedTuple):
    """What came of one schedule.

    Parameters
    ----------
    race, operations, final
        What was raced, how each request was answered, and what stood in the end.
    fault
        What is wrong with it, or None.
    lines
        The trace.
    usable
        False if the layer may not be asked any more: clients of it hang.
    """

    race: Race
    operations: tuple[Operation, ...]
    final: Record | None
    fault: Fault | None
    lines: tuple[Line, ...]
    usable: bool = True


Make = Callable[[str, int], Race]
"""Gives the race for a key and the epoch milliseconds at which its record is put."""

Explain = Callable[[Outcome], Fault | None]
"""Says what a layer did wrong whose answers nothing explains; or None, for words that fit any race."""

_AT_ONCE = ("CAS-4",)
_BY_SWAPS = ("CAS-2", "CAS-3")
_BY_METHODS = ("CAS-7", "CAS-8")


class Course:
    """Where races are run: the layers with their clients intercepted, and with pauses of a kind that fits.

    Parameters
    ----------
    case
        The check's.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._undo = ExitStack()
        self._layers = [worker.layer for worker in case.workers]
        self._racers = [Subject(worker.layer, worker._loop) for worker in case.workers]
        self._files: frozenset[str] = frozenset()
        self._serial: dict[Make, set[Any]] = {}
        self._raised: set[tuple[Make, type[Exception]]] = set()
        self._last: Exception | None = None
        self.kind: Kind = "call"

    def __enter__(self) -> Self:
        try:
            for worker in self._case.workers:  # some make their clients when they are first used
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

    def run(self, make: Make, explain: Explain, seconds: float) -> None:
        """Race by every schedule within the profile's bounds; the first that goes wrong ends the check."""
        case, profile = self._case, self._case.profile
        case.histories += 1

        def interleaving(choose: Choose) -> tuple[Sequence[Step], Outcome]:
            return self._play(make, choose, explain)

        # At first in turns, for the layer to open as many connections as it will ever need.
        steps, outcome = interleaving(round_robin)
        first = ScheduledRun(Schedule(), steps, outcome)
        if not outcome.usable:
            self._report(first, make, explain)
        if self._last is not None and all(each.end is None for each in outcome.operations):
            said = f"{as_a_sentence(self._last)} This happened to every request from another thread"
            case.fail(f"{said}, without any concurrent request.", outcome.lines, [clause_of(self._last)])
        enough = time.perf_counter() + seconds
        tried = explore(
            interleaving, preemptions=profile.preemptions, most=profile.schedules, seconds=seconds
        )
        for played in tried:
            if played.result.fault is not None:
                if played.result.usable:
                    played = shortest(played, interleaving, lambda result: result.fault is not None)  # noqa: PLW2901
                self._report(played, make, explain)
        if outcome.fault is not None:
            self._report(first, make, explain)
        case.cut_short = case.cut_short or time.perf_counter() > enough

    def _choose_kind(self) -> None:
        """Pause at the client's calls if there are any, else in the other way that fits the layer."""
        key = self._case.new_key()
        lease = self._case.now + KEEP_MS
        claim = Record(key, "INPROGRESS", lease // 1000 + 60, lease, owner="alice")
        work = partial(self._ask_all, (Put(claim), Get(key)), self._racers[0], itertools.count(), [], [])
        interleaving = Interleaving([work], round_robin, self._case.profile.patience)
        interleaving.run()
        if "call" in interleaving.clients[0].kinds:
            return
        if self._racers[0].asynchronous:
            loop: Any = AwaitsPausing(self._case.layer._loop)
            self._racers = [Subject(layer, loop) for layer in self._layers]
            self.kind = "await"
        else:
            self._files = own_files(self._layers)
            self.kind = "line" if self._files else "request"

    def _play(
        self, make: Make, choose: Choose, explain: Explain, *, watched: bool = False
    ) -> tuple[Sequence[Step], Outcome]:
        case = self._case
        case.schedules += 1
        key, began = case.new_key(), case.now
        race = make(key, began)
        _prepare(self._case, race, key)
        watch = Watch(case, key, began, looks=watched)
        watch.tell(STORE, "before they begin")
        operations: list[Operation] = []
        failures: list[Exception] = []
        order = itertools.count(1)
        works = [
            partial(
                self._ask_all, asked, self._racers[number % len(self._racers)], order, operations, failures
            )
            for number, asked in enumerate(race.clients)
        ]
        interleaving = Interleaving(works, choose, case.profile.patience, watch.step, reads_layer=watched)
        interleaving.run()
        blamed = [self._blame(make, race, failure) for failure in failures]
        fault = next((each for each in blamed if each is not None), None)
        final: Record | None = None
        explained = True
        if interleaving.hung is not None:
            why = f"The layer hangs if its requests are interleaved: {interleaving.hung}."
            fault = fault or Fault(why, _AT_ONCE)
        elif not interleaving.given_up:
            final = self._final(key)
            watch.tell(STORE, "in the end", final)
            explained = fault is not None or self._explained(make, race, operations, final, next(order))
        outcome = Outcome(race, tuple(operations), final, fault, tuple(watch.lines), not interleaving.blocked)
        if not explained:
            seen = explain(outcome) or Fault(outcome_in_words(outcome.operations, final), ())
            clauses = {*seen.clauses, *_clauses_of(race, interleaving.steps)}
            outcome = outcome._replace(fault=Fault(seen.why, tuple(sorted(clauses))))
        return interleaving.steps, outcome

    def _ask_all(
        self,
        asked: Sequence[Request],
        worker: Subject,
        order: Iterator[int],
        operations: list[Operation],
        faults: list[Exception],
        client: Client,
    ) -> None:
        """Do what one client does, in its thread."""
        for request in asked:
            client.pause(partial(in_words, request), "request")
            operation = Operation(client.name, next(order), None, self._case.now, request)
            try:
                with self._lines():
                    answer = requests.ask(self._case, worker, request)
            except Broken as broken:
                faults.append(broken)
                client.notes.append("is answered with no well-formed record")
            except Exception as failure:  # noqa: BLE001 - then nobody knows whether it was done
                client.notes.append(f"gets {type(failure).__name__}: {failure}")
                self._last = failure
                if came_from_the_layer(failure) and _is_of_sharing(failure):
                    faults.append(failure)
            else:
                operation = operation._replace(end=next(order), answer=answer)
                client.notes.append(in_words(operation))
            operations.append(operation)

    def _lines(self) -> contextlib.AbstractContextManager[None]:
        return lines_pausing(self._files) if self._files else contextlib.nullcontext()

    def _final(self, key: str) -> Record | None:
        layer = self._case.layer
        if layer.swaps:
            return requests.plain(layer.load(key), key, swaps=True)
        return requests.get(layer, key).record

    def _explained(
        self, make: Make, race: Race, operations: Sequence[Operation], final: Record | None, order: int
    ) -> bool:
        case = self._case
        key = _key_of(race.clients[0][0])
        swaps = case.layer.swaps
        last = Operation(STORE, order, order + 1, case.now, Load(key) if swaps else Get(key), final)
        order_found = linearization(
            [*operations, last], race.current, swaps=swaps, fenced=case.capabilities.fenced
        )
        if order_found is None:
            return False
        if swaps or any(each.end is None for each in operations):
            return True
        asked = sorted(operations, key=lambda each: (each.who, each.start))
        return _gist([each.answer for each in asked], final) in self._one_by_one(make, race)

    def _blame(self, make: Make, race: Race, failure: Exception) -> Fault | None:
        """Return what a failure says of the layer; None if it says the same to requests that never meet."""
        if isinstance(failure, Broken):
            return Fault(failure.why, failure.clauses)
        if not self._case.layer.swaps:
            self._one_by_one(make, race)
            if (make, type(failure)) in self._raised:
                return None
        return Fault(as_a_sentence(failure), _AT_ONCE)

    def _one_by_one(self, make: Make, race: Race) -> set[Any]:
        """Return what may come of a race of a layer by four methods if its requests never meet.

        What such a layer does with a request of one that holds no claim is its own affair. But it must do the
        same whether or not others ask at the same time.
        """
        known = self._serial.get(make)
        if known is None:
            turns = [number for number, asked in enumerate(race.clients) for _ in asked]
            known = {self._in_order(make, order) for order in sorted(set(itertools.permutations(turns)))}
            self._serial[make] = known
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
            except Exception as failure:  # noqa: BLE001 - as one that is refused
                self._raised.add((make, type(failure)))
                answer = Refused()
            answers[number].append(answer)
        return _gist(itertools.chain.from_iterable(answers), self._final(key))

    def _report(self, played: ScheduledRun[Outcome], make: Make, explain: Explain) -> NoReturn:
        """Run it again, reading the stored record meanwhile, and end the check."""
        case, outcome = self._case, played.result
        assert outcome.fault is not None
        why, clauses = outcome.fault
        if not outcome.usable:
            case.fail(f"{why} {self._found(played.steps)}.", outcome.lines, clauses)
        made = [step.chosen for step in played.steps]
        for _ in range(_REPLAYS):
            steps, again = self._play(make, chooser(made), explain, watched=True)
            if again.fault is not None:
                case.fail(f"{again.fault.why} {self._found(steps)}.", again.lines, again.fault.clauses)
        case.fail(
            f"{why} {self._found(played.steps)}; it did not happen again when the same order was "
            "played again: chance has a part in it.",
            outcome.lines,
            clauses,
        )

    def _found(self, steps: Sequence[Step]) -> str:
        if _interleaved(steps):
            return f"Found by interleaving {_HOW[self.kind]}"
        return "No interleaving is needed: the requests were sequential"


def _prepare(case: Case, race: Race, key: str) -> None:
    if race.current is None:
        case.layer.load(key)  # which also notices that the run is interrupted
    else:
        requests.establish(case.layer, race.current, KEEP_MS)
    if race.pass_ms:
        case.pass_time(race.pass_ms)


def _is_of_sharing(failure: Exception) -> bool:
    known = isinstance(failure, _FAULTS_OF_SHARING) and type(failure).__module__ == "builtins"
    return known and not refuses(failure)


def _interleaved(steps: Sequence[Step]) -> bool:
    return any(step.before not in (None, step.chosen) for step in steps)


def _clauses_of(race: Race, steps: Sequence[Step]) -> tuple[str, ...]:
    """Return what answers that nothing explains break, given at once or one after the other."""
    if _interleaved(steps):
        return _AT_ONCE
    return _BY_SWAPS if isinstance(race.clients[0][0], Swap) else _BY_METHODS


def _gist(answers: Iterable[Answer], final: Record | None) -> Any:
    """Return who was refused, and what stands, as far as two runs of the same requests can be compared."""
    stands = None if final is None else (final.status, final.response_data)
    return tuple(isinstance(each, Refused) for each in answers), stands


def _key_of(request: Request) -> str:
    return request.key if isinstance(request, Load | Swap | Get) else request.record.idempotency_key
