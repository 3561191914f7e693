"""Reports the occurrences of calls to the log, and to the observers of a configuration.

An observer cannot change the outcome of a call: what it raises is logged. Only an interrupt is raised.
"""

import logging
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from types import CoroutineType
from typing import Any, Self

from ..backends.logs import log, logger
from ..drivers.interrupts import Interrupts, raise_interrupt
from ..spec.commands import Emit
from ..spec.events import Claimed, Event, InProgress, Outcome, PayloadMismatch, Replay, UnknownOutcome
from ..spec.occurrences import Kind, Occurrence
from ..spec.record import UNAVAILABLE, Record
from ..spec.transition import Next, deciding_row
from .requests import StoreRequest

Observer = Callable[[Occurrence], object]
"""An observer. It is called with each occurrence, in the thread or event loop of the call."""

_LOGGED = {
    Kind.TOOK_OVER: (logging.INFO, "%r, from one whose lease or window is over"),
    Kind.NO_LEASE: (
        logging.WARNING,
        (
            "if a worker dies, %r stays in progress for the whole window. "
            "Set in_progress_expires_after_seconds, or register the Lambda context."
        ),
    ),
    Kind.RENEWAL_REFUSED: (
        logging.WARNING,
        "an attempt on %r no longer holds its claim, though its function still runs",
    ),
    Kind.RENEWAL_FAILED: (
        logging.WARNING,
        "the lease of %r could not be renewed. It is tried again while the function runs",
    ),
    Kind.PARKED: (
        logging.WARNING,
        "%r was not run again: the lease of an earlier attempt has ended, and it may have done the operation",
    ),
    Kind.SUPERSEDED: (
        logging.WARNING,
        (
            "an attempt on %r no longer held its claim: its lease ended, or the store lost the claim; "
            "another attempt completed first, and its result counts"
        ),
    ),
}
_OTHERS = (logging.DEBUG, "%s")


class _Shared:
    """The observers of the process, and who wants requests."""

    __slots__ = ("everywhere", "requests", "timing")

    def __init__(self) -> None:
        self.everywhere: tuple[Observer, ...] = ()
        self.timing = False
        """Whether one of them also wants each request to the store."""
        self.requests = False
        """Whether any observer ever wanted that, also one of a configuration. Until then, no call asks."""


shared = _Shared()

_here: ContextVar[tuple[Observer, ...]] = ContextVar("idemproof_observers_here", default=())
observers_here = _here.get
"""Returns the observers of this thread or task."""


def set_default_observers(observers: Sequence[Observer]) -> Sequence[Observer]:
    """Set the observers of all calls in this process, and return those set before.

    They are called after the observers of the configuration. An observer that is in both is called once.

    Parameters
    ----------
    observers
        A list or tuple of functions, as for ``IdempotencyConfig(observers=...)``. Empty: none.

    Raises
    ------
    IdempotencyConfigError
        A value is not allowed.
    """
    from .config_values import require_observers  # noqa: PLC0415 - it is not needed to make calls

    require_observers(observers)
    before, shared.everywhere = shared.everywhere, tuple(observers)
    shared.timing = any(map(_times_requests, observers))
    shared.requests = shared.requests or shared.timing
    return before


class last_call:  # noqa: N801 - used like a function
    """The last idempotent call in a ``with`` block: its answer is new or replayed.

    ``with last_call() as call:`` observes the calls of this thread or task, and of tasks that begin in the
    block. Use :class:`Answer` instead if you call :meth:`Idempotency.run`.

    Attributes
    ----------
    occurrence
        The last :class:`Occurrence` of these calls; None if there was no protected call.
    """

    def __init__(self) -> None:
        self.occurrence: Occurrence | None = None
        self._tokens: list[Token[tuple[Observer, ...]]] = []

    def __enter__(self) -> Self:
        self._tokens.append(_here.set((*observers_here(), self._observe)))
        return self

    def __exit__(self, *_: object) -> None:
        _here.reset(self._tokens.pop())

    def _observe(self, occurrence: Occurrence) -> None:
        if occurrence.kind is not Kind.NO_LEASE:
            self.occurrence = occurrence

    @property
    def key(self) -> str | None:
        """The idempotency key of the call, or None."""
        return None if self.occurrence is None else self.occurrence.key

    @property
    def kind(self) -> Kind | None:
        """How the call ended, or None."""
        return None if self.occurrence is None else self.occurrence.kind

    @property
    def record(self) -> Record | None:
        """The stored record, as far as the call knows it, or None."""
        return None if self.occurrence is None else self.occurrence.record

    @property
    def replayed(self) -> bool:
        """Whether the caller got the stored answer of another attempt. If not, the call has its own end."""
        return self.occurrence is not None and self.occurrence.replayed


