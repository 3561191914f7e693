"""A persistence layer over a command, and its factory."""

import dataclasses
import functools
import itertools
import queue
import shlex
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from ...backends.base import CompareAndSwapLayer
from ...spec.record import Record
from ..harness.scheduled_client import Died
from .child import Child
from .messages import Hello, InvalidLineError, Reply, fields_of, hello_of, line_of, reply_of

ANSWER_SECONDS = 8.0
"""How long a command may take to begin, and to answer: less than the suite waits for a layer."""

LONGEST_LINE = 4 * 2**20
"""The maximal length of a line (bytes), unless the layer claims larger responses."""

_ESCAPED = 8
"""The maximal growth of a response in JSON, and some space for the rest of the line."""

_MOST_STEPS = 1000
"""How many steps an interrupted request may still take."""


def longest_line(largest_response: int) -> int:
    """Return the maximal length of a line for a layer that claims this response (bytes)."""
    return max(LONGEST_LINE, largest_response * _ESCAPED)


class CommandError(RuntimeError):
    """The command cannot be started, has ended, is silent, or printed an invalid line."""


class Connection:
    """The requests to one command, which may answer them in any order.

    Parameters
    ----------
    command
        The program and its arguments.
    answer_seconds
        How long it may take to answer (seconds).
    longest_line
        The maximal length of a line (bytes).
    own_group
        See :class:`~.child.Child`.
    """

    def __init__(
        self, command: Sequence[str], answer_seconds: float, longest_line: int, *, own_group: bool
    ) -> None:
        self.fault: str | None = None
        """Why the command can answer no more, or None."""
        self._fault_raised = False
        self._answer_seconds = answer_seconds
        self._hello: queue.SimpleQueue[Hello | None] = queue.SimpleQueue()
        self._greeted = False
        self._steps = False
        self._replies: dict[int, queue.SimpleQueue[Reply | None]] = {}
        self._unanswered: set[int] = set()
        self._at_step: set[int] = set()
        """The requests that wait for permission to take a step."""
        self._numbers = itertools.count(1)
        self._closing = False
        try:
            self.child = Child(
                command, longest_line, self._on_line, self._fail, self._on_end, own_group=own_group
            )
        except OSError as failure:
            raise CommandError(
                f"The command {shlex.join(command)!r} cannot be started: {failure.strerror}."
            ) from failure
        self.child.start_reading()

    def hello(self) -> Hello:
        """Wait for the first line of the command."""
        try:
            found = self._hello.get(timeout=self._answer_seconds)
        except queue.Empty:
            found = None
            self._fail(f"printed no first line within {self._answer_seconds:g} seconds")
        if found is None:
            raise self.error()
        return found

    def begin(self) -> int:
        """Return the ``id`` of a new request."""
        number = next(self._numbers)
        self._replies[number] = queue.SimpleQueue()
        return number

    def send(self, _what: str, message: dict[str, Any]) -> None:
        """Send a message about a request. Races pause before and after it."""
        self._send(message)

    def receive(self, what: str, message: dict[str, Any]) -> Reply:
        """Wait for the next line about the request of a message. Races pause before and after it."""
        return self._receive(what, message)

    def exchange(self, what: str, message: dict[str, Any]) -> Reply:
        """Send a message, and wait for the next line about its request, without a pause in between."""
        return self._exchange(what, message)

    def settle(self, what: str, number: int) -> Reply | None:
        """Let an interrupted request end, because it may change the store later.

        If the command waits for permission to take a step, that step fails, and the answer to the request is
        returned. Otherwise the answer is lost, and None is returned.
        """
        if number not in self._unanswered or self.fault is not None:
            return None
        at_step = number in self._at_step
        try:
            if at_step:
                reply = self._exchange(what, {"id": number, "method": "fail"})
            else:
                reply = self._receive(what, {"id": number})
            for _ in range(_MOST_STEPS):
                if reply.kind != "step":
                    return reply if at_step else None
                reply = self._exchange(what, {"id": number, "method": "go"})
            self._fail(f"took {_MOST_STEPS:,} steps after a request was interrupted ({what})")
        except CommandError:
            pass
        return None

    def forget(self, number: int) -> None:
        """End a request."""
        self._unanswered.discard(number)
        self._at_step.discard(number)
        del self._replies[number]

    def close(self) -> None:
        """End the command; raise :class:`CommandError` for a fault that no request has raised."""
        self._closing = True
        status = self.child.end()
        if self.fault is None and status != 0:
            how = f"with exit status {status}" if status > 0 else f"by signal {-status}"
            self._fail(f"ended {how} after its stdin was closed, instead of with exit status 0")
        if self.fault is not None and not self._fault_raised:
            raise self.error()
        self._fail("was ended, because its layer was closed")

    def error(self) -> CommandError:
        """Return the error to raise because of the fault."""
        self._fault_raised = True
        return CommandError(self.fault)

    def _send(self, message: dict[str, Any]) -> None:
        if self.fault is None:
            self._unanswered.add(message["id"])
            self._at_step.discard(message["id"])
            self.child.send(line_of(message))

    def _receive(self, what: str, message: dict[str, Any]) -> Reply:
        replies = self._replies[message["id"]]
        reply = None
        if self.fault is None or not replies.empty():
            try:
                reply = replies.get(timeout=self._answer_seconds)
            except queue.Empty:
                self._fail(f"has not printed {what} within {self._answer_seconds:g} seconds")
        if reply is None:
            raise self.error()
        return reply

    def _exchange(self, what: str, message: dict[str, Any]) -> Reply:
        self._send(message)
        return self._receive(f"the answer to {what}", message)

    def _on_line(self, line: bytes) -> None:
        if self.fault is not None:
            return
        try:
            if not self._greeted:
                self._greeted = True
                hello = hello_of(line)
                self._steps = hello.steps
                self._hello.put(hello)
                return
            reply = reply_of(line)
        except InvalidLineError as wrong:
            self._fail(f"does not speak the protocol of lines: {wrong}")
            return
        if reply.number not in self._unanswered:
            self._fail(f"answered a request that is not pending, with the id {reply.number}")
            return
        if reply.kind != "step":
            self._unanswered.remove(reply.number)
        elif not self._steps:
            self._fail('announced a step, but its first line does not have "steps": true')
            return
        elif reply.number in self._at_step:
            self._fail(f"announced a step before it had permission for the one before: {reply.value}")
            return
        else:
            self._at_step.add(reply.number)
        self._replies[reply.number].put(reply)

    def _on_end(self, how: str) -> None:
        if not self._closing:
            self._fail(how)

    def _fail(self, why: str) -> None:
        if self.fault is not None:
            return
        self.fault = f"{self.child.name} {why}.{self.child.what_it_said()}"
        self._hello.put(None)
        for replies in list(self._replies.values()):
            replies.put(None)


