"""A worker process, which runs the handler for each delivery as Lambda would, and reports the result."""

import logging
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyValidationError

from .handler import Handler, payment_handler, protected_handler
from .ledger import Ledger

PATIENCE_SECONDS = 15.0
"""How long one side of the pipe waits for the other. Shorter than any lease that must not end."""


@dataclass(frozen=True)
class Request:
    """To the worker: a webhook has arrived."""

    event: dict[str, Any]
    time_limit_ms: int
    stops_after_charge: bool = False


@dataclass(frozen=True)
class BankReply:
    """To the worker: the reply of the bank to its handler."""

    failure: str | None = None


@dataclass(frozen=True)
class Ready:
    """From the worker: it has started."""

    pid: int


@dataclass(frozen=True)
class AtTheBank:
    """From the worker: the handler is in its body, and waits for :class:`BankReply`."""


@dataclass(frozen=True)
class Charged:
    """From the worker: it has charged, and waits to be killed before it answers."""


@dataclass(frozen=True)
class Answer:
    """From the worker: the answer to its caller.

    Parameters
    ----------
    outcome
        ``charged``, ``took over``, ``found``, ``replayed``, ``in progress``, ``amount changed``,
        ``failed``, ``error``.
    response
        What the handler returned, or None.
    retry_after_ms
        When to retry, if the outcome is ``in progress``.
    detail
        The error message, or an empty text.
    events
        The events that the library logged for this delivery.
    """

    outcome: str
    response: Any = None
    retry_after_ms: int | None = None
    detail: str = ""
    events: tuple[str, ...] = ()


class BankError(Exception):
    """The bank did not pay. Nothing was charged."""


class RemoteBank:
    """The bank as a worker sees it. The director is at the other end, and decides when it replies."""

    def __init__(self, pipe: "Connection[Any, Any]", ledger: Ledger) -> None:
        self._pipe = pipe
        self._ledger = ledger
        self.contacted = self.stops_after_charge = False

    def contact(self) -> None:
        """Report to the director that the handler is at the bank, and wait for the reply."""
        self.contacted = True
        self._pipe.send(AtTheBank())
        if not self._pipe.poll(PATIENCE_SECONDS):
            raise BankError("no answer")
        reply: BankReply = self._pipe.recv()
        if reply.failure is not None:
            raise BankError(reply.failure)

    def charge(self, payment: dict[str, Any]) -> str:
        """Append the charge to the ledger."""
        charge = self._ledger.append(payment)
        if self.stops_after_charge:
            self._pipe.send(Charged())
            time.sleep(PATIENCE_SECONDS)
        return charge

    def find(self, payment_id: str) -> str | None:
        """Look for a charge in the ledger."""
        return self._ledger.find(payment_id)


class Invocation:
    """The Lambda context, with the remaining time."""

    def __init__(self, time_limit_ms: int) -> None:
        self._ends = time.monotonic() + time_limit_ms / 1000

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the platform would stop this invocation."""
        return max(0, int((self._ends - time.monotonic()) * 1000))


class _Listener(logging.Handler):
    """Collects the events that the library logs."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "idempotency_event", None)
        if event is not None:
            self.events.append(event)


def serve(
    pipe: "Connection[Any, Any]", directory: Path, *, protected: bool = True, asks: bool = False
) -> None:
    """Run deliveries until the director closes the pipe.

    Parameters
    ----------
    pipe
        The connection to the director.
    directory
        The directory of the files.
    protected
        Whether Idemproof protects the handler.
    asks
        Whether the handler asks the bank before it repeats a charge.
    """
    # Ctrl-C reaches every process of the terminal, but only the director decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = _Listener()
    logger = logging.getLogger("idemproof")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(listener)
    logger.propagate = False
    bank = RemoteBank(pipe, Ledger(directory / "ledger.db"))
    handler = payment_handler(bank)
    if protected:
        handler = protected_handler(bank, directory / "idempotency.db", asks=asks)
    try:
        pipe.send(Ready(os.getpid()))
        while True:
            request: Request | None = pipe.recv()
            if request is None:
                return
            bank.contacted, bank.stops_after_charge = False, request.stops_after_charge
            listener.events.clear()
            pipe.send(_answer(handler, request, bank, listener.events))
    except (EOFError, OSError):
        return  # the director is gone


def _answer(handler: Handler, request: Request, bank: RemoteBank, events: list[str]) -> Answer:
    try:
        response = handler(request.event, Invocation(request.time_limit_ms))
    except IdempotencyAlreadyInProgressError as refusal:
        return Answer("in progress", retry_after_ms=refusal.retry_after_ms, events=tuple(events))
    except IdempotencyValidationError:
        return Answer("amount changed", events=tuple(events))
    except BankError as failure:
        return Answer("failed", detail=str(failure), events=tuple(events))
    except Exception as failure:  # noqa: BLE001 - the sender gets every error
        return Answer("error", detail=repr(failure), events=tuple(events))
    if not bank.contacted:
        return Answer("found" if "took over" in events else "replayed", response, events=tuple(events))
    return Answer("took over" if "took over" in events else "charged", response, events=tuple(events))
