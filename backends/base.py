"""The contracts for a persistence layer: four documented methods, or two for compare-and-swap.

A layer holds no per-function state: any number of functions, configurations and threads may share one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from ..spec.record import Record
from . import documented
from .clock import wall_clock_ms
from .drivers import Steps, drive
from .records import DataRecord


class _Layer:
    """What all layers have in common."""

    payload_validation_enabled: ClassVar[bool] = True
    """Always true: a record's payload hash is stored whenever it has one."""

    blocks: bool = True
    """Whether a request may wait. False only for layers that never leave the process's memory."""


class BasePersistenceLayer(_Layer, ABC):
    """A store, by the four documented methods.

    A layer of this kind decides for itself, by its own clock, whether a record is live, and knows no owner:
    it works, but is not fenced. :class:`CompareAndSwapLayer` is the safer way, with less to write.
    """

    @abstractmethod
    def _get_record(self, idempotency_key: str) -> DataRecord:
        """Return the record of a key.

        Raises
        ------
        IdempotencyItemNotFoundError
            No record has this key.
        """

    @abstractmethod
    def _put_record(self, data_record: DataRecord) -> None:
        """Store a record if no live one has its key.

        Raises
        ------
        IdempotencyItemAlreadyExistsError
            A live record has this key; ``old_data_record`` may carry it.
        """

    @abstractmethod
    def _update_record(self, data_record: DataRecord) -> None:
        """Store a result: status, response, payload hash and expiry."""

    @abstractmethod
    def _delete_record(self, data_record: DataRecord) -> None:
        """Remove the record of a key."""


class CompareAndSwapLayer(BasePersistenceLayer):
    """A store, by two methods: read, and replace if unchanged.

    Neither method looks at a clock or decides anything: every decision is the specification's.
    The four documented methods follow from them.
    """

    clock: Callable[[], int] = staticmethod(wall_clock_ms)
    """Epoch milliseconds; read by the four documented methods only."""

    @abstractmethod
    def _load(self, key: str) -> Record | None:
        """Return what stands for ``key``, strongly consistently (CAS-1)."""

    @abstractmethod
    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        """Make ``new`` stand where ``expected`` does, atomically, and return what stands afterwards.

        Parameters
        ----------
        key
            Names the operation.
        expected
            What must stand for the swap to happen, None for nothing:
            :func:`~idemproof.spec.record.same_version` tells (CAS-2).
        new
            What is to stand, None for nothing.
        keep_ms
            How many milliseconds, at least, the store must keep ``new``; for a native time to live.
            0 when ``new`` is None.

        Returns
        -------
        Record or None
            ``new`` if it was stored, else the record that was in the way, or None (CAS-3).
        """

    def _get_record(self, idempotency_key: str) -> DataRecord:
        record: DataRecord = drive(documented.get_record(idempotency_key), self)
        return record

    def _put_record(self, data_record: Record) -> None:
        drive(documented.put_record(data_record, self.clock()), self)

    def _update_record(self, data_record: Record) -> None:
        drive(documented.update_record(data_record, self.clock()), self)

    def _delete_record(self, data_record: Record) -> None:
        drive(documented.delete_record(data_record, self.clock()), self)


class AsyncBasePersistenceLayer(_Layer, ABC):
    """:class:`BasePersistenceLayer` for ``async def`` functions."""

    @abstractmethod
    async def _get_record(self, idempotency_key: str) -> DataRecord:
        """Return the record of a key, or raise ``IdempotencyItemNotFoundError``."""

    @abstractmethod
    async def _put_record(self, data_record: DataRecord) -> None:
        """Store a record if no live one has its key, or raise ``IdempotencyItemAlreadyExistsError``."""

    @abstractmethod
    async def _update_record(self, data_record: DataRecord) -> None:
        """Store a result: status, response, payload hash and expiry."""

    @abstractmethod
    async def _delete_record(self, data_record: DataRecord) -> None:
        """Remove the record of a key."""


