"""Base of the layers with races."""

from abc import abstractmethod

from idemproof import CompareAndSwapLayer, Record
from idemproof.spec.record import same_version


class LooksThenWrites(CompareAndSwapLayer):
    """Takes two steps, between which other clients can act."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        current = self._load(key)
        if not same_version(current, expected):
            return current
        self._write(key, new, ttl_ms)
        return new

    @abstractmethod
    def _write(self, key: str, new: Record | None, ttl_ms: int) -> None:
        """Replace the stored record with ``new``, or delete it."""
