"""From what a user gives, to two workers over one store: or a sentence that says what to do."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from ...backends.base import AsyncBasePersistenceLayer, BasePersistenceLayer
from ...spec.record import INPROGRESS, Record
from .adapters import adapted
from .clock import MovedClock
from .subjects import LoopThread, Subject

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
    """

    def __init__(self, factory: Factory, clock: MovedClock, patience: float) -> None:
        if not callable(factory):
            raise FactoryError(f"{factory!r} is not a factory: it cannot be called. {_WANTED}")
        self.factory = factory
        self.loop = LoopThread()
        self.subjects: list[Subject] = []
        self._clock = clock
        self._patience = patience
        self._layers: list[Any] = []
        try:
            self.workers, self.shared = self._two_workers()
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

    def close(self) -> None:
        """Close the layers that can be closed, and what they ran on."""
        for layer in self._layers:
            close = getattr(layer, "close", None) or getattr(layer, "aclose", None)
            if callable(close):
                reply = close()
                if asyncio.iscoroutine(reply):
                    self.loop.run(reply)
        self.loop.close()

    def _two_workers(self) -> tuple[list[Subject], bool]:
        first = self._make()
        if _is_pair(first):
            if first[0] is first[1]:
                raise FactoryError(
                    "The factory returned a pair that is one object twice. Two workers need an object each: "
                    "return the layer alone, and threads will share it."
                )
            pair = [self._subject(layer) for layer in first]
            if self._sees(*pair) is False:
                raise FactoryError(
                    "The two layers that the factory returned do not see each other's records. "
                    "Open both on the same store."
                )
            return pair, True
        one = self._subject(first)
        second = self._make()
        if _is_pair(second):
            raise FactoryError("The factory returned a layer at first, and a pair later. Decide for one.")
        if second is first:
            return [one, one], False
        other = self._subject(second)
        if self._sees(one, other):
            return [one, other], True
        return [one, one], False

    def _make(self) -> Any:
        """Call the factory, in a thread: it may hang."""
        outcome: dict[str, Any] = {}

        def call() -> None:
            try:
                made = self.factory()
                outcome["made"] = self.loop.run(made) if asyncio.iscoroutine(made) else made
            except BaseException as failure:  # noqa: BLE001 - whatever it is, it is told
                outcome["failure"] = failure

        caller = threading.Thread(target=call, name="conformance-factory", daemon=True)
        caller.start()
        caller.join(self._patience)
        if caller.is_alive():
            raise FactoryError(
                f"The factory has not returned within {self._patience:g} seconds. Is its store running and "
                "reachable? Give its client a short timeout, to see its own error."
            )
        failure = outcome.get("failure")
        if failure is not None:
            raise FactoryError(
                f"The factory raised {type(failure).__name__}: {failure}. Call it by itself first: it must "
                "return a layer that is ready for use."
            ) from failure
        return outcome["made"]

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
        record = Record(
            f"conformance-sharing#{now}", INPROGRESS, now // 1000 + 3600, now + 3_600_000, owner="sharing"
        )
        try:
            writer.swap(record.idempotency_key, None, record, 3_600_000)
            if writer.load(record.idempotency_key) is None:
                return None
            return reader.load(record.idempotency_key) is not None
        except Exception:  # noqa: BLE001 - what fails so early is judged by the first checks
            return None


def _is_pair(made: Any) -> bool:
    return isinstance(made, tuple | list) and len(made) == _PAIR


def _not_a_layer(made: Any) -> str:
    kind = type(made).__name__
    if isinstance(made, type):
        return f"The factory returned the class {made.__name__}. Return an object of it: {made.__name__}(…)."
    if isinstance(made, tuple | list):
        return f"The factory returned {len(made)} things in a {kind}. {_WANTED}"
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
