"""Adapters that present layers of other libraries as layers of this one."""

from typing import Any

from ...backends.base import BasePersistenceLayer
from ...backends.records import DataRecord
from ...spec.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError

_POWERTOOLS = "aws_lambda_powertools.utilities.idempotency"


def adapted(made: Any) -> Any:
    """Return an adapter for ``made`` if its library is known, else ``made`` itself."""
    if any(kind.__module__.startswith(_POWERTOOLS) for kind in type(made).__mro__):
        return PowertoolsLayer(made)
    return made


def original(layer: Any) -> Any:
    """Return the user's own object: what an adapter adapts, or the layer itself."""
    return layer.theirs if isinstance(layer, PowertoolsLayer) else layer


class PowertoolsLayer(BasePersistenceLayer):
    """A persistence layer of Powertools for AWS Lambda, with the four methods that both libraries document.

    Parameters
    ----------
    theirs
        The layer. Payload validation is switched on, as by a Powertools function that validates payloads.
    """

    def __init__(self, theirs: Any) -> None:
        from aws_lambda_powertools.utilities.idempotency import exceptions  # noqa: PLC0415 - theirs is loaded
        from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import (  # noqa: PLC0415
            DataRecord as Theirs,
        )

        theirs.payload_validation_enabled = True
        self.theirs = theirs
        self._record: Any = Theirs
        self._exists: Any = exceptions.IdempotencyItemAlreadyExistsError
        self._differs: Any = exceptions.IdempotencyValidationError
        self._missing: Any = exceptions.IdempotencyItemNotFoundError

    def _get_record(self, idempotency_key: str) -> DataRecord:
        try:
            return self._ours(self.theirs._get_record(idempotency_key), idempotency_key)
        except self._missing as missing:
            raise IdempotencyItemNotFoundError(str(missing)) from missing

    def _put_record(self, data_record: DataRecord) -> None:
        try:
            self.theirs._put_record(self._of(data_record))
        except self._exists as exists:
            old = exists.old_data_record
            raise IdempotencyItemAlreadyExistsError(
                str(exists),
                old_data_record=None if old is None else self._ours(old, data_record.idempotency_key),
            ) from exists
        except self._differs as differs:  # the record of another payload is stored, but not attached
            raise IdempotencyItemAlreadyExistsError(str(differs)) from differs

    def _update_record(self, data_record: DataRecord) -> None:
        self.theirs._update_record(self._of(data_record))

    def _delete_record(self, data_record: DataRecord) -> None:
        self.theirs._delete_record(self._of(data_record))

    def _of(self, record: DataRecord) -> Any:
        return self._record(
            record.idempotency_key,
            record._status,  # the stored status, from which their class derives the others
            record.expiry_timestamp,
            record.in_progress_expiry_timestamp,
            record.response_data or "",
            record.payload_hash or "",
        )

    @staticmethod
    def _ours(theirs: Any, key: str) -> DataRecord:
        return DataRecord(
            key,
            theirs._status,
            theirs.expiry_timestamp,
            theirs.in_progress_expiry_timestamp,
            theirs.response_data or "",
            theirs.payload_hash or "",
        )
