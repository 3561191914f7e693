"""From what a user gives, to two workers over one store: or a sentence that says what to do."""

import functools
import inspect
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...backends.base import AsyncBasePersistenceLayer, BasePersistenceLayer
from ...spec.record import INPROGRESS, Record
from .adapters import adapted
from .clock import MovedClock
from .subjects import LoopThread, Subject
from .workers import Task, Worker

Factory = Callable[[], Any]

_WANTED = (
    "Give a function that takes nothing and returns a persistence layer, or a pair of layers over one store."
)
_PAIR = 2
_METHODS = ("_get_record", "_put_record", "_update_record", "_delete_record")


class FactoryError(Exception):
    """The factory gives nothing that can be judged; the message says what to do."""


class Bench:
    """The layers of one run.

    Parameters
    ----------
    factory
        What the user gave.
    clock
        The clock that they live by.
    patience
        After how many seconds a factory that has not returned hangs.
    client_methods
        Methods of the layers' clients that the author names: each layer must have them.
    """

    def __init__(
        self, factory: Factory, clock: MovedClock, patience: float, client_methods: Sequence[str] = ()
    ) -> None:
        _refuse_what_cannot_be_called(factory)
        self.factory = factory
        self.loop = LoopThread()
        self.worker = Worker()
        self.subjects: list[Subject] = []
        self._clock = clock
        self._patience = patience
        self._layers: list[Any] = []
        self._since: float | None = None
        self.at_first: Exception | None = None
        """What the layer raised at its first write, if it did: then there is nothing else to ask it."""
        try:
            self.workers, self.shared = self._two_workers()
            self.reopens = self._can_reopen()
            if self.at_first is None:
                self._refuse_methods_that_are_not_there(client_methods)
        except BaseException:
            self.close()
            raise

    @property
    def layer(self) -> Subject:
        """The first worker's."""
        return self.workers[0]

    def restarted(self) -> Subject:
        """Return another layer over the same store, as a new process would have it."""
        made = self._make()
        return self._subject(made[0] if _is_pair(made) else made)

    def close(self, *, abandon: bool = False) -> list[str]:
        """Close the layers that can be closed, and what they ran on; return what went wrong, in sentences.

        Parameters
        ----------
        abandon
            Whether to leave the layers as they are, for one of them still works.
        """
        wrong = []
        for layer in [] if abandon else self._layers:
            theirs = getattr(layer, "theirs", layer)
            close = getattr(theirs, "close", None) or getattr(theirs, "aclose", None)
            if not callable(close):
                continue
            name, outcome = type(theirs).__name__, self._bounded(close)
            if outcome is None:
                wrong.append(f"Closing the {name} did not end within {self._patience:g} seconds.")
            elif outcome.failure is not None:
                failure = outcome.failure
                wrong.append(f"Closing the {name} raised {type(failure).__name__}: {failure}")
        self.worker.close(wait=not abandon)
        self.loop.close()
        return wrong

    def _two_workers(self) -> tuple[list[Subject], bool]:
        first = self._make()
        self._made_pairs = _is_pair(first)
        if self._made_pairs:
            if first[0] is first[1]:
                raise FactoryError(
                    "The factory returned a pair that is one object twice. Two workers need an object each: "
                    "return the layer alone, and threads will share it."
                )
            pair = [self._subject(layer) for layer in first]
            if pair[0].swaps is not pair[1].swaps:
                raise FactoryError(
                    "The factory returned a layer by two methods and one by four. Judge them one by one."
                )
            if self._sees(*pair) is False:
                raise FactoryError(
                    "The two layers that the factory returned do not see each other's records. "
                    "Open both on the same store."
                )
            return pair, True
        one = self._subject(first)
        self._sees(one, one)
        second = self._make(again=" at its second call")
        if _is_pair(second):
            raise FactoryError("The factory returned a layer at first, and a pair later. Decide for one.")
        if second is first:
            return [one, one], False
        other = self._subject(second)
        if self._sees(one, other):
            return [one, other], True
        return [one, one], False

    def _refuse_methods_that_are_not_there(self, paths: Sequence[str]) -> None:
        """Look for each in the thread that has used the layers: some make a client at its first request."""

        def look() -> None:
            for worker in self.workers:
                for path in paths:
                    client_method(worker.layer, path)

        outcome = self._bounded(look)
        if outcome is not None and outcome.failure is not None:
            raise outcome.failure

    def _can_reopen(self) -> bool:
        """Tell whether what the factory makes later sees the same records, too."""
        if not self._made_pairs:
            return self.shared
        made = self._make(again=" at its second call")
        return _is_pair(made) and self._sees(self.layer, self._subject(made[0])) is True

    def _make(self, again: str = "") -> Any:
        outcome = self._bounded(self.factory)
        if outcome is None:
            raise FactoryError(
                f"The factory has not returned within {self._patience:g} seconds{again}. Is its store "
                "running, and can it be reached? Give its client a short timeout, to see its own error."
            )
        failure = outcome.failure
        if failure is not None:
            advice = (
                "It is called more than once: each time, it must return another layer that is ready for use."
                if again
                else "Call it by itself first: it must return a layer that is ready for use."
            )
            said = f"{type(failure).__name__}{again}: {failure}".rstrip(". ")
            raise FactoryError(f"The factory raised {said}. {advice}") from failure
        return outcome.value

    def waited(self) -> float:
        """Return for how many seconds a check has waited for another layer."""
        return 0.0 if self._since is None else time.perf_counter() - self._since

    def _bounded(self, work: Callable[[], Any]) -> Task | None:
        """Do what may hang; return what came of it, or None if it hangs."""

        def awaited() -> Any:
            value = work()
            return self.loop.run(value) if inspect.iscoroutine(value) else value

        if self.worker.is_here:  # in a check, whose end is being waited for
            self._since = time.perf_counter()
            task = Task(awaited)
            task.do()
            self._since = None
            return task
        task = self.worker.begin(awaited)
        if task.ended(self._patience):
            return task
        self.worker.leave_behind()
        return None

    def _subject(self, made: Any) -> Subject:
        layer = adapted(made)
        if not isinstance(layer, BasePersistenceLayer | AsyncBasePersistenceLayer):
            raise FactoryError(_not_a_layer(made))
        self._layers.append(layer)
        subject = Subject(layer, self.loop)
        self.subjects.append(subject)
        return subject

    def _sees(self, writer: Subject, reader: Subject) -> bool | None:
        """Tell whether one sees what the other writes; None if that cannot be told."""
        now = self._clock.ms()
        key = f"conformance-sharing-{secrets.token_hex(8)}"  # that no earlier run has left behind
        record = Record(key, INPROGRESS, now // 1000 + 3600, now + 3_600_000, owner="sharing")

        def try_it() -> bool | None:
            writer.swap(key, None, record, 3_600_000)
            if writer.load(key) is None:
                return None
            return reader.load(key) is not None

        outcome = self._bounded(try_it)
        if outcome is None:
            return None  # what hangs so early is judged by the first check
        if isinstance(outcome.failure, Exception) and self.at_first is None:
            self.at_first = outcome.failure
        return outcome.value  # type: ignore[no-any-return]  # what try_it returns, or None


def client_method(layer: Any, path: str) -> tuple[Any, str]:
    """Return the object that has a method which the layer's author names by its path, and the method's name.

    Raises
    ------
    FactoryError
        There is none; the message says what is missing.
    """
    *way, method = path.split(".")
    theirs = getattr(layer, "theirs", layer)
    said = f"Of the client's methods that are named, {type(theirs).__name__} has no {path!r}"
    try:
        holder = functools.reduce(getattr, way, theirs)
        found = getattr(holder, method)
    except AttributeError as missing:
        raise FactoryError(f"{said}: {missing}.") from missing
    if not callable(found):
        raise FactoryError(f"{said}: its type is {type(found).__name__}, not a method.")
    return holder, method


def _refuse_what_cannot_be_called(factory: Any) -> None:
    if isinstance(factory, BasePersistenceLayer | AsyncBasePersistenceLayer):
        raise FactoryError(f"This is a layer ({type(factory).__name__}), not what makes one. {_WANTED}")
    if not callable(factory):
        raise FactoryError(f"{factory!r} is not a factory: it cannot be called. {_WANTED}")
    try:
        inspect.signature(factory).bind()
    except TypeError as refusal:
        name = getattr(factory, "__name__", repr(factory))
        raise FactoryError(
            f"The factory {name} cannot be called without arguments: {refusal}. {_WANTED}"
        ) from None
    except ValueError:
        return  # it does not tell its signature


def _is_pair(made: Any) -> bool:
    return isinstance(made, tuple | list) and len(made) == _PAIR


def _not_a_layer(made: Any) -> str:
    kind = type(made).__name__
    if isinstance(made, type):
        return f"The factory returned the class {made.__name__}. Return an object of it: {made.__name__}(…)."
    if isinstance(made, tuple | list):
        return f"The factory returned {len(made)} things in a {kind}. {_WANTED}"
    if inspect.isgenerator(made) or inspect.isasyncgen(made):
        return f"The factory returned a generator: it has a yield. {_WANTED} Layers with close are closed."
    if inspect.isroutine(made):
        return f"The factory returned the function {made.__name__}: call it there. {_WANTED}"
    if made is None:
        return f"The factory returned None: does it lack a return? {_WANTED}"
    missing = [name for name in _METHODS if not hasattr(made, name)]
    said = (
        f"it lacks {', '.join(missing)}" if missing else "it has the methods, but inherits from none of them"
    )
    return (
        f"The factory returned a {kind}, which is no persistence layer: {said}. Let its class inherit from "
        "BasePersistenceLayer or CompareAndSwapLayer (or their Async twins). " + _WANTED
    )
