"""Layers in memory that read and write in two steps (CAS-4)."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import asyncio

from idemproof.spec.record import COMPLETED, Record, same_version

from .exhibits import broken
from .foundations import AsyncDictionary, Dictionary


@broken(CAS_4="exclusion")
class HasNoLock(Dictionary):
    """It reads, compares and writes without a lock."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        current = self.rows.get(key)
        if not same_version(current, expected):
            return current
        self.write(key, new)
        return new


@broken(CAS_4="exclusion")
class LocksEachStep(Dictionary):
    """It locks the read and the write separately, not both together."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.lock:
            current = self.rows.get(key)
        if not same_version(current, expected):
            return current
        with self.lock:
            self.write(key, new)
        return new


@broken(CAS_4="exclusion")
class LocksClaimsOnly(Dictionary):
    """It locks claims and releases, but stores results without a lock."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if new is None or new.status != COMPLETED:
            return super()._swap(key, expected, new, ttl_ms)
        if same_version(self.rows.get(key), expected):
            self.rows[key] = new
            return new
        return self.rows.get(key)


@broken(CAS_4="exclusion")
class ReplacesInTwoSteps(Dictionary):
    """Its load ignores the lock, and its swap removes a record before it stores the next one."""

    def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    def write(self, key: str, new: Record | None) -> None:
        self.rows.pop(key, None)
        if new is not None:
            self.rows[key] = new


@broken(CAS_4="exclusion")
class ChecksAgainTooLate(Dictionary):
    """It writes first, and then checks whether it was the only writer."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        before = self.rows.get(key)
        if not same_version(before, expected):
            return before
        self.write(key, new)
        return self.rows.get(key)


@broken(CAS_4="exclusion", profile="default")
class AnswersAfterItsLock(Dictionary):
    """It stores under its lock, but reads its answer afterwards."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        super()._swap(key, expected, new, ttl_ms)
        return self.rows.get(key)


@broken(CAS_4="exclusion", INV_1="exclusion")
class ChecksAwaitsWrites(AsyncDictionary):
    """It reads, awaits, and then writes: another task reads in between."""

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, _keep_ms: int
    ) -> Record | None:
        return await self.replace(key, expected, new)


@broken(CAS_4="exclusion")
class AwaitsBetweenRemovalAndStorage(AsyncDictionary):
    """It removes a record, awaits, and stores the next one: a load in between finds no record."""

    async def replace(self, key: str, expected: Record | None, new: Record | None) -> Record | None:
        current = self.rows.get(key)
        if not same_version(current, expected):
            return current
        self.rows.pop(key, None)
        await asyncio.sleep(0)
        if new is not None:
            self.rows[key] = new
        return new
