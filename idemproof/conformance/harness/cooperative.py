"""Cooperative locks: they replace a layer's own locks during a race, and let other clients run.

A client that waits for a real lock stops without a pause, and the scheduler could only guess why.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

from .object_graph import Reference, references
from .scheduled_client import Client, ObservationBlocked, blocking_client, current_client, is_observing

_LOCK = type(threading.Lock())
_REENTRANT = type(threading.RLock())
_POLL_SECONDS = 0.001
_real_sleep = time.sleep


class CooperativeLock:
    """Replaces a ``threading.Lock`` or ``RLock``.

    Parameters
    ----------
    original
        The lock to replace; it must be free.
    """

    def __init__(self, original: Any) -> None:
        self.original = original
        self._reentrant = isinstance(original, _REENTRANT)
        self._state = threading.Lock()
        self._holder: Client | int | None = None
        self._thread = 0
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire the lock; while another client holds it, let the other clients run."""
        if self._reentrant and self._is_owned():
            self._depth += 1
            return True
        until = time.perf_counter() + timeout
        while not self._state.acquire(blocking=False):
            if not blocking:
                return False
            client = blocking_client()
            if is_observing():
                raise ObservationBlocked
            if client is None:
                if timeout >= 0 and time.perf_counter() > until:
                    return False
                _real_sleep(_POLL_SECONDS)
            elif not client.wait(_WAITING, self._is_free, forever=timeout < 0, holder=self._current_holder):
                return False
        self._holder = current_client() or threading.get_ident()
        self._thread, self._depth = threading.get_ident(), 1
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._reentrant and not self._is_owned():
            raise RuntimeError("cannot release un-acquired lock")
        if not self._state.locked():
            raise RuntimeError("release unlocked lock")
        self._depth -= 1
        if self._depth <= 0:
            self._holder = None
            self._state.release()

    def locked(self) -> bool:
        """Return whether any client holds the lock."""
        return self._state.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _is_owned(self) -> bool:
        """Return whether the caller holds it; ``threading.Condition`` calls this too."""
        client = current_client()
        if client is not None:
            return self._holder == client
        # A thread whose race is over still holds the locks that it acquired as a client.
        return self._holder is not None and self._thread == threading.get_ident()

    def _release_save(self) -> int:
        depth, self._depth = self._depth, 1
        self.release()
        return depth

    def _acquire_restore(self, depth: int) -> None:
        self.acquire()
        self._depth = depth

    def _is_free(self) -> bool:
        return not self._state.locked()

    def _current_holder(self) -> object:
        return self._holder


class CooperativeAsyncLock:
    """Replaces an ``asyncio.Lock``, which must be free."""

    def __init__(self, original: asyncio.Lock) -> None:
        self.original = original
        self._held = False
        self._holder: object = None

    async def acquire(self) -> bool:
        """Acquire the lock; while another client holds it, let the other clients run."""
        while self._held:
            client = current_client()
            if is_observing():
                raise ObservationBlocked
            if client is None:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                await client.wait_async(_WAITING, self._is_free, self._current_holder)
        self._held, self._holder = True, current_client() or asyncio.current_task()
        return True

    def release(self) -> None:
        """Release the lock."""
        if not self._held:
            raise RuntimeError("Lock is not acquired.")
        self._held, self._holder = False, None

    def locked(self) -> bool:
        """Return whether any client holds the lock."""
        return self._held

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _is_free(self) -> bool:
        return not self._held

    def _current_holder(self) -> object:
        return self._holder


class CooperativeCondition(threading.Condition):
    """Replaces a ``threading.Condition``: its lock is cooperative, waiting for a notification is not.

    Parameters
    ----------
    original
        The condition to replace; its lock must be free.
    lock
        What replaces its lock, which the layer may use by itself, too.
    """

    def __init__(self, original: threading.Condition, lock: CooperativeLock | None = None) -> None:
        super().__init__(lock or CooperativeLock(original._lock))  # type: ignore[attr-defined,arg-type]
        self.original = original


class CooperativeLocks:
    """Makes the locks of ``layers``, their classes and modules cooperative inside its ``with`` block.

    Locks that are held when the block begins are not replaced.
    """

    def __init__(self, layers: Iterable[Any]) -> None:
        self._layers = list({id(layer): layer for layer in layers}.values())

    def __enter__(self) -> Self:
        made: dict[int, Any] = {}
        # Locks first, because a condition may be over one of them.
        for reference in sorted(self._references(), key=lambda each: type(each.value) is threading.Condition):
            if id(reference.value) not in made:
                substitute = _substitute(reference.value, made)
                if substitute is None:
                    continue
                made[id(reference.value)] = substitute
            reference.replace(made[id(reference.value)])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reference in self._references():
            if isinstance(reference.value, CooperativeLock | CooperativeAsyncLock | CooperativeCondition):
                reference.replace(reference.value.original)

    def _references(self) -> list[Reference]:
        found = list(references(*self._layers))
        for cls in _author_classes(self._layers):
            module = vars(sys.modules[cls.__module__])
            found += [Reference(value, partial(setattr, cls, name)) for name, value in vars(cls).items()]
            found += [Reference(value, partial(module.__setitem__, name)) for name, value in module.items()]
        return found


def _author_classes(layers: Iterable[Any]) -> list[type]:
    """Return the layers' classes outside the standard library; they and their modules may have locks."""
    found = [
        cls
        for layer in layers
        for cls in type(getattr(layer, "theirs", layer)).__mro__
        if cls.__module__.partition(".")[0] not in sys.stdlib_module_names and cls.__module__ in sys.modules
    ]
    return list(dict.fromkeys(found))


def _substitute(value: Any, made: Mapping[int, Any]) -> Any:
    """Return what replaces a lock that is free, or None. ``made``: what has been replaced already."""
    if isinstance(value, _LOCK):
        return None if value.locked() else CooperativeLock(value)
    if isinstance(value, _REENTRANT):
        if not value.acquire(blocking=False):
            return None
        value.release()
        return CooperativeLock(value)
    if isinstance(value, asyncio.Lock):
        return None if value.locked() else CooperativeAsyncLock(value)
    if type(value) is threading.Condition and isinstance(value._lock, _LOCK | _REENTRANT):  # type: ignore[attr-defined]
        lock = made.get(id(value._lock)) or _substitute(value._lock, made)  # type: ignore[attr-defined]
        return None if lock is None else CooperativeCondition(value, lock)
    return None


_WAITING = "waits for a lock"
