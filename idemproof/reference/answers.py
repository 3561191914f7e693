"""Answers for callers: encoded results, replayed results, and refusals."""

import copy
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Self

from ..backends.records import DataRecord
from ..drivers.interrupts import raise_interrupt
from ..spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyError,
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
    IdempotencyUnknownOutcomeError,
    IdempotencyValidationError,
)
from ..spec.events import InProgress, Outcome, PayloadMismatch, Replay, UnknownOutcome
from ..spec.record import ERROR_UNAVAILABLE, RESULT_UNAVAILABLE, Record, is_result
from .cache import LocalCache
from .config import IdempotentHookFunction
from .encoding import decode, locate_failure
from .final_errors import FinalErrors, error_not_stored
from .results.codec import Codec
from .results.custom import ResultChangedError
from .results.responses import WAY_OUT, is_response_class
from .serialization import BaseIdempotencySerializer
from .waiter import Waiter

_NOT_DATA = (CoroutineType, GeneratorType, AsyncGeneratorType)


class Answers:
    """Encodes and decodes the results of one decorated function, and raises its refusals.

    Parameters
    ----------
    serializer
        Converts results to JSON data and back, or a codec for it. None stores results unchanged.
    hook
        Gets every replayed response, and may change it.
    cache
        The local cache for replayed records, or None.
    finals
        The declared final errors.
    """

    __slots__ = ("_cache", "_codec", "_finals", "_hook")

    def __init__(
        self,
        serializer: BaseIdempotencySerializer | Codec | None,
        hook: IdempotentHookFunction | None,
        cache: LocalCache | None,
        finals: FinalErrors | None = None,
    ) -> None:
        self._finals = FinalErrors() if finals is None else finals
        self._codec = serializer if isinstance(serializer, Codec) else Codec(serializer)
        self._hook = hook
        self._cache = cache

    def over(self, cache: LocalCache) -> Self:
        """Return the same, with another cache."""
        other = copy.copy(self)
        other._cache = cache
        return other

    def encode(self, result: Any) -> tuple[str, Any]:
        """Return ``result`` as JSON text, and the value that all callers get from it (RES-1)."""
        return self._codec.store(result)

    def of(self, outcome: Outcome, *, cached: bool = False, waiter: Waiter | None = None) -> Any:
        """Return the replayed response, or raise the refusal.

        Parameters
        ----------
        outcome
            The outcome of the claim.
        cached
            Whether it comes from the local cache.
        waiter
            How the call has waited, if it has.

        Raises
        ------
        IdempotencyValidationError, IdempotencyAlreadyInProgressError, IdempotencyUnknownOutcomeError
            The stored record has another payload hash, or its attempt is still in progress, or has ended
            without a result.
        """
        if isinstance(outcome, Replay):
            return self._replay(outcome.record, None if cached else self._cache)
        if isinstance(outcome, PayloadMismatch):
            key = outcome.record.idempotency_key
            raise IdempotencyValidationError(
                f"The payload of {key!r} is not the one that this key came with first. "
                "Nothing ran. Use a new key for a new operation."
            )
        if isinstance(outcome, InProgress):
            key = outcome.record.idempotency_key
            refusal = IdempotencyAlreadyInProgressError(
                f"Another attempt is in progress with the key {key!r}, for at most {outcome.retry_after} ms "
                f"more.{'' if waiter is None else waiter.told} Nothing ran. Retry later.",
                retry_after_ms=outcome.retry_after,
                waited_ms=0 if waiter is None else waiter.waited_ms,
            )
            if waiter is not None and waiter.trouble is not None:
                refusal.add_note(f"A claim on {key!r} may stand until its lease ends: {waiter.trouble!r}")
            raise refusal
        if isinstance(outcome, UnknownOutcome):
            raise IdempotencyUnknownOutcomeError(
                f"An earlier attempt on {outcome.record.idempotency_key!r} may have done the operation: its "
                "lease has ended, and it stored no result. The function did not run now, and will not until "
                "the record expires. Find out whether the operation has happened. If so, resolve the key "
                "with its result; if not, and the earlier worker is dead, forget the key. A function "
                "on_takeover can find out for each call."
            )
        raise AssertionError(f"a claim cannot end as {outcome!r}")  # pragma: no cover - the table's rows

    def instead_of(self, result: Any, record: Record, *, raised: BaseException | None = None) -> Any:
        """Return the response of ``record`` for an attempt that completed too late, with ``result``.

        Parameters
        ----------
        raised
            The final error that the attempt ended with instead of a result.

        Raises
        ------
        IdempotencyResultUnavailableError, IdempotencyInvalidStatusError, IdempotencySerializationError
            The record has no usable response. The error carries ``result`` or ``raised``.
        """
        try:
            return self._replay(record, self._cache)
        except (
            IdempotencyResultUnavailableError,
            IdempotencyInvalidStatusError,
            IdempotencySerializationError,
        ) as error:
            if raised is None:
                error.carry(result)
            error.raised = raised
            raise
        except RecursionError as error:
            carried: Any = {"result": result} if raised is None else {"raised": raised}
            raise IdempotencySerializationError(
                f"Another attempt on {record.idempotency_key!r} completed first. Its result counts, but is "
                "nested too deep to be read here. This error carries what this attempt returned or raised.",
                **carried,
            ) from error

    def _error_of(self, text: str, record: Record, cache: LocalCache | None) -> Exception:
        """Return the final error to raise, or raise why there is none."""
        key = record.idempotency_key
        if text == ERROR_UNAVAILABLE:
            raise IdempotencyResultUnavailableError(
                f"The operation {key!r} ended with a final error, which could not be stored at the time. "
                "It will not run again; find its end where its effect would be."
            )
        try:
            error = self._finals.rebuild(text, key)
        except RecursionError as failure:
            _explain_depth(failure, key)
            raise
        if cache is not None:
            cache.put(record)
        return error

    def _replay(self, record: Record, cache: LocalCache | None) -> Any:
        key, text = record.idempotency_key, record.response_data
        if text == RESULT_UNAVAILABLE:
            raise IdempotencyResultUnavailableError(
                f"The operation {key!r} was done, but its result could not be stored at the time. "
                "It will not run again; find its result where its effect is."
            )
        if not is_result(text):
            raise self._error_of(str(text), record, cache)
        try:
            response = decode(text)
        except RecursionError as error:
            _explain_depth(error, key)
            raise
        except ValueError as cause:
            raise IdempotencyInvalidStatusError(
                f"The stored record of {key!r} is corrupt: its response is not JSON. "
                "Inspect it, and delete it if the operation may run again."
            ) from cause
        try:
            response = self._codec.load(response)
        except RecursionError as error:
            _explain_depth(error, key)
            raise
        except Exception as cause:
            raise IdempotencySerializationError(
                f"The stored result of {key!r} does not fit its serializer.", cause
            ) from cause
        if cache is not None:
            cache.put(record)
        if self._hook is None:
            return response
        answer = self._hook(response, DataRecord.of(record))
        if isinstance(answer, CoroutineType):
            answer.close()
            raise IdempotencyConfigError(
                f"The response_hook answered for {key!r} with a coroutine, which is never awaited. The "
                "operation is done, and its result is stored. Make the hook a plain function."
            )
        return answer