_busy: ContextVar[tuple[Observer, ...]] = ContextVar("idemproof_observers", default=())
"""The observers that are being called. An observer does not observe calls that it makes itself."""


is_logged = logger.isEnabledFor
"""Returns whether the log records messages of a level. At DEBUG, it records every occurrence."""


def log_occurrence(occurrence: Occurrence, interrupts: Interrupts) -> None:
    """Log an occurrence. The log record has the attributes ``idempotency_event`` and ``idempotency_key``."""
    level, message = _LOGGED.get(occurrence.kind, _OTHERS)
    if not is_logged(level):
        return
    kind, key = occurrence.kind.value, occurrence.key
    extra = {"idempotency_event": kind, "idempotency_key": key}
    log(level, f"{kind}: {message}", key, extra=extra, interrupts=interrupts)


class Observers:
    """The log and the observers, for the calls of one configuration.

    Parameters
    ----------
    observers
        The observers, called in this order, after the log.
    interrupts
        Recognizes the interrupts, which are raised even while an occurrence is observed.
    """

    __slots__ = ("_interrupts", "_observers", "given", "timing")

    def __init__(self, observers: Sequence[Observer], interrupts: Interrupts) -> None:
        self._observers = tuple(observers)
        self._interrupts = interrupts
        self.given = bool(observers)
        """Whether the configuration has observers."""
        self.timing = any(map(_times_requests, observers))
        """Whether one of them also wants each request to the store."""
        shared.requests = shared.requests or self.timing

    def wants(self, kind: Kind) -> bool:
        """Return whether an occurrence of this kind is to be reported."""
        if self.given or shared.everywhere or observers_here():
            return True
        return is_logged(_LOGGED.get(kind, _OTHERS)[0])

    def with_others(self, observers: Sequence[Observer]) -> "Observers":
        """Return the same observers, and more."""
        return Observers((*self._observers, *observers), self._interrupts)

    def hand(self, occurrence: Occurrence) -> None:
        """Report an occurrence to the log and all observers. Of several interrupts, the first is raised."""
        interrupt: BaseException | None = None
        try:
            log_occurrence(occurrence, self._interrupts)
        except BaseException as error:  # noqa: BLE001 - an interrupt: nothing else leaves the log
            interrupt = error
        for observer in self._all():
            found = self._tell(observer, observer, occurrence)
            if found is not None and interrupt is None:
                interrupt = found
        if interrupt is not None:
            raise interrupt

    def hand_request(self, request: StoreRequest) -> None:
        """Report a request or a wait to the observers that want it. The first interrupt is raised."""
        interrupt: BaseException | None = None
        for observer in self._all():
            if _times_requests(observer):
                found = self._tell(observer, observer.on_request, request)  # type: ignore[attr-defined]
                interrupt = interrupt or found
        if interrupt is not None:
            raise interrupt

    def _all(self) -> tuple[Observer, ...]:
        """Return the observers of the configuration, of the process and of the context, each once."""
        everywhere, here = shared.everywhere, observers_here()
        if not (everywhere or here):
            return self._observers
        found = list(self._observers)
        for other in (*everywhere, *here):
            if not any(other is known for known in found):
                found.append(other)
        return tuple(found)

    def _tell(self, observer: Observer, take: Callable[[Any], object], what: Any) -> BaseException | None:
        """Call an observer, unless it is being called; return an interrupt that it raises."""
        busy = _busy.get()
        if busy and any(each is observer for each in busy):
            return None
        token = _busy.set((*busy, observer))
        try:
            try:
                answer = take(what)
                if not isinstance(answer, CoroutineType):
                    return None
                answer.close()
                raise TypeError("an observer is called, and not awaited: make it a plain function")  # noqa: TRY301 - as any failure of it
            except BaseException as error:  # noqa: BLE001 - judged below, where nothing is being handled
                failure = error
            return self._interrupt_in(failure, observer, what)
        finally:
            _busy.reset(token)

    def _interrupt_in(self, failure: BaseException, observer: Observer, what: Any) -> BaseException | None:
        """Log what an observer raised, and return it if it is an interrupt."""
        # An observer is no generator: one that raises what closes generators has failed.
        interrupt = None if isinstance(failure, GeneratorExit) else self._interrupts.behind(failure)
        if interrupt is not None:
            return interrupt
        try:
            log(
                logging.WARNING,
                "%r failed to observe %r, which changes nothing for the call",
                observer,
                str(what.kind),
                exc_info=failure,
                interrupts=self._interrupts,
            )
        except BaseException as error:  # noqa: BLE001 - as above
            return error
        return None


