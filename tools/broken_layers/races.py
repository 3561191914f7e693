"""Layers in a process's memory that look and write in two steps (CAS-4)."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import asyncio

from idemproof.spec.record import COMPLETED, Record, same_version

from .exhibits import broken
from .foundations import AsyncDictionary, Dictionary


@broken(CAS_4="exclusion")
class HasNoLock(Dictionary):
    """It reads, compares and writes without a lock."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:  # noqa: ARG002
        standing = self.rows.get(key)
        if not same_version(standing, expected):
            return standing
        self.write(key, new)
        return new


@broken(CAS_4="exclusion")
class LocksEachStep(Dictionary):
    """It locks the reading, and the writing, and not both together."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:  # noqa: ARG002
        with self.lock:
            standing = self.rows.get(key)
        if not same_version(standing, expected):
            return standing
        with self.lock:
            self.write(key, new)
        return new


@broken(CAS_4="exclusion")
class LocksClaimsOnly(Dictionary):
    """It locks claims and releases, and stores results without."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        if new is None or new.status != COMPLETED:
            return super()._swap(key, expected, new, keep_ms)
        if same_version(self.rows.get(key), expected):
            self.rows[key] = new
            return new
        return self.rows.get(key)


@broken(CAS_4="exclusion")
class ReplacesInTwoSteps(Dictionary):
    """Its load does not wait for the lock, and its swap removes a record before it stores the next."""

    def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    def write(self, key: str, new: Record | None) -> None:
        self.rows.pop(key, None)
        if new is not None:
            self.rows[key] = new


@broken(CAS_4="exclusion")
class ChecksAgainTooLate(Dictionary):
    """It writes first, and then looks whether it was the only one."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:  # noqa: ARG002
        before = self.rows.get(key)
        if not same_version(before, expected):
            return before
        self.write(key, new)
        return self.rows.get(key)


@broken(CAS_4="exclusion", profile="default")
class AnswersAfterItsLock(Dictionary):
    """It stores under its lock, and looks up its answer after that."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Record | None:
        super()._swap(key, expected, new, keep_ms)
        return self.rows.get(key)


@broken(CAS_4="exclusion", INV_1="exclusion")
class ChecksAwaitsWrites(AsyncDictionary):
    """It looks, awaits, and then writes: another task looks meanwhile."""

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, _keep_ms: int
    ) -> Record | None:
        return await self.replace(key, expected, new)


@broken(CAS_4="exclusion")
class AwaitsBetweenRemovalAndStorage(AsyncDictionary):
    """It removes a record, awaits, and stores the next: a load sees none meanwhile."""

    async def replace(self, key: str, expected: Record | None, new: Record | None) -> Record | None:
        standing = self.rows.get(key)
        if not same_version(standing, expected):
            return standing
        self.rows.pop(key, None)
        await asyncio.sleep(0)
        if new is not None:
            self.rows[key] = new
        return new
