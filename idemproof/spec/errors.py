"""Every error that Idemproof raises, with its documented name.

Each message says what happened, to which key, and what to do. ``IdempotencyError`` is the common base.
"""

from typing import Any, Self


class IdempotencyError(Exception):
    """Base of all errors of this library.

    Parameters
    ----------
    message
        What happened, to which key, and what to do.
    *details
        Details, appended to the message in parentheses.
    """

    def __init__(self, message: object = "", *details: object) -> None:
        super().__init__(message, *details)
        self.message = str(message)
        self.details = "".join(str(detail) for detail in details) or None

    def because(self, cause: BaseException) -> Self:
        """Add ``cause`` to ``args`` after the message, where code written for Powertools looks for it.

        Parameters
        ----------
        cause
            The exception behind this error. It is not appended to the message, which already describes it.
        """
        self.args = (self.message, cause)
        return self

    def __str__(self) -> str:
        if self.message and self.details:
            return f"{self.message} - ({self.details})"
        return self.message


BaseError = IdempotencyError
"""The name of the common base in Powertools for AWS Lambda."""

_NOTHING: Any = object()


class _CarriesResultError(IdempotencyError):
    """An error that may be raised after the function has returned.

    Parameters
    ----------
    message
        What happened, to which key, and what to do.
    *details
        Details, appended to the message in parentheses.
    result
        The value that the function returned in this call, so that it is not lost; omitted if the function did
        not return.
    raised
        The final error that the function raised in this call, or None.
    """

    result: Any
    """The value that the function returned in this call, which may be None; None if it did not return."""
    function_returned: bool
    """Whether the function ran in this call and returned ``result``."""
    raised: BaseException | None
    """The final error that the function raised in this call; None if it raised none."""

    def __init__(
        self,
        message: object = "",
        *details: object,
        result: Any = _NOTHING,
        raised: BaseException | None = None,
    ) -> None:
        super().__init__(message, *details)
        self.carry(result)
        self.raised = raised

    def carry(self, result: Any) -> None:
        """Store the value that the function returned."""
        self.function_returned = result is not _NOTHING
        self.result = result if self.function_returned else None


class IdempotencyConfigError(IdempotencyError, ValueError):
    """A setting is invalid. Raised when the configuration or the decorated function is created."""


class IdempotencyKeyError(IdempotencyError):
    """No key can be derived from the payload. Raised before the function runs."""


class IdempotencyValidationError(IdempotencyError):
    """The key was used before with a different payload."""


class IdempotencyAlreadyInProgressError(IdempotencyError):
    """Another attempt is running. It is safe to retry.

    Parameters
    ----------
    message
        What happened, to which key, and what to do.
    *details
        Details, appended to the message in parentheses.
    retry_after_ms
        Milliseconds until the running attempt's lease ends.
    waited_ms
        Milliseconds that the call has waited for the running attempt.
    """

    def __init__(
        self,
        message: object = "",
        *details: object,
        retry_after_ms: int | None = None,
        waited_ms: int = 0,
    ) -> None:
        super().__init__(message, *details)
        self.retry_after_ms = retry_after_ms
        self.waited_ms = waited_ms


class IdempotencyUnknownOutcomeError(IdempotencyError):
    """An earlier attempt may have done the operation, and its lease has ended. The function did not run.

    Retries get this error until the record is resolved or forgotten, or expires.
    """


class IdempotencyInconsistentStateError(IdempotencyError):
    """The store gave contradictory replies. The function did not run. It is safe to retry."""


class IdempotencyLeaseLostError(_CarriesResultError):
    """The attempt outlived its lease and another attempt took over. ``result`` was not stored."""


