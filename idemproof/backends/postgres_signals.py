"""Signals of PostgreSQL for calls that wait: one connection of each layer and process listens to changes.

For a call that waits, the connection holds a shared advisory lock, whose number is a hash of the key. A
statement that changes a record tries to get that lock for itself. Only if it fails, the statement sends a
notification, because the transactions of a server that notify commit one after the other.
"""

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

from ..drivers.exchanges import perform
from ..drivers.forksafe import give_lock
from ..spec.errors import IdempotencyError, IdempotencyPersistenceLayerError
from ..spec.record import Record
from .logs import log
from .postgres_errors import translate_error
from .postgres_statements import LISTEN, PostgresTable, signal_of
from .waiters import Waiters

IDLE_SECONDS = 10.0
"""For how many seconds the connection stays open after the last call has begun to wait."""

MOST_KEYS = 50
"""How many keys one connection listens to. By default the server can hold 64 locks for each session."""

_LINGER_SECONDS = 3.0
"""For how many seconds to listen to a key for which no call waits. Calls wait again after each claim."""

_TURN_SECONDS = 1.0
"""How often the thread looks at the time."""

_SHORTEST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
"""The first and the longest pause between attempts to connect."""

_inherited: list[Any] = []
"""Connections of a parent process, which are neither used nor closed here."""

_child_lock = threading.Lock()


class _Topic:
    """A key that the connection listens to."""

    __slots__ = ("has_changed", "heard", "number", "record", "used")

    def __init__(self, number: str) -> None:
        self.number = number
        self.record: Record | None = None
        self.has_changed = True
        """Whether a notification has arrived since ``record`` was read, or nothing was read."""
        self.heard = False
        """Whether a notification has arrived since the request was sent that reads the record."""
        self.used = time.monotonic()


