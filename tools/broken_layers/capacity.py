"""Layers that confuse keys, or forget records, once there are many (CAS-1, CAS-6)."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import hashlib
import zlib
from collections import OrderedDict

from idemproof.spec.record import COMPLETED, Record

from .exhibits import broken, correct
from .foundations import Dictionary

_LIMIT = 1000
_LARGE_LIMIT = 10_000


class _ByHash(Dictionary):
    """Keeps records by a hash of the key, and returns them under the key that was asked for."""

    def read(self, key: str) -> Record | None:
        found = self.rows.get(self.hash_of(key))
        return None if found is None else found._replace(idempotency_key=key)

    def write(self, key: str, new: Record | None) -> None:
        super().write(self.hash_of(key), new)

    def hash_of(self, key: str) -> str:
        """Return the name of the row."""
        return hashlib.sha256(key.encode()).hexdigest()


@correct()
class ByADigest(_ByHash):
    """Keeps records by the SHA-256 of their keys."""


@broken(CAS_1="contract")
class KeepsByACrc(_ByHash):
    """It keeps records by the CRC-32 of their keys."""

    def hash_of(self, key: str) -> str:
        return str(zlib.crc32(key.encode()))


@broken(CAS_1="contract")
class KeepsByAnAdler(_ByHash):
    """It keeps records by the Adler-32 of their keys."""

    def hash_of(self, key: str) -> str:
        return str(zlib.adler32(key.encode()))


@broken(CAS_1="contract")
class KeepsByFnv(_ByHash):
    """It keeps records by the FNV-1a of their keys, with 32 bits."""

    def hash_of(self, key: str) -> str:
        state = 0x811C9DC5
        for byte in key.encode():
            state = (state ^ byte) * 0x01000193 & 0xFFFFFFFF
        return str(state)


@broken(CAS_1="contract")
class KeepsByPythonsHash(_ByHash):
    """It keeps records by 32 bits of Python's own hash of their keys."""

    def hash_of(self, key: str) -> str:
        return str(hash(key) & 0xFFFFFFFF)


@broken(CAS_1="contract")
class KeepsByTheBeginningOfADigest(_ByHash):
    """It keeps records by the first eight hexadecimal digits of the MD5 of their keys."""

    def hash_of(self, key: str) -> str:
        return hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()[:8]


@broken(CAS_1="contract")
class KeepsByAMillionNumbers(_ByHash):
    """It keeps records by one of a million numbers, from the SHA-256 of their keys."""

    def hash_of(self, key: str) -> str:
        return str(int(super().hash_of(key), 16) % 1_000_000)


@broken(CAS_6="contract")
class KeepsAThousand(Dictionary):
    """Each write beyond 1,000 records removes the oldest one."""

    def write(self, key: str, new: Record | None) -> None:
        super().write(key, new)
        if len(self.rows) > _LIMIT:
            del self.rows[next(iter(self.rows))]


@broken(CAS_6="contract")
class KeepsAThousandResults(Dictionary):
    """Each result beyond 1,000 removes the oldest result, and no claim."""

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, None] = {}

    def write(self, key: str, new: Record | None) -> None:
        super().write(key, new)
        self.results.pop(key, None)
        if new is not None and new.status == COMPLETED:
            self.results[key] = None
        if len(self.results) > _LIMIT:
            self.rows.pop(next(iter(self.results)))
            del self.results[next(iter(self.results))]


@broken(CAS_6="contract")
class KeepsWhatWasUsedLast(Dictionary):
    """Each write beyond 10,000 records removes the one that was used least recently."""

    def __init__(self) -> None:
        super().__init__()
        self.used: OrderedDict[str, None] = OrderedDict()

    def read(self, key: str) -> Record | None:
        if key in self.used:
            self.used.move_to_end(key)
        return super().read(key)

    def write(self, key: str, new: Record | None) -> None:
        super().write(key, new)
        self.used[key] = None
        self.used.move_to_end(key)
        if len(self.used) > _LARGE_LIMIT:
            self.rows.pop(self.used.popitem(last=False)[0], None)
