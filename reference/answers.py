"""What callers are told: results on their way into the store and out of it, and refusals."""

import logging
from typing import Any

from ..backends.records import DataRecord
from ..spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyError,
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
    IdempotencyValidationError,
)
from ..spec.events import InProgress, Outcome, PayloadMismatch, Replay
from ..spec.record import RESULT_UNAVAILABLE, Record
from .cache import LocalCache
from .config import IdempotentHookFunction
from .encoding import decode, encode
from .serialization import BaseIdempotencySerializer

logger = logging.getLogger("idemproof")


def tell(event: str, key: str, message: str = "%s", level: int = logging.DEBUG) -> None:
    """Log what happened to ``key``; handlers find it in ``idempotency_event`` and ``idempotency_key``."""
    if logger.isEnabledFor(level):
        logger.log(
            level,
            f"{event}: {message}",  # noqa: G004 - the key stays an argument
            key,
            extra={"idempotency_event": event, "idempotency_key": key},
        )


class Answers:
    """Encodes, decodes and explains, for one decorated function.

    Parameters
    ----------
    serializer
        Turns results into JSON-able data and back; None stores them as they are.
    hook
        Sees every replayed response, and may change it.
    cache
        Keeps what is replayed, or None.
    """

    __slots__ = ("_cache", "_hook", "_serializer")

    def __init__(
        self,
        serializer: BaseIdempotencySerializer | None,
        hook: IdempotentHookFunction | None,
        cache: LocalCache | None,
    ) -> None:
        self._serializer = serializer
        self._hook = hook
        self._cache = cache

    def encode(self, result: Any) -> tuple[str, Any]:
        """Return ``result`` as JSON text, and as its first caller gets it: of the types that a replay has."""
        if self._serializer is None:
            text = encode(result)
            return text, decode(text)
        return encode(None if result is None else self._serializer.to_dict(result)), result

    def of(self, outcome: Outcome) -> Any:
        """Return the replayed response, or raise why there is none.

        Raises
        ------
        IdempotencyValidationError, IdempotencyAlreadyInProgressError
            What stands belongs to another payload, or is still running.
        """
        if isinstance(outcome, Replay):
            return self._replay(outcome.record)
        if isinstance(outcome, PayloadMismatch):
            key = outcome.record.idempotency_key
            tell("payload mismatch", key)
            raise IdempotencyValidationError(
                f"The payload of {key!r} is not the one that this key came with first. "
                "Nothing ran. Use a new key for a new operation."
            )
        if isinstance(outcome, InProgress):
            key = outcome.record.idempotency_key
            tell("in progress", key)
            raise IdempotencyAlreadyInProgressError(
                f"Another attempt is in progress with the key {key!r}, for at most {outcome.retry_after} ms "
                "more. Nothing ran. Retry later.",
                retry_after_ms=outcome.retry_after,
            )
        raise AssertionError(f"a claim cannot end as {outcome!r}")  # pragma: no cover - the table's rows

    def instead_of(self, result: Any, record: Record) -> Any:
        """Return the replay of ``record`` to an attempt whose own ``result`` came too late.

        Raises
        ------
        IdempotencyResultUnavailableError, IdempotencyInvalidStatusError, IdempotencySerializationError
            The record has no usable response. The error carries ``result``.
        """
        try:
            return self._replay(record)
        except (
            IdempotencyResultUnavailableError,
            IdempotencyInvalidStatusError,
            IdempotencySerializationError,
        ) as error:
            error.carry(result)
            raise

    def _replay(self, record: Record) -> Any:
        key, text = record.idempotency_key, record.response_data
        if text == RESULT_UNAVAILABLE:
            raise IdempotencyResultUnavailableError(
                f"The operation {key!r} was done, but its result could not be stored at the time. "
                "It will not run again; find its result where its effect is."
            )
        try:
            response = decode(text)
        except (ValueError, RecursionError) as cause:
            raise IdempotencyInvalidStatusError(
                f"The stored record of {key!r} is corrupt: its response is not JSON. "
                "Inspect it, and delete it if the operation may run again."
            ) from cause
        if self._serializer is not None and response is not None:
            try:
                response = self._serializer.from_dict(response)
            except Exception as cause:
                raise IdempotencySerializationError(
                    f"The stored result of {key!r} does not fit its serializer.", cause
                ) from cause
        if self._cache is not None:
            self._cache.put(record)
        tell("replayed", key)
        return response if self._hook is None else self._hook(response, DataRecord.of(record))


def not_stored(key: str, result: Any, trouble: BaseException, *, refused: bool = False) -> IdempotencyError:
    """Return the error for a result that the store (``refused``), or JSON, does not take."""
    too_large = isinstance(trouble, IdempotencyRecordTooLargeError)
    kind = IdempotencyPersistenceLayerError if refused or too_large else IdempotencySerializationError
    if too_large:
        why = "its result is too large for the store"
    elif refused:
        why = "the store did not take its result"
    else:
        why = f"its result of type {type(result).__name__} cannot be stored as JSON"
    return kind(
        f"The function ran for {key!r} and will not run again, but {why}: this error carries the result, "
        "later callers get IdempotencyResultUnavailableError.",
        trouble,
        result=result,
    )