class CommandLayer(CompareAndSwapLayer):
    """A persistence layer in another language: a command that speaks the protocol of lines.

    Parameters
    ----------
    command
        The program and its arguments.
    answer_seconds
        How long it may take to begin, and to answer (seconds).
    longest_line
        The maximal length of a line (bytes).
    own_group
        Whether the command gets its own process group; see :class:`~.child.Child`.

    Raises
    ------
    CommandError
        The command cannot be started, or does not speak the protocol of lines.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        answer_seconds: float = ANSWER_SECONDS,
        longest_line: int = LONGEST_LINE,
        own_group: bool = True,
    ) -> None:
        self._connect = functools.partial(
            Connection, command, answer_seconds, longest_line, own_group=own_group
        )
        self._beginning = threading.Lock()
        self._closed = False
        self._begin()

    @property
    def fault(self) -> str | None:
        """Why the command can answer no more, or None."""
        return self._connection.fault if self._finalizer.alive else None

    def close(self) -> None:
        """End the command: by closing its stdin, then by terminating, then by killing it."""
        self._closed = True
        if self._finalizer.detach() is not None:
            self._connection.close()

    def _begin(self) -> None:
        self._connection = self._connect()
        # For a layer that is never closed, such as one that hangs.
        self._finalizer = weakref.finalize(self, self._connection.child.end, at_once=True)
        try:
            self.hello = self._connection.hello()
        except BaseException:
            self._finalizer()
            raise

    def _load(self, key: str) -> Record | None:
        return self._ask(key, f"load {key}", {"method": "load", "key": key})

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        swap = {
            "method": "swap",
            "key": key,
            "expected": fields_of(expected),
            "new": fields_of(new),
            "ttl_ms": ttl_ms,
        }
        return self._ask(key, f"swap {key}", swap)

    def _ask(self, key: str, what: str, request: dict[str, Any]) -> Record | None:
        with self._beginning:
            if not (self._finalizer.alive or self._closed):  # it has died, and its worker is back
                self._begin()
        connection = self._connection
        number = connection.begin()
        try:
            reply = self._perform(what, {"id": number, **request})
        except Died:
            self._finalizer()  # as the operating system may kill it
            raise
        except BaseException as failure:
            last = connection.settle(what, number)
            if last is None or not isinstance(failure, ConnectionError):
                raise
            reply = last
        finally:
            connection.forget(number)
        if reply.kind == "error":
            raise reply.value
        record: Record | None = reply.value
        return None if record is None else record._replace(idempotency_key=key)

    def _perform(self, what: str, request: dict[str, Any]) -> Reply:
        connection = self._connection
        if not self.hello.steps:
            connection.send(what, request)
            return connection.receive(f"the answer to {what}", request)
        # One client of a race acts at a time: until it announces its next step, or has answered.
        reply = connection.exchange(what, request)
        while reply.kind == "step":
            reply = connection.exchange(reply.value, {"id": request["id"], "method": "go"})
        return reply


@dataclasses.dataclass(frozen=True)
class CommandFactory:
    """Makes a :class:`CommandLayer` with these parameters, in this process or in a worker of the suite."""

    command: Sequence[str]
    answer_seconds: float = ANSWER_SECONDS
    longest_line: int = LONGEST_LINE
    own_group: bool = True

    def __call__(self) -> CommandLayer:
        """Start the command, and return its layer."""
        return CommandLayer(**vars(self))

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled factory is for a worker process, which is killed together with its commands.
        return CommandFactory, (self.command, self.answer_seconds, self.longest_line, False)
