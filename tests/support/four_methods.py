"""A layer of one's own, by the four documented methods."""

from idemproof import BasePersistenceLayer, DataRecord
from idemproof.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError


class FourMethods(BasePersistenceLayer):
    """A layer without owners."""

    def __init__(self) -> None:
        self.kept: dict[str, DataRecord] = {}

    def _get_record(self, idempotency_key: str) -> DataRecord:
        if idempotency_key not in self.kept:
            raise IdempotencyItemNotFoundError(idempotency_key)
        return self.kept[idempotency_key]

    def _put_record(self, data_record: DataRecord) -> None:
        if data_record.idempotency_key in self.kept:
            raise IdempotencyItemAlreadyExistsError(old_data_record=self.kept[data_record.idempotency_key])
        self.kept[data_record.idempotency_key] = data_record

    def _update_record(self, data_record: DataRecord) -> None:
        self.kept[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record: DataRecord) -> None:
        del self.kept[data_record.idempotency_key]
