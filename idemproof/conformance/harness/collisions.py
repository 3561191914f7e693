"""Pairs of different keys for which a usual short hash is the same.

Hashes that read a key from its beginning to its end have known pairs. For the others, pairs are searched for:
by the birthday paradox, two of 100,000 keys have the same 32 bits.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import product
from typing import NamedTuple

_KNOWN_ENDS = {
    "CRC-32": ("plumless", "buckeroo"),
    "CRC-32C": ("rh3ajbyv", "1xuk0ve2"),
    "Adler-32": ("aca", "bab"),
    "the sum of the characters": ("ab", "ba"),
    "the polynomial hash of Java": ("Aa", "BB"),
    "djb2": ("ab", "bA"),
    "sdbm": ("hvzygguy", "l7lmjl6y"),
    "the polynomial hash with the base 131": ("e589fg7r", "7346ikaj"),
}
"""Suffixes of one length: whatever precedes them, these hashes are the same."""

_KNOWN_STARTS = {
    "FNV-1a": ("4tp3jzhk", "8nkx9h2z"),
    "FNV-1": ("mbfa0q94", "evnpwe9t"),
    "djb2 with XOR": ("3sbi4m6k", "d0fpldil"),
    "MurmurHash3": ("75iky5cb", "frqcb7ff"),
}
"""Beginnings of keys: whatever follows them, these hashes are the same."""

_CHARACTERS = "abcdefghijklmnopqrstuvwxyz012345"
_LENGTH = 4
_BITS = 0xFFFFFFFF
_DIGESTS = ("md5", "sha1", "sha256")


class Pair(NamedTuple):
    """Two keys, and the name of the hash that is the same for both."""

    hash: str
    one: str
    other: str


def known(new_key: Callable[[], str]) -> Iterator[Pair]:
    """Yield a pair of keys for each hash whose collisions are known; each contains a key of its own."""
    for name, (one, other) in _KNOWN_ENDS.items():
        key = new_key()
        yield Pair(name, f"{key}-{one}", f"{key}-{other}")
    for name, (one, other) in _KNOWN_STARTS.items():
        key = new_key()
        yield Pair(name, one + key, other + key)


@cache
def searched(start: str) -> tuple[Pair, ...]:
    """Search for pairs of keys that begin with ``start``, which takes half a second.

    They are the same in the lower or the upper half of Python's own hash, or in the first or the last 32 bits
    of a digest.
    """
    text = start.encode()
    found = _same(
        ("the lower half of Python's hash()", "the upper half of Python's hash()"),
        start,
        lambda suffix: _halves(hash(start + suffix)),
    )
    for name in _DIGESTS:
        found += _same(
            (f"the first 32 bits of {name.upper()}", f"the last 32 bits of {name.upper()}"),
            start,
            partial(_ends, hashlib.new(name, text, usedforsecurity=False)),
        )
    return tuple(found)


def _same(names: Sequence[str], start: str, hashes: Callable[[str], Sequence[int]]) -> list[Pair]:
    """Return a pair for each of the named hashes of a suffix."""
    seen: list[dict[int, str]] = [{} for _ in names]
    left = set(range(len(names)))
    pairs = []
    for characters in product(_CHARACTERS, repeat=_LENGTH):
        suffix = "".join(characters)
        values = hashes(suffix)
        for number in tuple(left):
            found = seen[number].setdefault(values[number], suffix)
            if found is not suffix:
                pairs.append(Pair(names[number], start + found, start + suffix))
                left.remove(number)
        if not left:
            break
    return pairs


def _halves(value: int) -> tuple[int, int]:
    return value & _BITS, value >> 32 & _BITS


def _ends(first: "hashlib._Hash", suffix: str) -> tuple[int, int]:
    of_key = first.copy()
    of_key.update(suffix.encode())
    digest = of_key.digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[-4:], "big")