class Signals:
    """Ends the pauses of waiting calls when a record changes. Thread-safe, and on both sides of a fork.

    Its thread and connection begin with the first call that waits. They end with :meth:`close`, and when no
    call has begun to wait for ``idle_seconds``. Nothing here decides anything: a call that is woken claims
    again.

    Parameters
    ----------
    settings
        The parameters of the connection.
    seconds
        How long to wait for the login and for an answer.
    table
        The table with the records.
    secrets
        Texts that must not be logged.
    idle_seconds
        For how many seconds the connection stays open without calls that begin to wait.
    """

    _lock: AbstractContextManager[Any]

    def __init__(
        self,
        settings: dict[str, Any],
        seconds: float,
        table: PostgresTable,
        secrets: Collection[str],
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._settings = settings
        self._seconds = seconds
        self._table = table
        self._secrets = secrets
        self._idle_seconds = idle_seconds
        self.are_possible = True
        """False once a pooler was found, whose sessions are not those of one client."""
        give_lock(self)
        self._renew()

    def _renew(self) -> None:
        self.waiters = Waiters()
        self._cursor: Any = None
        self._topics: dict[str, _Topic] = {}
        self._asked: dict[str, set[Record]] = {}
        self._last_asked = 0.0
        self._thread: threading.Thread | None = None
        self._waker: socket.socket | None = None
        self._must_end = False
        self._at_end: list[Callable[[], object]] = []
        self._process = os.getpid()

    def wait(self, key: str, seen: Record, seconds: float) -> bool:
        """Block until the record of ``key`` may differ from ``seen``, or the time is over."""
        return self.waiters.wait(key, lambda: self._ask(key, seen), seconds)

    async def wait_async(self, key: str, seen: Record, seconds: float) -> bool:
        """Wait as :meth:`wait` does, on an event loop."""
        return await self.waiters.wait_async(key, lambda: self._ask(key, seen), seconds)

    def close(self) -> None:
        """End the thread and its connection. The next call that waits begins new ones."""
        thread = self._end()
        if thread is not None:
            thread.join()

    async def close_async(self) -> None:
        """:meth:`close` for an event loop, which it does not block."""
        import asyncio  # noqa: PLC0415 - blocking programs do not need it

        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def end() -> None:
            if not ended.done():
                ended.set_result(None)

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(end)

        with self._lock:
            thread = self._end()
            if thread is None:
                return
            self._at_end.append(wake)
        await ended
        thread.join()  # which has nothing left to do

    def _end(self) -> threading.Thread | None:
        """Make the thread end, and return it. It cannot wait for itself."""
        self._notice_fork()
        with self._lock:
            thread = self._thread
            if thread is None or thread is threading.current_thread():
                return None
            self._must_end = True
            self._poke()
            return thread

    def _ask(self, key: str, seen: Record) -> bool:
        """Have the thread listen to ``key``; return whether the record is known to differ from ``seen``."""
        self._notice_fork()
        if not self.are_possible:
            raise IdempotencyPersistenceLayerError(
                "No notifications arrive through a pooler. Calls that wait poll for changes."
            )
        with self._lock:
            self._last_asked = time.monotonic()
            topic = self._topics.get(key)
            if topic is not None:
                topic.used = self._last_asked
                if not topic.has_changed:
                    return topic.record != seen
            elif len(self.waiters.by_key) > MOST_KEYS:
                raise IdempotencyPersistenceLayerError(
                    f"Calls already wait for {MOST_KEYS} keys. This one polls for a change of {key!r}."
                )
            self._asked.setdefault(key, set()).add(seen)
            if self._thread is None:
                self._begin()
            self._poke()
        return False

    def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        thread = threading.Thread(target=self._run, args=(theirs,), name="idemproof-signals", daemon=True)
        self._waker, self._thread, self._must_end = ours, thread, False
        try:
            thread.start()
        except BaseException:
            self._thread = self._waker = None  # if it has started nevertheless, it ends by itself
            ours.close()
            if not thread.is_alive():
                theirs.close()
            raise

    def _poke(self) -> None:
        if self._waker is not None:
            with suppress(OSError):  # it is full, so the thread will wake; or closed, so it wakes too
                self._waker.send(b"\0")

    def _notice_fork(self) -> None:
        if self._process != os.getpid():
            with _child_lock:
                if self._process != os.getpid():
                    _inherited.append(self._cursor)
                    self._renew()

    def _run(self, woken: socket.socket) -> None:
        """Keep a connection, and listen by it, until that is over."""
        pause = 0.0
        try:
            while not self._is_over():
                try:
                    self._connect_and_listen(woken)
                    pause = 0.0
                except Exception as error:  # noqa: BLE001 - whatever it is, the calls that wait poll
                    self._report(error, logging.DEBUG if pause else logging.WARNING)
                    pause = min(max(2 * pause, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
                    self._sleep(woken, pause)
        finally:
            woken.close()
            with self._lock:
                if self._thread is threading.current_thread():
                    self._leave()

    def _leave(self) -> None:
        """Forget the thread, which ends. A call that has asked it meanwhile claims and asks again."""
        asked, at_end = self._asked, self._at_end
        self._thread, self._asked, self._at_end = None, {}, []
        if self._waker is not None:
            self._waker.close()
            self._waker = None
        for call in at_end:
            call()
        if not self._must_end:
            for key in asked:
                self.waiters.wake(key)  # and they ask again

    def _is_over(self) -> bool:
        """Return whether the thread is to end."""
        with self._lock:
            if self._thread is not threading.current_thread():  # its start was interrupted
                return True
            idle = time.monotonic() - self._last_asked > self._idle_seconds and not self.waiters
            return self._must_end or idle or not self.are_possible

    def _sleep(self, woken: socket.socket, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._must_end and (left := until - time.monotonic()) > 0:
            self._select(woken, None, left)

    def _connect_and_listen(self, woken: socket.socket) -> None:
        from . import postgres_connections as connections  # noqa: PLC0415 - loads psycopg

        cursor, is_pooled = connections.open_cursor(self._settings, self._seconds, self._table.check)
        self._cursor = cursor
        connection = cursor.connection
        try:
            if is_pooled:
                self.are_possible = False
                log(logging.INFO, "Connected to a pooler of PostgreSQL: calls that wait poll for changes.")
                return
            connection.add_notify_handler(lambda notify: self._hear(notify.payload))
            cursor.execute(LISTEN)
            while not self._is_over():
                with self._lock:
                    asked, self._asked = self._asked, {}
                client = connections.Blocking(cursor)
                for key, seen in asked.items():
                    self._listen_to(client, key, seen)
                self._drop_unused(client, _LINGER_SECONDS)
                if self._select(woken, connection.pgconn.socket, _TURN_SECONDS):
                    connection.pgconn.consume_input()
                while (notify := connection.pgconn.notifies()) is not None:
                    self._hear(notify.extra.decode())
        finally:
            self._cursor = None
            connection.close()
            with self._lock:
                topics, self._topics = self._topics, {}
            for key in topics:  # changes were missed, perhaps
                self.waiters.wake(key)

    def _listen_to(self, client: Any, key: str, seen: set[Record]) -> None:
        """Listen to ``key``, and wake those who wait for it if the record is not as each has seen it."""
        topic = self._topics.get(key)
        if topic is None:
            if len(self._topics) >= MOST_KEYS:
                self._drop_unused(client, linger_seconds=0.0)
            topic = _Topic(signal_of(key))
            if not perform(self._table.subscribe(topic.number), client):
                self.waiters.wake(key)  # another session is just changing the record
                return
            with self._lock:
                self._topics[key] = topic
        topic.heard = False  # until a notification arrives, even while the record is read
        record = perform(self._table.load(key), client)
        with self._lock:
            topic.record, topic.has_changed = record, topic.heard
        if any(each != record for each in seen):
            self.waiters.wake(key)

    def _hear(self, number: str) -> None:
        """Wake those who wait for a record that has changed."""
        for key, topic in self._topics.items():
            if topic.number == number:
                topic.heard = topic.has_changed = True
                self.waiters.wake(key)

    def _drop_unused(self, client: Any, linger_seconds: float) -> None:
        """Listen no more to keys for which no call has waited for so many seconds."""
        latest = time.monotonic() - linger_seconds
        with self._lock:
            unused = [
                key
                for key, topic in self._topics.items()
                if topic.used <= latest and key not in self.waiters.by_key
            ]
            dropped = [self._topics.pop(key) for key in unused]
        for topic in dropped:
            perform(self._table.unsubscribe(topic.number), client)

    def _select(self, woken: socket.socket, other: int | None, seconds: float) -> bool:
        """Wait until there is something to do; return whether ``other`` is readable."""
        with ExitStack() as closing:
            selector = closing.enter_context(selectors.DefaultSelector())
            selector.register(woken, selectors.EVENT_READ)
            if other is not None:
                selector.register(other, selectors.EVENT_READ)
            ready = [key.fd for key, _ in selector.select(seconds)]
        if woken.fileno() in ready:
            with suppress(BlockingIOError):
                while woken.recv(4096):
                    pass
        return other in ready

    def _report(self, error: Exception, level: int) -> None:
        named = error
        if not isinstance(error, IdempotencyError):
            named = translate_error(error, "calls that wait", self._table.name, self._secrets)
        log(level, "The connection that listens for changes failed; calls that wait poll: %s", named)
