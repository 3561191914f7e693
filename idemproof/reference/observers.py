"""Reports the occurrences of calls to the log, and to the observers of a configuration.

An observer cannot change the outcome of a call: what it raises is logged. Only an interrupt is raised.
"""

import logging
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import CoroutineType

from ..backends.logs import log, logger
from ..drivers.interrupts import Interrupts, raise_interrupt
from ..spec.commands import Emit
from ..spec.events import Claimed, Event, InProgress, Outcome, PayloadMismatch, Replay
from ..spec.occurrences import Kind, Occurrence
from ..spec.record import UNAVAILABLE, Record
from ..spec.transition import deciding_row

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
    Kind.SUPERSEDED: (
        logging.WARNING,
        (
            "an attempt on %r no longer held its claim: its lease ended, or the store lost the claim; "
            "another attempt completed first, and its result counts"
        ),
    ),
}
_OTHERS = (logging.DEBUG, "%s")

_busy: ContextVar[tuple[Observer, ...]] = ContextVar("idemproof_observers", default=())
"""The observers that are being called. An observer does not observe calls that it makes itself."""


is_logged = logger.isEnabledFor
"""Returns whether the log records messages of a level. At DEBUG, it records every occurrence."""


def log_occurrence(occurrence: Occurrence, interrupts: Interrupts) -> None:
    """Log an occurrence. The log record has the attributes ``idempotency_event`` and ``idempotency_key``."""
    kind, key = occurrence.kind.value, occurrence.key
    level, message = _LOGGED.get(occurrence.kind, _OTHERS)
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

    __slots__ = ("_interrupts", "_observers", "given")

    def __init__(self, observers: Sequence[Observer], interrupts: Interrupts) -> None:
        self._observers = tuple(observers)
        self._interrupts = interrupts
        self.given = bool(observers)
        """Whether there are observers in addition to the log."""

    def wants(self, kind: Kind) -> bool:
        """Return whether an occurrence of this kind is to be reported."""
        return self.given or is_logged(_LOGGED.get(kind, _OTHERS)[0])

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
        for observer in self._observers:
            busy = _busy.get()
            if not any(each is observer for each in busy):
                token = _busy.set((*busy, observer))
                try:
                    found = self._interrupt_of(observer, occurrence)
                finally:
                    _busy.reset(token)
                interrupt = interrupt or found
        if interrupt is not None:
            raise interrupt

    def _interrupt_of(self, observer: Observer, occurrence: Occurrence) -> BaseException | None:
        """Call an observer; log what it raises, and return it if it is an interrupt."""
        try:
            answer = observer(occurrence)
            if isinstance(answer, CoroutineType):
                answer.close()
                raise TypeError("an observer is called, and not awaited: make it a plain function")  # noqa: TRY301 - as any failure of it
        except BaseException as error:  # noqa: BLE001 - judged below, where nothing is being handled
            failure = error
        else:
            return None
        # An observer is no generator: one that raises what closes generators has failed.
        interrupt = None if isinstance(failure, GeneratorExit) else self._interrupts.behind(failure)
        if interrupt is not None:
            return interrupt
        try:
            log(
                logging.WARNING,
                "%r failed to observe %r, which changes nothing for the call",
                observer,
                occurrence.kind.value,
                exc_info=failure,
                interrupts=self._interrupts,
            )
        except BaseException as error:  # noqa: BLE001 - as above
            return error
        return None


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
    """

    __slots__ = ("_began", "_clock", "_key", "_owner", "_row")

    def __init__(self, key: str, clock: Callable[[], int] | None, owner: str | None = None) -> None:
        self._key = key
        self._clock = clock
        self._began = self._now()
        self._row: str | None = None
        self._owner = owner

    def begun_by(self, owner: str) -> Callable[[Record | None, Event, int], None]:
        """Set the owner token of the attempt; return :meth:`decided`."""
        self._owner = owner
        return self.decided

    def decided(self, record: Record | None, event: Event, now: int) -> None:
        """Note which row of the table decides."""
        self._row = deciding_row(record, event, now).clause

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
        occurrence = Occurrence(
            kind, self._key, self._owner, row, outcome, record, ran, error, self._since_it_began()
        )
        return Emit(occurrence)

    def _since_it_began(self) -> int | None:
        now = self._now()
        return None if now is None or self._began is None else max(0, now - self._began)

    def _now(self) -> int | None:
        try:
            return None if self._clock is None else self._clock()
        except Exception as error:  # noqa: BLE001 - the call itself finds out what its clock raises
            raise_interrupt(error)
            return None


def kind_of_claim(outcome: Outcome) -> Kind:
    """Return the kind of occurrence that reports the outcome of a claim."""
    if isinstance(outcome, Claimed):
        return Kind.CLAIMED if outcome.took_over is None else Kind.TOOK_OVER
    if isinstance(outcome, InProgress):
        return Kind.IN_PROGRESS
    if isinstance(outcome, PayloadMismatch):
        return Kind.PAYLOAD_MISMATCH
    assert isinstance(outcome, Replay)  # the rows of a claim give nothing else
    return Kind.RESULT_UNAVAILABLE if outcome.record.response_data in UNAVAILABLE else Kind.REPLAYED
