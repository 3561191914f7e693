"""The contracts of a persistence layer: four documented methods, or two for compare-and-swap.

A layer holds no state of a function, so functions, configurations and threads can share one.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from ..drivers.blocking import drive
from ..spec.commands import Steps
from ..spec.record import Record
from . import overrides, powertools_methods, public_methods
from .clock import wall_clock_ms
from .doubles import is_double
from .layer_settings import Settings, Visit
from .overrides import AsyncMethods, Methods
from .public_methods import WhatLayersOffer
from .records import DataRecord


class _Layer(WhatLayersOffer):
    """What all layers have in common."""

    blocks: bool = True
    """Whether a request may wait. False only for layers that keep their records in the process's memory."""

    def _loses(self, kind: type[Exception]) -> bool:  # noqa: ARG002 - for layers over clients that retry
        """Return whether the client may catch ``kind`` from a signal handler, and retry its request."""
        return False


class BasePersistenceLayer(_Layer, ABC):
    """A store with the four documented methods.

    Such a layer decides by its own clock whether a record is live, and stores no owner token. It works, but
    it is not fenced. :class:`CompareAndSwapLayer` is safer and takes less code.
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
        """Store a record if no live record has its key.

        Raises
        ------
        IdempotencyItemAlreadyExistsError
            A live record has this key. ``old_data_record`` may carry it.
        """

    @abstractmethod
    def _update_record(self, data_record: DataRecord) -> None:
        """Store a result: status, response, payload hash and expiry."""

    @abstractmethod
    def _delete_record(self, data_record: DataRecord) -> None:
        """Remove the record of a key."""

    def save_inprogress(self, data: Any, remaining_time_in_millis: int | None = None) -> None:
        """Claim the key of a payload.

        Parameters
        ----------
        data
            The payload, as plain data.
        remaining_time_in_millis
            Milliseconds until the claim's lease ends; None for the whole window.

        Raises
        ------
        IdempotencyItemAlreadyExistsError
            A live record has the key.
        IdempotencyPersistenceConfigError
            The layer is not configured; see :meth:`configure`.
        """
        drive(public_methods.save_inprogress(self, data, remaining_time_in_millis), Methods(self))

    def save_success(self, data: Any, result: Any) -> None:
        """Store the result of a payload for the attempt that holds its claim.

        Parameters
        ----------
        data
            The payload, as plain data.
        result
            The result, as plain data that JSON can represent.

        Raises
        ------
        IdempotencyLeaseLostError
            A result is already stored. Nothing changed.
        """
        drive(public_methods.save_success(self, data, result), Methods(self))

    def delete_record(self, data: Any, exception: BaseException | None = None) -> None:  # noqa: ARG002 - for overrides
        """Release the key of a payload for the attempt that holds its claim.

        Parameters
        ----------
        data
            The payload, as plain data.
        exception
            The exception that the function raised.

        Raises
        ------
        IdempotencyLeaseLostError
            A result is already stored. Nothing changed.
        """
        drive(public_methods.delete_record(self, data), Methods(self))

    def get_record(self, data: Any) -> DataRecord | None:
        """Return the record of a payload, or None if the payload has no key.

        Parameters
        ----------
        data
            The payload, as plain data.

        Raises
        ------
        IdempotencyItemNotFoundError
            No record has the key.
        IdempotencyValidationError
            The record belongs to another payload.
        """
        found: DataRecord | None = drive(public_methods.get_record(self, data), Methods(self))
        return found


class CompareAndSwapLayer(BasePersistenceLayer):
    """A store with two methods: read, and replace if unchanged.

    Neither method reads a clock or decides anything: the specification decides.
    The four documented methods are built on these two.
    """

    _settings_can_be_set = False

    clock: Callable[[], int] = staticmethod(wall_clock_ms)
    """Returns epoch milliseconds. Only the four documented methods read it."""

    _wait_for_change: Callable[[str, Record, float], bool] | None = None
    """Optional: wait until the record of a key changes. Without it, waiting calls poll.

    A layer that learns of changes may define the method ``_wait_for_change(key, seen, seconds)``. It returns
    True as soon as the stored record may differ from ``seen``, also if it differed before, and False once
    ``seconds`` are over (CAS-14). It decides nothing: the call claims again after either answer, and polls if
    it raises. It must not hold what other requests need, such as a connection of the pool.
    """

    @abstractmethod
    def _load(self, key: str) -> Record | None:
        """Return the stored record of ``key``, or None; the read is strongly consistent (CAS-1)."""

    @abstractmethod
    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        """Replace ``expected`` with ``new`` atomically, and return the record that is stored afterwards.

        Parameters
        ----------
        key
            Names the operation.
        expected
            The record that must be stored for the swap to happen, None for no record.
            :func:`~idemproof.spec.record.same_version` compares them (CAS-2).
        new
            The record to store, None to delete it.
        ttl_ms
            For how many milliseconds the store must keep ``new`` at least; use it for a native time to live.
            0 when ``new`` is None.

        Returns
        -------
        Record or None
            ``new`` if it was stored, else the record that prevented it, or None (CAS-3).
        """

    def _get_record(self, idempotency_key: str) -> DataRecord:
        record: DataRecord = drive(powertools_methods.get_record(idempotency_key), self)
        return record

    def _put_record(self, data_record: Record | DataRecord) -> None:
        drive(overrides.put_record(self, data_record), self)

    def _update_record(self, data_record: Record | DataRecord) -> None:
        drive(overrides.update_record(self, data_record), self)

    def _delete_record(self, data_record: Record | DataRecord) -> None:
        drive(overrides.delete_record(self, data_record), self)


class AsyncBasePersistenceLayer(_Layer, ABC):
    """:class:`BasePersistenceLayer` for ``async def`` functions."""

    @abstractmethod
    async def _get_record(self, idempotency_key: str) -> DataRecord:
        """Return the record of a key, or raise ``IdempotencyItemNotFoundError``."""

    @abstractmethod
    async def _put_record(self, data_record: DataRecord) -> None:
        """Store a record if no live record has its key, or raise ``IdempotencyItemAlreadyExistsError``."""

    @abstractmethod
    async def _update_record(self, data_record: DataRecord) -> None:
        """Store a result: status, response, payload hash and expiry."""

    @abstractmethod
    async def _delete_record(self, data_record: DataRecord) -> None:
        """Remove the record of a key."""

    async def save_inprogress(self, data: Any, remaining_time_in_millis: int | None = None) -> None:
        """Claim the key of a payload."""
        await drive_lazily(
            public_methods.save_inprogress(self, data, remaining_time_in_millis), AsyncMethods(self)
        )

    async def save_success(self, data: Any, result: Any) -> None:
        """Store the result of a payload for the attempt that holds its claim."""
        await drive_lazily(public_methods.save_success(self, data, result), AsyncMethods(self))

    async def delete_record(self, data: Any, exception: BaseException | None = None) -> None:  # noqa: ARG002 - for overrides
        """Release the key of a payload for the attempt that holds its claim."""
        await drive_lazily(public_methods.delete_record(self, data), AsyncMethods(self))

    async def get_record(self, data: Any) -> DataRecord | None:
        """Return the record of a payload, or None if the payload has no key."""
        found: DataRecord | None = await drive_lazily(
            public_methods.get_record(self, data), AsyncMethods(self)
        )
        return found


class AsyncCompareAndSwapLayer(AsyncBasePersistenceLayer):
    """:class:`CompareAndSwapLayer` for ``async def`` functions."""

    _settings_can_be_set = False

    clock: Callable[[], int] = staticmethod(wall_clock_ms)
    """Returns epoch milliseconds. Only the four documented methods read it."""

    _wait_for_change: Callable[[str, Record, float], Awaitable[bool]] | None = None
    """Optional: see :attr:`CompareAndSwapLayer._wait_for_change`. A cancellation ends it at once."""

    @abstractmethod
    async def _load(self, key: str) -> Record | None:
        """Return the stored record of ``key``, or None; the read is strongly consistent (CAS-1)."""

    @abstractmethod
    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        """Replace ``expected`` with ``new`` atomically; see :meth:`CompareAndSwapLayer._swap`."""

    async def _get_record(self, idempotency_key: str) -> DataRecord:
        record: DataRecord = await drive_lazily(powertools_methods.get_record(idempotency_key), self)
        return record

    async def _put_record(self, data_record: Record | DataRecord) -> None:
        await drive_lazily(overrides.put_record(self, data_record), self)

    async def _update_record(self, data_record: Record | DataRecord) -> None:
        await drive_lazily(overrides.update_record(self, data_record), self)

    async def _delete_record(self, data_record: Record | DataRecord) -> None:
        await drive_lazily(overrides.delete_record(self, data_record), self)


class _OverDocumentedMethods(CompareAndSwapLayer):
    """Adapts a four-method layer to compare-and-swap."""

    def __init__(self, layer: BasePersistenceLayer, settings: Settings | None) -> None:
        self._methods = Methods(layer, Visit(layer, settings))

    def _load(self, key: str) -> Record | None:
        record: Record | None = drive(powertools_methods.load(key), self._methods)
        return record

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        record: Record | None = drive(powertools_methods.swap(key, expected, new), self._methods)
        return record


class _AsyncOverDocumentedMethods(AsyncCompareAndSwapLayer):
    """Adapts an async four-method layer to compare-and-swap."""

    def __init__(self, layer: AsyncBasePersistenceLayer, settings: Settings | None) -> None:
        self._methods = AsyncMethods(layer, Visit(layer, settings))

    async def _load(self, key: str) -> Record | None:
        record: Record | None = await drive_lazily(powertools_methods.load(key), self._methods)
        return record

    async def _swap(
        self,
        key: str,
        expected: Record | None,
        new: Record | None,
        ttl_ms: int,  # noqa: ARG002
    ) -> Record | None:
        record: Record | None = await drive_lazily(powertools_methods.swap(key, expected, new), self._methods)
        return record


class InThreads(AsyncCompareAndSwapLayer):
    """A blocking layer for ``async def`` functions: its requests run in threads that belong to the layer.

    Parameters
    ----------
    layer
        The blocking layer.
    works_for
        The layer that owns the threads, if it is a different one: the layer that the user has made.
    """

    def __init__(self, layer: CompareAndSwapLayer, works_for: BasePersistenceLayer | None = None) -> None:
        self._layer = layer
        self._works_for = layer if works_for is None else works_for
        self.blocks = layer.blocks
        # Not the blocking one: its threads would be missing for the call that they wait for.
        self._wait_for_change = getattr(layer, "_wait_for_change_async", None)

    async def _load(self, key: str) -> Record | None:
        return await self._run(self._layer._load, key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        return await self._run(self._layer._swap, key, expected, new, ttl_ms)

    async def _run(self, method: Callable[..., Record | None], *args: Any) -> Record | None:
        if not self.blocks:
            return method(*args)
        from ..drivers.threads import in_thread  # noqa: PLC0415 - as in drive_lazily

        record: Record | None = await in_thread(self._works_for, method, *args)
        return record


async def drive_lazily(steps: Steps, layer: Any) -> Any:
    """Perform ``steps`` on an async layer, and import asyncio only when this is called."""
    # asyncio takes half of the import time, and blocking programs never need it.
    from ..drivers.asynchronous import drive_async  # noqa: PLC0415

    return await drive_async(steps, layer)


def compare_and_swap(layer: BasePersistenceLayer, settings: Settings | None = None) -> CompareAndSwapLayer:
    """Return ``layer`` as a compare-and-swap layer, for a function with these settings."""
    return layer if isinstance(layer, CompareAndSwapLayer) else _OverDocumentedMethods(layer, settings)


def async_compare_and_swap(
    layer: BasePersistenceLayer | AsyncBasePersistenceLayer, settings: Settings | None = None
) -> AsyncCompareAndSwapLayer:
    """Return ``layer`` as an async compare-and-swap layer."""
    if isinstance(layer, AsyncCompareAndSwapLayer):
        return layer
    if isinstance(layer, AsyncBasePersistenceLayer):
        return _AsyncOverDocumentedMethods(layer, settings)
    return InThreads(compare_and_swap(layer, settings), layer)


def keeps_owners(layer: BasePersistenceLayer | AsyncBasePersistenceLayer) -> bool:
    """Return whether ``layer`` stores owner tokens. Four-method layers need not. True for a mock."""
    return isinstance(layer, CompareAndSwapLayer | AsyncCompareAndSwapLayer) or is_double(layer)
