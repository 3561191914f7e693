"""Sends requests to a layer, and records each request with its times and its answer."""

import dis
import re
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
"""Errors that a slow, busy or unreachable store never raises: they are mistakes of the layer."""


_PATIENCE_NS = 1_000_000_000
"""Who has waited longer than this may have lost patience, as with a lock that others hold."""

_OVERLOAD = re.compile(
    r"throttl|throughput|timeout|timed ?out|toomanyrequests|limitexceeded|unavailable", re.IGNORECASE
)


def says_busy(failure: BaseException) -> bool:
    """Return whether the layer says that its store was busy, and that nothing was written."""
    return getattr(failure, "nothing_written", False) is True


def _is_overload(failure: Exception) -> bool:
    """Return whether a store that is slow, busy or limits the rate of requests may be the cause."""
    if says_busy(failure):
        return True
    response = getattr(failure, "response", None)  # of botocore
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    names = " ".join(kind.__name__ for kind in type(failure).__mro__)
    return _OVERLOAD.search(f"{names} {code}") is not None


_THIS_PACKAGE = __name__.partition(".conformance.")[0] + ".conformance."


def refuses(failure: BaseException) -> bool:
    """Return whether a ``raise`` statement of the layer or its client raised this on purpose.

    Failed assertions and errors from the standard library are mistakes, not refusals.
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
    """The answer to a failed request, which may or may not have taken effect."""


LOST: Final = Lost()


class Recorder:
    """Records the requests of many clients, ordered by a timer that all processes share.

    Parameters
    ----------
    now
        Returns the current time in epoch milliseconds.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self.operations: list[Operation] = []
        self.mistakes: list[BaseException] = []
        self.raised: list[BaseException] = []
        """What the layer raised at once instead of answering, although it was not overloaded."""
        self._now = now

    def ask(self, subject: Subject, who: str, request: Request) -> Answer | Lost:
        """Send a request, and return the answer, or :data:`LOST` if it failed."""
        try:
            reply: Answer = self.perform(subject, who, request)
        except IdempotencyItemNotFoundError:
            return None
        except IdempotencyItemAlreadyExistsError as exists:
            return Refused(exists.old_data_record)
        except IdempotencyLeaseLostError:
            return Refused()
        except Exception:  # noqa: BLE001 - recorded as a request without an answer
            return LOST
        return reply

    def perform(self, subject: Subject, who: str, request: Request) -> Any:
        """Send a request, and return or raise what the layer returns or raises."""
        now, began = self._now(), time.perf_counter_ns()
        answer: Answer = None
        end: int | None = None
        try:
            reply = _send(subject, request)
            end = time.perf_counter_ns()
            if isinstance(reply, Record | DataRecord):
                answer = _with_key(reply, request)
            elif reply is not None:
                end = None  # not an answer of the contract; other checks report it
        except (IdempotencyItemNotFoundError, IdempotencyLeaseLostError) as refusal:
            end = time.perf_counter_ns()
            answer = Refused() if isinstance(refusal, IdempotencyLeaseLostError) else None
            raise
        except IdempotencyItemAlreadyExistsError as exists:
            end = time.perf_counter_ns()
            old = exists.old_data_record
            answer = Refused(_with_key(old, request) if isinstance(old, Record | DataRecord) else None)
            raise
        except Exception as failure:
            if isinstance(failure, MISTAKES) and not refuses(failure):
                self.mistakes.append(failure)
            elif not _is_overload(failure) and time.perf_counter_ns() - began < _PATIENCE_NS:
                self.raised.append(failure)
            raise
        finally:
            self.operations.append(Operation(who, began, end, now, request, answer))
        return reply

    def layer(self, subject: Subject, who: str) -> CompareAndSwapLayer:
        """Return the layer of ``subject`` for the engine of a client, with its requests recorded."""
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

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        request = Swap(key, expected, new, ttl_ms)
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


def _send(subject: Subject, request: Request) -> Any:
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
    """Return the key of a request."""
    return request.key if isinstance(request, Load | Swap | Get) else request.record.idempotency_key


def _with_key(answer: Record | DataRecord, request: Request) -> Record:
    """Return an answer in plain form, with the request's key: a layer may return its store's key."""
    return plain(answer)._replace(idempotency_key=key_of(request))