def _times_requests(observer: Observer) -> bool:
    return hasattr(type(observer), "on_request")


class Report:
    """Makes the occurrences of one call.

    Parameters
    ----------
    key
        The idempotency key.
    clock
        Returns epoch milliseconds; None if the call was not observed when it began.
    owner
        The owner token of the attempt, if it is known already.
    function
        The full name of the function, if there is one.
    """

    __slots__ = ("_began", "_clock", "_function", "_key", "_owner", "_row")

    def __init__(
        self,
        key: str,
        clock: Callable[[], int] | None,
        owner: str | None = None,
        function: str | None = None,
    ) -> None:
        self._function = function
        self._key = key
        self._clock = clock
        self._began = None if clock is None else self._now(clock)
        self._row: str | None = None
        self._owner = owner

    @property
    def function(self) -> str | None:
        """The full name of the function."""
        return self._function

    def beside(self) -> "Report":
        """Return a report for renewals, which are reported while the call goes on."""
        twin = Report(self._key, None, self._owner, self._function)
        twin._clock, twin._began = self._clock, self._began
        return twin

    def begun_by(self, owner: str) -> Callable[[Record | None, Event, int], Next]:
        """Set the owner token of the attempt; return :meth:`decide`."""
        self._owner = owner
        return self.decide

    def decide(self, record: Record | None, event: Event, now: int) -> Next:
        """Decide as the table does, and note its row."""
        row = deciding_row(record, event, now)
        self._row = row.clause
        return row.step(record, event, now)

    def of(
        self,
        kind: Kind,
        outcome: Outcome | None = None,
        *,
        record: Record | None = None,
        ran: bool = False,
        error: BaseException | None = None,
    ) -> Emit:
        """Return the command that reports what has happened."""
        row = None if outcome is None else self._row
        if record is None:
            record = getattr(outcome, "record", None)
        lasted = None
        if self._clock is not None and self._began is not None:
            now = self._now(self._clock)
            if now is not None:
                lasted = now - self._began if now > self._began else 0
        return Emit(
            Occurrence(kind, self._key, self._owner, row, outcome, record, ran, error, lasted, self._function)
        )

    @staticmethod
    def _now(clock: Callable[[], int]) -> int | None:
        try:
            return clock()
        except Exception as error:  # noqa: BLE001 - the call itself finds out what its clock raises
            raise_interrupt(error)
            return None


def kind_of_claim(outcome: Outcome) -> Kind:
    """Return the kind of occurrence that reports the outcome of a claim."""
    if isinstance(outcome, Claimed):
        return Kind.CLAIMED if outcome.took_over is None else Kind.TOOK_OVER
    if isinstance(outcome, Replay):
        return Kind.RESULT_UNAVAILABLE if outcome.record.response_data in UNAVAILABLE else Kind.REPLAYED
    return _REFUSALS[type(outcome)]  # the rows of a claim give nothing else


_REFUSALS: dict[type, Kind] = {
    InProgress: Kind.IN_PROGRESS,
    PayloadMismatch: Kind.PAYLOAD_MISMATCH,
    UnknownOutcome: Kind.PARKED,
}