def _explain_depth(error: RecursionError, key: str) -> None:
    # The record is sound: it was stored where more of the stack was left.
    error.add_note(
        f"The stored result of {key!r} is nested too deep to be read at this depth of the stack. Its record "
        "is sound, and nothing ran. Call from less deep."
    )


def not_stored(
    key: str,
    result: Any,
    trouble: BaseException,
    *,
    refused: bool = False,
    raised: BaseException | None = None,
    answers: bool = False,
) -> IdempotencyError:
    """Return the error for a result that the store does not take (``refused``), or that cannot come back.

    ``raised`` is the final error that the function raised instead of returning ``result``; ``answers`` is
    whether on_takeover did so instead of the function.
    """
    too_large = isinstance(trouble, IdempotencyRecordTooLargeError)
    kind = IdempotencyPersistenceLayerError if refused or too_large else IdempotencySerializationError
    if raised is not None:
        return error_not_stored(
            key, raised, trouble, kind, refused=refused, too_large=too_large, answers=answers
        )
    advice = ""
    if too_large:
        why = "its result is too large for the store"
    elif refused:
        why = "the store did not take its result"
    elif isinstance(trouble, ResultChangedError):
        why = f"its result of type {type(result).__name__} cannot be replayed: {trouble}"
        advice = " Return what its annotations say, or use a CustomDictSerializer."
    else:
        why = f"its result of type {type(result).__name__} cannot be stored as JSON"
        if isinstance(result, _NOT_DATA):
            advice = " Protect the async function itself, or the function that consumes the generator."
        elif is_response_class(type(result)):
            advice = f" {WAY_OUT}"
        elif isinstance(trouble, TypeError | ValueError | RecursionError):
            advice = _where(result)
    if answers:
        ended = f"on_takeover found the result of {key!r}, so the function will not run"
    else:
        ended = f"The function ran for {key!r} and will not run again"
    return kind(
        f"{ended}, but {why}: this error carries the result, later callers get "
        f"IdempotencyResultUnavailableError.{advice}",
        trouble,
        result=result,
    )


def _where(result: Any) -> str:
    try:
        path, fault = locate_failure(result)
    except Exception as error:  # noqa: BLE001 - the result's own code may fail: then no place is named
        raise_interrupt(error)
        return ""
    return "" if path == "$" else f" {path} {fault}."
