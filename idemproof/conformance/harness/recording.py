"""Puts requests to a layer, and keeps what was asked, when, and how it was answered."""

import dis
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from ...backends.base import BasePersistenceLayer, CompareAndSwapLayer, compare_and_swap
from ...backends.records import DataRecord
from ...spec.commands import Load, Swap
from ...spec.errors import (
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyLeaseLostError,
)
from ...spec.record import Record
from ..suite.subjects import Subject
from .linearizability import Answer, Delete, Get, Operation, Put, Refused, Request, Update, plain

MISTAKES = (
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
)
"""What a store that is slow, busy or away never raises: such errors are the layer's own."""


_THIS_PACKAGE = __name__.partition(".conformance.")[0] + ".conformance."


def refuses(failure: BaseException) -> bool:
    """Return whether a layer, or its client, raised this by a statement of its own: it refuses, not slips.

    Failed assertions are slips, and so is what the standard library raises: it was not used rightly.
    """
    trace = failure.__traceback__
    if trace is None or isinstance(failure, AssertionError):
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__", ""))
    if module.partition(".")[0] in sys.stdlib_module_names or module.startswith(_THIS_PACKAGE):
        return False
    instruction = trace.tb_frame.f_code.co_code[trace.tb_lasti]
    return dis.opname[instruction] == "RAISE_VARARGS"


class Lost:
    """The answer to a request that failed: it may or may not have taken effect."""


LOST: Final = Lost()


class Recorder:
    """Keeps the requests of many clients. Their order is that of a timer which all processes share.

    Parameters
    ----------
    now
        Gives the epoch milliseconds that it is.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self.operations: list[Operation] = []
        self.mistakes: list[BaseException] = []
        self._now = now

    def ask(self, subject: Subject, who: str, request: Request) -> Answer | Lost:
        """Put a request, and return the answer."""
        try:
            reply: Answer = self.perform(subject, who, request)
        except IdempotencyItemNotFoundError:
            return None
        except IdempotencyItemAlreadyExistsError as exists:
            return Refused(exists.old_data_record)
        except IdempotencyLeaseLostError:
            return Refused()
        except Exception:  # noqa: BLE001 - whatever it is: it is kept as a request without an answer
            return LOST
        return reply

    def perform(self, subject: Subject, who: str, request: Request) -> Any:
        """Put a request, and return or raise what the layer does."""
        now, began = self._now(), time.perf_counter_ns()
        answer: Answer = None
        end: int | None = None
        try:
            reply = _put(subject, request)
            end = time.perf_counter_ns()
            if isinstance(reply, Record | DataRecord):
                answer = _of_key(reply, request)
            elif reply is not None:
                end = None  # no answer that the contract knows; other checks tell
        except (IdempotencyItemNotFoundError, IdempotencyLeaseLostError) as refusal:
            end = time.perf_counter_ns()
            answer = Refused() if isinstance(refusal, IdempotencyLeaseLostError) else None
            raise
        except IdempotencyItemAlreadyExistsError as exists:
            end = time.perf_counter_ns()
            old = exists.old_data_record
            answer = Refused(_of_key(old, request) if isinstance(old, Record | DataRecord) else None)
            raise
        except MISTAKES as mistake:
            if not refuses(mistake):
                self.mistakes.append(mistake)
            raise
        finally:
            self.operations.append(Operation(who, began, end, now, request, answer))
        return reply

    def layer(self, subject: Subject, who: str) -> CompareAndSwapLayer:
        """Return the layer of ``subject`` for an engine, of a client whose requests are kept."""
        if subject.swaps:
            return _BySwaps(self, subject, who)
        return compare_and_swap(_ByMethods(self, subject, who))


class _BySwaps(CompareAndSwapLayer):
    def __init__(self, recorder: Recorder, subject: Subject, who: str) -> None:
        self._perform = recorder.perform
        self._subject = subject
        self._who = who

    def _load(self, key: str) -> Record | None:
        found: Record | None = self._perform(self._subject, self._who, Load(key))
        return found

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        request = Swap(key, expected, new, keep_ms)
        found: Record | None = self._perform(self._subject, self._who, request)
        return found


class _ByMethods(BasePersistenceLayer):
    def __init__(self, recorder: Recorder, subject: Subject, who: str) -> None:
        self._perform = recorder.perform
        self._subject = subject
        self._who = who

    def _get_record(self, idempotency_key: str) -> DataRecord:
        found: DataRecord = self._perform(self._subject, self._who, Get(idempotency_key))
        return found

    def _put_record(self, data_record: DataRecord) -> None:
        self._perform(self._subject, self._who, Put(data_record.as_record()))

    def _update_record(self, data_record: DataRecord) -> None:
        self._perform(self._subject, self._who, Update(data_record.as_record()))

    def _delete_record(self, data_record: DataRecord) -> None:
        self._perform(self._subject, self._who, Delete(data_record.as_record()))


def _put(subject: Subject, request: Request) -> Any:
    if isinstance(request, Swap):
        return subject.swap(*request)
    if isinstance(request, Load):
        return subject.load(request.key)
    if isinstance(request, Get):
        return subject.get(request.key)
    methods: dict[type, Callable[[Any], None]] = {
        Put: subject.put,
        Update: subject.update,
        Delete: subject.delete,
    }
    methods[type(request)](DataRecord.of(request.record))
    return None


def key_of(request: Request) -> str:
    """Return the key that a request is about."""
    return request.key if isinstance(request, Load | Swap | Get) else request.record.idempotency_key


def _of_key(answer: Record | DataRecord, request: Request) -> Record:
    """Return an answer in plain form: layers may report the key as their store keeps it."""
    return plain(answer)._replace(idempotency_key=key_of(request))