class AsyncCompareAndSwapLayer(AsyncBasePersistenceLayer):
    """:class:`CompareAndSwapLayer` for ``async def`` functions."""

    clock: Callable[[], int] = staticmethod(wall_clock_ms)
    """Epoch milliseconds; read by the four documented methods only."""

    @abstractmethod
    async def _load(self, key: str) -> Record | None:
        """Return what stands for ``key``, strongly consistently (CAS-1)."""

    @abstractmethod
    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, keep_ms: int
    ) -> Record | None:
        """Make ``new`` stand where ``expected`` does; see :meth:`CompareAndSwapLayer._swap`."""

    async def _get_record(self, idempotency_key: str) -> DataRecord:
        record: DataRecord = await _drive_async(documented.get_record(idempotency_key), self)
        return record

    async def _put_record(self, data_record: Record) -> None:
        await _drive_async(documented.put_record(data_record, self.clock()), self)

    async def _update_record(self, data_record: Record) -> None:
        await _drive_async(documented.update_record(data_record, self.clock()), self)

    async def _delete_record(self, data_record: Record) -> None:
        await _drive_async(documented.delete_record(data_record, self.clock()), self)


class _OverDocumentedMethods(CompareAndSwapLayer):
    """A four-method layer that speaks the engine's language."""

    def __init__(self, layer: BasePersistenceLayer) -> None:
        self._layer = layer

    def _load(self, key: str) -> Record | None:
        record: Record | None = drive(documented.load(key), self._layer)
        return record

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:  # noqa: ARG002
        record: Record | None = drive(documented.swap(key, expected, new), self._layer)
        return record


class _AsyncOverDocumentedMethods(AsyncCompareAndSwapLayer):
    """An async four-method layer that speaks the engine's language."""

    def __init__(self, layer: AsyncBasePersistenceLayer) -> None:
        self._layer = layer

    async def _load(self, key: str) -> Record | None:
        record: Record | None = await _drive_async(documented.load(key), self._layer)
        return record

    async def _swap(
        self,
        key: str,
        expected: Record | None,
        new: Record | None,
        keep_ms: int,  # noqa: ARG002
    ) -> Record | None:
        record: Record | None = await _drive_async(documented.swap(key, expected, new), self._layer)
        return record


class InThreads(AsyncCompareAndSwapLayer):
    """A blocking layer for ``async def`` functions: requests wait in threads of the layer's own.

    Parameters
    ----------
    layer
        The blocking layer.
    """

    def __init__(self, layer: CompareAndSwapLayer) -> None:
        self._layer = layer
        self.blocks = layer.blocks

    async def _load(self, key: str) -> Record | None:
        return await self._run(self._layer._load, key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, keep_ms: int
    ) -> Record | None:
        return await self._run(self._layer._swap, key, expected, new, keep_ms)

    async def _run(self, method: Callable[..., Record | None], *args: Any) -> Record | None:
        if not self.blocks:
            return method(*args)
        from .threads import in_thread  # noqa: PLC0415 - as in _drive_async

        layer = self._layer
        store = layer._layer if isinstance(layer, _OverDocumentedMethods) else layer
        record: Record | None = await in_thread(store, method, *args)
        return record


async def _drive_async(steps: Steps, layer: Any) -> Any:
    # asyncio is half of all that an import would load, and blocking programs never need it.
    from .async_drivers import drive_async  # noqa: PLC0415

    return await drive_async(steps, layer)


def compare_and_swap(layer: BasePersistenceLayer) -> CompareAndSwapLayer:
    """Return ``layer`` as the engine uses it."""
    return layer if isinstance(layer, CompareAndSwapLayer) else _OverDocumentedMethods(layer)


def async_compare_and_swap(
    layer: BasePersistenceLayer | AsyncBasePersistenceLayer,
) -> AsyncCompareAndSwapLayer:
    """Return ``layer`` as the engine uses it for ``async def`` functions."""
    if isinstance(layer, AsyncCompareAndSwapLayer):
        return layer
    if isinstance(layer, AsyncBasePersistenceLayer):
        return _AsyncOverDocumentedMethods(layer)
    return InThreads(compare_and_swap(layer))


def keeps_owners(layer: BasePersistenceLayer | AsyncBasePersistenceLayer) -> bool:
    """Tell whether ``layer`` stores who made a claim: layers of four methods need not."""
    return isinstance(layer, CompareAndSwapLayer | AsyncCompareAndSwapLayer)
