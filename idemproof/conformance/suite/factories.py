"""Turns a user's factory into two workers over one store, or raises an error that says what to do."""

import contextlib
import functools
import inspect
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...backends.base import AsyncBasePersistenceLayer, BasePersistenceLayer
from ...spec.record import INPROGRESS, Record
from .adapters import adapted, original
from .clock import MovedClock
from .pace import Pace
from .subjects import LoopThread, Subject, error_text, message_of, shown
from .workers import Task, Worker

Factory = Callable[[], Any]

_WANTED = (
    "Pass a function without parameters that returns a persistence layer, or a pair of layers over one store."
)
_PAIR = 2
_METHODS = ("_get_record", "_put_record", "_update_record", "_delete_record")


class FactoryError(Exception):
    """The factory does not return a layer that can be tested; the message says what to do."""


class FactoryHangsError(FactoryError):
    """The factory does not return."""


class Bench:
    """The layers of one run.

    Parameters
    ----------
    factory
        The user's factory.
    clock
        The clock that the layers use.
    patience
        How long to wait for the factory before it counts as hung (seconds).
    client_methods
        The paths of the client methods that the user names. Each layer must have them.
    pace
        Gets to know how long the factory and the requests take.
    """

    def __init__(
        self,
        factory: Factory,
        clock: MovedClock,
        patience: float,
        client_methods: Sequence[str],
        pace: Pace,
    ) -> None:
        _refuse_what_cannot_be_called(factory)
        self.factory = factory
        self.loop = LoopThread()
        self.worker = Worker()
        self.subjects: list[Subject] = []
        self._clock = clock
        self._pace = pace
        self._patience = patience
        self._layers: list[Any] = []
        self._since: float | None = None
        self.is_one_object = False
        """Whether the factory returns the same layer at each call."""
        self.at_first: Exception | None = None
        """The error of the layer's first write, if it failed. No check runs then."""
        try:
            self.workers, self.shared = self._two_workers()
            self.reopens = self._can_reopen()
            if self.at_first is None:
                self._refuse_methods_that_are_not_there(client_methods)
        except Exception as failure:
            self.close()
            if isinstance(failure, FactoryError):
                raise
            raise FactoryError(
                "What the factory returned cannot be inspected: looking at it raised "
                f"{error_text(failure)}".rstrip(". ")
                + f". {_WANTED}"
            ) from failure
        except BaseException:
            self.close()
            raise

    @property
    def layer(self) -> Subject:
        """The layer of the first worker."""
        return self.workers[0]

    def restarted(self) -> Subject:
        """Return another layer over the same store, as a new process would make it."""
        made = self._make()
        return self._subject(made[0] if _is_pair(made) else made)

    @contextlib.contextmanager
    def temporary(self) -> Iterator[Subject]:
        """Yield another layer from the factory, and close and drop it at the end; or its one object."""
        if self.is_one_object:
            yield self.layer
            return
        number = len(self._layers)
        made = self._make()
        subject, *_ = [self._subject(each) for each in (made if _is_pair(made) else [made])]
        try:
            yield subject
        finally:
            layers, self._layers[number:], self.subjects[number:] = self._layers[number:], [], []
            for each in layers:
                self._bounded(functools.partial(_close, each))

    @functools.cached_property
    def closes(self) -> bool:
        """Whether layers have a close method, and the factory makes a new one at each call."""
        if self.is_one_object:
            return False
        # An object may raise or hang when an attribute is looked up.
        outcome = self._bounded(functools.partial(_closing, self.layer.layer))
        return outcome is not None and outcome.value is not None

    def close(self, *, abandon: bool = False) -> tuple[list[str], str | None]:
        """Close the layers that have a close method, the thread and the event loop.

        Parameters
        ----------
        abandon
            Whether to leave the layers open, because one of them is still in a request.

        Returns
        -------
        tuple
            The errors, as sentences; and a sentence if a close method hangs, or None.
        """
        wrong: list[str] = []
        hangs = None
        for layer in [] if abandon else self._layers:
            name, outcome = type(original(layer)).__name__, self._bounded(functools.partial(_close, layer))
            if outcome is None:
                hangs = f"Closing the {name} did not end within {self._patience:g} seconds: it hangs."
                break
            if outcome.failure is not None:
                failure = outcome.failure
                wrong.append(
                    f"Closing the {name} raised {error_text(failure)}. It may leave connections open."
                )
        self.worker.close(wait=not abandon and hangs is None)
        self.loop.close()
        return wrong, hangs

    def _two_workers(self) -> tuple[list[Subject], bool]:
        first = self._make()
        self._made_pairs = _is_pair(first)
        if self._made_pairs:
            if first[0] is first[1]:
                raise FactoryError(
                    "The factory returned a pair that contains the same object twice. Each worker needs its "
                    "own object. Return two objects, or one layer, which threads will share."
                )
            pair = [self._subject(layer) for layer in first]
            if pair[0].swaps is not pair[1].swaps:
                raise FactoryError(
                    "The factory returned a two-method layer and a four-method layer. Test them separately."
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
            raise FactoryError(
                "The factory returned one layer at its first call, and a pair at its second. "
                "Always return the same kind."
            )
        if second is first:
            self.is_one_object = True
            return [one, one], False
        other = self._subject(second)
        if self._sees(one, other):
            return [one, other], True
        return [one, one], False

    def _refuse_methods_that_are_not_there(self, paths: Sequence[str]) -> None:
        """Look up each method in the thread that used the layers: a client may belong to its thread."""

        def look() -> None:
            for worker in self.workers:
                for path in paths:
                    client_method(worker.layer, path)

        outcome = self._bounded(look)
        if outcome is not None and outcome.failure is not None:
            raise outcome.failure

    def _can_reopen(self) -> bool:
        """Return whether a layer that the factory makes later sees the same records."""
        if not self._made_pairs:
            return self.shared
        made = self._make(again=" at its second call")
        return _is_pair(made) and self._sees(self.layer, self._subject(made[0])) is True

    def _make(self, again: str = "") -> Any:
        began = self._pace.now()
        outcome = self._bounded(self.factory)
        self._pace.note_opening(self._pace.now() - began)
        if outcome is None:
            raise FactoryHangsError(
                f"The factory has not returned within {self._patience:g} seconds{again}. Is its store "
                "running, and can it be reached? Set a short timeout on its client to see the client's error."
            )
        failure = outcome.failure
        if failure is not None:
            advice = (
                "The suite calls it more than once: each call must return another layer that is ready to use."
                if again
                else "Call it on its own first: it must return a layer that is ready for use."
            )
            error = f"{type(failure).__name__}{again}: {message_of(failure)}".rstrip(". ")
            raise FactoryError(f"The factory raised {error}. {advice}") from failure
        return outcome.value

    def waited(self) -> float:
        """Return how long a check has waited for the factory (seconds)."""
        return 0.0 if self._since is None else self._pace.now() - self._since

    def _bounded(self, work: Callable[[], Any]) -> Task | None:
        """Run ``work``, which may hang; return the finished task, or None if it hangs."""

        def awaited() -> Any:
            value = work()
            return self.loop.run(value) if inspect.iscoroutine(value) else value

        if self.worker.is_here:  # in a check, whose end another thread waits for
            self._since = self._pace.now()
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
        subject = Subject(layer, self.loop, self._noted, self._pace.is_over, self._pace.now)
        self.subjects.append(subject)
        return subject

    def _noted(self, seconds: float) -> None:
        """Note a request of the worker's thread: those of other threads wait for each other."""
        if self.worker.is_here:
            self._pace.note(seconds)

    def _sees(self, writer: Subject, reader: Subject) -> bool | None:
        """Return whether ``reader`` sees the records of ``writer``; None if that is unknown."""
        now = self._clock.ms()
        key = f"conformance-sharing-{secrets.token_hex(8)}"  # not used by an earlier run
        record = Record(key, INPROGRESS, now // 1000 + 3600, now + 3_600_000, owner="sharing")

        def try_it() -> bool | None:
            writer.swap(key, None, record, 3_600_000)
            if writer.load(key) is None:
                return None
            return reader.load(key) is not None

        outcome = self._bounded(try_it)
        if outcome is None:
            return None  # the first check reports a layer that hangs here
        if isinstance(outcome.failure, Exception) and self.at_first is None:
            self.at_first = outcome.failure
        return outcome.value  # type: ignore[no-any-return]  # the result of try_it, or None


def _close(layer: Any) -> Any:
    close = _closing(layer)
    return None if close is None else close()


def _closing(layer: Any) -> Callable[[], Any] | None:
    theirs = original(layer)
    close = getattr(theirs, "close", None) or getattr(theirs, "aclose", None)
    return close if callable(close) else None


def client_method(layer: Any, path: str) -> tuple[Any, str]:
    """Return the object that has the method at ``path``, seen from the layer, and the method's name.

    Raises
    ------
    FactoryError
        There is no such method; the message says which part is missing.
    """
    *way, method = path.split(".")
    theirs = original(layer)
    problem = f"client_methods names {path!r}, which {type(theirs).__name__} does not have"
    try:
        holder = functools.reduce(getattr, way, theirs)
        found = getattr(holder, method)
    except AttributeError as missing:
        raise FactoryError(f"{problem}: {missing}.") from missing
    if not callable(found):
        raise FactoryError(
            f"client_methods names {path!r} of {type(theirs).__name__}, which is no method: its type is "
            f"{type(found).__name__}."
        )
    return holder, method


def _refuse_what_cannot_be_called(factory: Any) -> None:
    if isinstance(factory, BasePersistenceLayer | AsyncBasePersistenceLayer):
        raise FactoryError(f"This is a layer ({type(factory).__name__}), not a factory. {_WANTED}")
    if not callable(factory):
        raise FactoryError(f"{shown(factory)} is not a factory: it cannot be called. {_WANTED}")
    try:
        inspect.signature(factory).bind()
    except TypeError as refusal:
        name = getattr(factory, "__name__", None) or shown(factory)
        raise FactoryError(
            f"The factory {name} cannot be called without arguments: {refusal}. {_WANTED}"
        ) from None
    except Exception:  # noqa: BLE001 - it has no signature, or an object that raises when it is inspected
        return


def _is_pair(made: Any) -> bool:
    return isinstance(made, tuple | list) and len(made) == _PAIR


def _not_a_layer(made: Any) -> str:
    kind = type(made).__name__
    if isinstance(made, type):
        return f"The factory returned the class {made.__name__}. Return an instance: {made.__name__}(…)."
    if isinstance(made, tuple | list):
        return f"The factory returned a {kind} of {len(made)} objects. {_WANTED}"
    if inspect.isgenerator(made) or inspect.isasyncgen(made):
        return (
            f"The factory returned a generator, because it contains a yield. {_WANTED} The suite closes "
            "layers that have a close method."
        )
    if inspect.isroutine(made):
        return f"The factory returned the function {made.__name__}: call it, and return its result. {_WANTED}"
    if made is None:
        return f"The factory returned None: is a return statement missing? {_WANTED}"
    missing = [name for name in _METHODS if not hasattr(made, name)]
    problem = f"it lacks {', '.join(missing)}" if missing else "it has the methods, but the wrong base class"
    return (
        f"The factory returned a {kind}, which is not a persistence layer: {problem}. Let its class inherit "
        "from BasePersistenceLayer or CompareAndSwapLayer (or their Async variants). " + _WANTED
    )
