"""Decomposes what a call consists of, so that equal states can be recognized."""

from types import FunctionType, GeneratorType, MethodType
from typing import Any

from ...backends.within import Records, Refusal
from ...reference.attempt import Attempt
from ...reference.cache import LocalCache
from ...reference.engine import Engine
from ...reference.observers import Report
from ...reference.renewal import Renewal
from ...reference.transaction_completion import Completion
from ...reference.waiter import Waiter
from ...spec.commands import AskWithin, Load, Sleep, StopRenewal, Swap, Wait
from ...spec.events import ASK, Abandon, Claim, Complete, CompleteWithin, Outcome, Release, Renew
from ...spec.record import FINAL_ERROR, Record
from ...spec.settle import Change
from ..calls import SimulatedCall
from ..connections import SimulatedConnection
from ..simulator import World
from .frames import readable

_PLAIN = (bool, int, type(None))
_SHARED = (
    *(Engine, LocalCache, Report, type, MethodType, FunctionType),
    *(AskWithin, Completion, Records, SimulatedConnection),
)
"""Types whose values are the same for all calls of a client, or are in the key separately."""


class Parts:
    """Decomposes values: its methods return shapes, and record times and names in their order."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.names: list[str] = []

    def local(self, name: str, value: Any) -> Any:
        """Return the shape of a local variable."""
        return self.time(value) if name == "now" else self.shape(value)

    def frame(self, steps: Any) -> Any:
        """Return the position of a generator and its locals, without generators that it delegates to."""
        frame = steps.gi_frame
        if frame is None:
            return None
        needed = readable(frame.f_code, frame.f_lasti)
        known = [(name, self.local(name, each)) for name, each in frame.f_locals.items() if name in needed]
        return frame.f_code.co_qualname, frame.f_lasti, tuple(known)

    def time(self, milliseconds: int | None) -> Any:
        """Record a time."""
        if milliseconds is not None:
            self.times.append(milliseconds)
        return milliseconds is not None

    def seconds(self, seconds: int | None) -> Any:
        """Record a time in seconds."""
        return self.time(None if seconds is None else seconds * 1000)

    def name(self, text: str | None) -> Any:
        """Record a name; quotes mark the JSON text of a name. A final error differs from a result."""
        if not text:
            return text
        self.names.append(text.strip('"'))
        return "final error" if text.startswith(FINAL_ERROR) else text.startswith('"')

    def shape(self, value: Any) -> Any:  # noqa: C901 - one branch for each kind of value
        """Return the shape of a value."""
        cls = type(value)
        if cls in _PLAIN:
            found: Any = (cls.__name__, value)
        elif cls is str:
            found = value if value == World.KEY or value.startswith(("payload", "ROW-")) else self.name(value)
        elif cls in (Record, Claim, Complete, CompleteWithin, Renew):
            found = self._with_deadlines(value)
        elif cls is Attempt:
            found = self._attempt(value)
        elif cls is Waiter:
            found = self._waiter(value)
        elif isinstance(value, (BaseException, Renewal, StopRenewal, *_SHARED)):  # a call has one renewal
            found = cls.__name__
        elif isinstance(value, Change):
            found = (cls.__name__, value.requests)  # distinguishes changes of the same type
        elif cls is GeneratorType:
            found = ("generator", self.frame(value))
        elif cls is Swap:  # no world uses `ttl_ms`
            found = ("Swap", self.shape(value.expected), self.shape(value.new))
        elif cls in (Sleep, Wait, Release, Abandon, Load, Refusal) or isinstance(value, Outcome):
            found = (cls.__name__, *map(self.shape, value))
        else:
            raise TypeError(f"no rule compares values of type {cls.__name__}: add one to `Parts.shape`")
        return found

    def connection(self, call: SimulatedCall) -> Any:
        """Return the shape of the connection within which a body completes."""
        connection = call.connection
        if connection is None:
            return None
        known = connection.state, connection.is_lost, connection.is_committed
        return (*known, call.completing is None, type(call.refusal).__name__)

    def _completion(self, completion: Completion) -> Any:
        return (
            self.shape(completion.event),
            self.shape(completion.claim),
            self.time(completion.now),
            type(completion.refusal).__name__,
            completion.may_be_torn,
            completion.is_committed,
            completion.may_arrive,
            self.shape(completion.answer),
        )

    def renewal(self, renewal: Renewal | None) -> Any:
        """Return the shape of what renews the lease of a call."""
        if renewal is None:
            return None
        known = map(self.shape, (renewal.claim, renewal.held, renewal.lost, renewal.stopped))
        return (*known, self.time(renewal.until))

    def _attempt(self, attempt: Attempt) -> Any:
        return (
            attempt.returned,
            self.shape(getattr(attempt, "result", None)),
            self.shape(attempt.failure),
            self.shape(attempt.payload_hash),
            self.name(attempt.owner),
            self.shape(attempt.held),
            self.seconds(attempt.expiry),
            self.shape(attempt.interrupt),
            self.name(attempt.text),
            self.time(attempt.until),
            attempt.waited_ms,
            self.shape(attempt.trouble),
            attempt.settled,
            attempt.asks,
            attempt.asked is None,
            tuple(map(self._completion, attempt.completing)),
            self.shape(attempt.waiter),
        )

    def _waiter(self, waiter: Waiter) -> Any:
        began = waiter.has_begun
        return (
            self.shape(waiter.unanswered),
            self.shape(waiter.trouble),
            waiter.listens,
            waiter.outlived,
            began
            and (
                self.time(waiter._until),
                self.time(waiter._since),
                waiter._unspent_ms,
                waiter._polls,
                waiter._pause,
            ),
        )

    def pauses(self, call: SimulatedCall) -> Any:
        """Return the shape of how a call has waited."""
        pauses = call.pauses
        if not call.waiting_ms or call.body is not None:
            return None
        until = call.unanswered_until
        unanswered = until and (call.policy != ASK or self.time(until))
        if pauses is None:
            return unanswered
        return (
            unanswered,
            self.time(pauses.since),
            self.time(pauses.began),
            pauses.spent_ms,
            pauses.hurried,
        )

    def _with_deadlines(self, value: Any) -> Any:
        if isinstance(value, Claim):
            owner, lease, expiry, payload_hash, _, _ = value
            return "Claim", self.name(owner), self.time(lease), self.seconds(expiry), payload_hash
        if isinstance(value, Complete | CompleteWithin):
            owner, response, payload_hash, expiry, _ = value
            return (
                type(value).__name__,
                self.name(owner),
                self.name(response),
                payload_hash,
                self.seconds(expiry),
            )
        if isinstance(value, Renew):
            return "Renew", self.name(value.owner), self.time(value.lease)
        _, status, expiry, lease, response, payload_hash, owner = value
        return (
            status,
            self.seconds(expiry),
            self.time(lease),
            self.name(response),
            payload_hash,
            self.name(owner),
        )
