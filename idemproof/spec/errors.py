"""Every error that Idemproof raises, under the documented names.

Each names what happened, to which key, and what to do. ``IdempotencyError`` is the common base.
"""

from typing import Any, Self


class IdempotencyError(Exception):
    """Base of all errors of this library.

    Parameters
    ----------
    message
        What happened, to which key, and what to do.
    *details
        More, appended to the message in parentheses.
    """

    def __init__(self, message: object = "", *details: object) -> None:
        super().__init__(message, *details)
        self.message = str(message)
        self.details = "".join(str(detail) for detail in details) or None

    def because(self, cause: BaseException) -> Self:
        """Put ``cause`` behind the message in ``args``, where code written for Powertools looks for it.

        Parameters
        ----------
        cause
            What went wrong. The message already says so: it is not appended again.
        """
        self.args = (self.message, cause)
        return self

    def __str__(self) -> str:
        if self.message and self.details:
            return f"{self.message} - ({self.details})"
        return self.message


BaseError = IdempotencyError
"""The name that Powertools for AWS Lambda has for the common base."""

_NOTHING: Any = object()


class _CarriesResultError(IdempotencyError):
    """An error that may be raised after the function has returned.

    Parameters
    ----------
    message
        What happened, to which key, and what to do.
    *details
        More, appended to the message in parentheses.
    result
        What the function returned in this call, so that nothing is lost; left out if it did not.
    """

    result: Any
    """What the function returned in this call, which may be None; None if it did not."""
    function_returned: bool
    """Whether the function has run in this call, and returned ``result``."""

    def __init__(self, message: object = "", *details: object, result: Any = _NOTHING) -> None:
        super().__init__(message, *details)
        self.carry(result)

    def carry(self, result: Any) -> None:
        """Take what the function returned."""
        self.function_returned = result is not _NOTHING
        self.result = result if self.function_returned else None


class IdempotencyConfigError(IdempotencyError, ValueError):
    """A setting is invalid. Raised when the configuration or the decorated function is made."""


class IdempotencyKeyError(IdempotencyError):
    """No key can be derived from the payload. Raised before anything ran."""


class IdempotencyValidationError(IdempotencyError):
    """The key is known, but came with another payload the first time."""


class IdempotencyAlreadyInProgressError(IdempotencyError):
    """Another attempt is running. Safe to retry.

    Parameters
    ----------
    message
        What happened, to which key, and what to do.
    *details
        More, appended to the message in parentheses.
    retry_after_ms
        Milliseconds until the running attempt's lease ends.
    """

    def __init__(self, message: object = "", *details: object, retry_after_ms: int | None = None) -> None:
        super().__init__(message, *details)
        self.retry_after_ms = retry_after_ms


class IdempotencyInconsistentStateError(IdempotencyError):
    """The store gave contradictory answers. The function did not run. Safe to retry."""


class IdempotencyLeaseLostError(_CarriesResultError):
    """The attempt outlived its lease and another took over; ``result`` was not stored."""


class IdempotencyResultUnavailableError(_CarriesResultError):
    """The function ran once, but its result could not be stored. It will not run again.

    An attempt that came too late carries what it returned itself.
    """


class IdempotencyModelTypeError(IdempotencyError):
    """The serializer's model is not of the kind that it handles."""


class IdempotencyNoSerializationModelError(IdempotencyError):
    """No model was given to the serializer, and the return annotation names none."""


class IdempotencyPersistenceLayerError(_CarriesResultError):
    """The persistence layer failed. ``function_returned`` tells whether after the function."""


class IdempotencySerializationError(IdempotencyPersistenceLayerError):
    """The result cannot be encoded (``result`` has it), or a stored one cannot be decoded."""


class IdempotencyPayloadError(IdempotencyKeyError, IdempotencyPersistenceLayerError):
    """The payload cannot be searched or hashed, so it has no key. Raised before anything ran."""


class IdempotencyArgumentError(IdempotencyError, TypeError, RuntimeError):
    """The call, or the function, lacks the argument that the key is derived from. Nothing ran."""


class IdempotencyInvalidStatusError(IdempotencyPersistenceLayerError):
    """A stored record is corrupt: unknown status, missing or fractional deadline, foreign key."""


class IdempotencyRecordTooLargeError(IdempotencyPersistenceLayerError):
    """The store refuses a record of this size. Raised by layers."""


class IdempotencyPersistenceConfigError(IdempotencyPersistenceLayerError, ValueError):
    """The persistence layer is set up wrongly: its parameters, or what it found."""

    may_pass: bool = False
    """Whether it may pass by itself, as refused credentials do when they are renewed."""


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
        More, appended to the message in parentheses.
    old_data_record
        The record that stands, if the layer knows it.
    """

    def __init__(self, message: object = "", *details: object, old_data_record: Any = None) -> None:
        super().__init__(message, *details)
        self.old_data_record = old_data_record


class IdempotencyItemNotFoundError(IdempotencyError):
    """Raised by ``_get_record``: no record has this key."""
