"""Time for renewals that tests move: no thread or task waits for real time."""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, Kind, Occurrence, idempotent_function
from idemproof.drivers import heartbeat_tasks, heartbeats
from idemproof.spec.record import INPROGRESS, Record

LEASE_SECONDS = 30
BEAT_SECONDS = 10
WATCHDOG_SECONDS = 120
"""When a wait has failed: no test waits so long unless something hangs."""


class Time:
    """The clock of leases and of heartbeats. It only moves when a test says so."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000
        self.on_wait: Callable[[], None] = lambda: None
        self._passed = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.waiting = threading.Event()

    def clock(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self._passed

    def wait(self, turn: threading.Condition, seconds: float | None) -> None:
        if threading.current_thread() is threading.main_thread():
            self.waiting.set()
            self.on_wait()
            assert turn.wait(WATCHDOG_SECONDS), "nobody moved the time"
        else:
            turn.wait()

    async def pause(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._passed + seconds, future))
        await future

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass, and wake what is due."""
        self.ms += round(seconds * 1000)
        self._passed += seconds
        home = heartbeats._heartbeats
        if home is not None:
            with home.turn:  # a thread that has read the time holds it until it waits
                home.turn.notify_all()
        for due, future in self._sleepers:
            if due <= self._passed and not future.done():
                future.set_result(None)
        self._sleepers = [each for each in self._sleepers if not each[1].done()]


class _Performed(threading.local):
    """The renewal that the current thread performs."""

    beat: heartbeats.Beat | None = None


_performed = _Performed()


def _perform(beat: heartbeats.Beat, perform: Any = heartbeats._Heartbeats._perform) -> Any:
    _performed.beat = beat
    try:
        return perform(beat)
    finally:
        _performed.beat = None


@contextmanager
def moved_time() -> Iterator[Time]:
    """Give renewals a time of the test's own, and a process without any renewal."""
    time = Time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heartbeats, "now", time.monotonic)
        patch.setattr(heartbeats, "wait", time.wait)
        patch.setattr(heartbeats, "_heartbeats", None)
        patch.setattr(heartbeats._Heartbeats, "_perform", staticmethod(_perform))
        patch.setattr(heartbeat_tasks, "pause", time.pause)
        yield time


class Watched(InMemoryPersistenceLayer):
    """A store whose renewals can hang or fail, and which counts them."""

    blocks = True  # so that its requests take turns with others

    def __init__(self) -> None:
        super().__init__()
        self.renewals: list[str] = []
        self.hanging: dict[str, threading.Event] = {}
        self.hangs: queue.Queue[str] = queue.Queue()
        self.failing = False

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if (
            expected is not None
            and new is not None
            and new.status == INPROGRESS
            and new.owner == expected.owner
        ):
            self.renewals.append(key)
            if self.failing:
                raise ConnectionError("the store is away")
            released = self.hanging.get(key)
            if released is not None:
                self.hangs.put(key)
                assert released.wait(WATCHDOG_SECONDS)
        return super()._swap(key, expected, new, ttl_ms)

    def give_to(self, owner: str, until: int) -> None:
        """Let another attempt take all claims over."""
        for key, record in list(self._records.items()):
            self._records[key] = record._replace(owner=owner, in_progress_expiry_timestamp=until)


class Seen:
    """An observer that lets a test wait for what is reported."""

    def __init__(self) -> None:
        self.all: list[Occurrence] = []
        self._new: queue.Queue[tuple[Occurrence, heartbeats.Beat | None]] = queue.Queue()

    def __call__(self, occurrence: Occurrence) -> None:
        self.all.append(occurrence)
        self._new.put((occurrence, _performed.beat))

    def wait_for(self, kind: Kind) -> Occurrence:
        """Return the next occurrence of this kind, once it is settled when the renewal is due again."""
        found = None
        while found is None or found.kind is not kind:
            found, beat = self._new.get(timeout=WATCHDOG_SECONDS)
        home = None if beat is None else beat.home
        if home is not None:
            with home.turn:
                assert home.turn.wait_for(lambda: not beat.performing, WATCHDOG_SECONDS)
        return found

    @property
    def kinds(self) -> list[str]:
        return [each.kind.value for each in self.all]


def renewing(time: Time, seen: Seen | None = None, **settings: Any) -> IdempotencyConfig:
    """Return a configuration that renews."""
    defaults: dict[str, Any] = {
        "in_progress_expires_after_seconds": LEASE_SECONDS,
        "clock": time.clock,
        "renew_lease": True,
        "observers": [] if seen is None else [seen],
    }
    return IdempotencyConfig(**defaults | settings)


def protect(body: Any, store: Any, config: IdempotencyConfig) -> Any:
    """Return ``body`` as an idempotent function of ``n``."""
    return idempotent_function(
        body, data_keyword_argument="n", persistence_store=store, config=config, key_prefix="fn"
    )