class IdempotencyTransactionError(_CarriesResultError):
    """An attempt cannot complete within the transaction of the application.

    Parameters
    ----------
    message
        What happened, to which key, and what to do.
    *details
        Details, appended to the message in parentheses.
    kind
        ``"NoTransaction"``: the connection is in no transaction, or commits each statement by itself.
        ``"NotVisible"``: the claim is not visible in the transaction, which is of another database, or began
        before the call.
        ``"InSavepoint"``: the transaction is in a savepoint, and ``savepoint=True`` is not set.
        ``"AlreadyCompleted"``: the attempt has completed before.
        ``"ResultDiffers"``: the function returned something else than it had completed with.
        ``"RolledBack"``: the result is not recorded, or cannot be, because the transaction was rolled back,
        was never sent, or has failed.
        ``"LeaseRequired"``: the claim has no lease.
    result, raised
        See :class:`IdempotencyPersistenceLayerError`.
    """

    def __init__(
        self,
        message: object = "",
        *details: object,
        kind: str = "",
        result: Any = _NOTHING,
        raised: BaseException | None = None,
    ) -> None:
        super().__init__(message, *details, result=result, raised=raised)
        self.kind = kind


class IdempotencyResultUnavailableError(_CarriesResultError):
    """The function ran once, but its result or final error could not be stored. It will not run again.

    If another attempt took over, the error of the late attempt carries the value that this attempt returned.
    """


class IdempotencyModelTypeError(IdempotencyError):
    """The serializer does not support the type of the model."""


class IdempotencyNoSerializationModelError(IdempotencyError):
    """The serializer has no model, and the return annotation names none."""


class IdempotencyPersistenceLayerError(_CarriesResultError):
    """The persistence layer failed. ``function_returned`` shows whether the function had returned before."""


class IdempotencySerializationError(IdempotencyPersistenceLayerError):
    """The result cannot be encoded (then ``result`` has it), or a stored result cannot be decoded."""


class IdempotencyUnknownFinalError(IdempotencySerializationError):
    """The operation ended with a final error that cannot be raised as itself. It will not run again.

    Parameters
    ----------
    message
        What happened, to which key, and what to do.
    *details
        Details, appended to the message in parentheses.
    type_name
        The qualified name of the type of the final error.
    arguments
        Its arguments.
    """

    def __init__(
        self, message: object = "", *details: object, type_name: str = "", arguments: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(message, *details)
        self.type_name = type_name
        self.arguments = arguments


class IdempotencyPayloadError(IdempotencyKeyError, IdempotencyPersistenceLayerError):
    """The payload cannot be searched or hashed, so it has no key. Raised before the function runs."""


class IdempotencyArgumentError(IdempotencyError, TypeError, RuntimeError):
    """The call or the function does not have the argument that the key is derived from. Nothing ran."""


class IdempotencyInvalidStatusError(IdempotencyPersistenceLayerError):
    """A stored record is corrupt: an unknown status, a missing or fractional deadline, another key."""


class IdempotencyRecordTooLargeError(IdempotencyPersistenceLayerError):
    """The store refuses a record of this size. Raised by layers."""


class IdempotencyPersistenceConfigError(IdempotencyPersistenceLayerError, ValueError):
    """The persistence layer is misconfigured: its parameters are invalid, or do not fit the store."""

    may_pass: bool = False
    """Whether the error may be temporary, like expired credentials that are renewed."""


class IdempotencyPersistenceConnectionError(IdempotencyPersistenceLayerError):
    """The persistence layer cannot reach its store."""


class IdempotencyPersistenceConsistencyError(IdempotencyPersistenceLayerError):
    """The store contradicts itself."""


class IdempotencyItemAlreadyExistsError(IdempotencyError):
    """Raised by ``_put_record``: a live record has this key.

    Parameters
    ----------
    message
        What happened, to which key, and what to do.
    *details
        Details, appended to the message in parentheses.
    old_data_record
        The stored record, if the layer knows it.
    """

    def __init__(self, message: object = "", *details: object, old_data_record: Any = None) -> None:
        super().__init__(message, *details)
        self.old_data_record = old_data_record


class IdempotencyItemNotFoundError(IdempotencyError):
    """Raised by ``_get_record``: no record has this key."""
