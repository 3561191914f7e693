"""Measures how many requests each check sends, and ranks the checks by the faults that they find in a time.

``python tools/regenerate.py needs`` runs the suite a few times on a correct layer, in seconds, and reads
the kill matrix. A run on a slow store is planned with the table: see ``idemproof/conformance/suite/pace.py``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from idemproof import CompareAndSwapLayer, InMemoryPersistenceLayer, Record
from idemproof.conformance import Capabilities, Profile
from idemproof.conformance.suite.checks import Check
from idemproof.conformance.suite.needs import Need
from idemproof.conformance.suite.pace import Asked, Pace, Share
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.runner import Session, checks

_TABLE = "NEEDS = {\n"
_BY_HAND = {
    "many-processes-may-share-a-store": Need(200, 200, 600, processes=3, at_once=True),
    "acknowledged-records-outlive-a-killed-process": Need(150, 150, 150, opens=1, processes=2),
    "one-event-loop-after-the-other-may-use-a-layer": Need(4, 4, 4),
    "a-fork-leaves-both-processes-a-layer": Need(100, 500, 500, opens=1),
    "a-closed-layer-leaves-nothing-behind": Need(60, 60, 60, opens=4),
    "a-request-leaves-nothing-behind": Need(220, 220, 2500),
    "a-wait-ends-when-the-record-changes": Need(60, 60, 60),
    "a-wait-ends-when-its-time-is-over": Need(2, 2, 2),
    "a-wait-blocks-nothing-else": Need(10, 10, 10),
}
"""Checks that are measured by hand. Others send their requests: processes, async layers, and layers that can
be closed or offer to wait. Or they send fewer on a slow store."""

_QUICK = PROFILES["quick"]
_AT_ONCE = ("many-threads-may-share-a-layer", "many-threads-may-share-a-store")
_OWN = 2
"""How many requests to a slow store take as long as the check takes for itself."""
_ROUGHLY = 10
"""Larger counts are rounded up to a multiple of this: those of threads depend on chance."""


class _Client:
    """A client of a store in memory."""

    def __init__(self, store: InMemoryPersistenceLayer) -> None:
        self._store = store

    def load(self, key: str) -> Record | None:
        return self._store._load(key)

    def swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return self._store._swap(key, expected, new, ttl_ms)


class Counting(CompareAndSwapLayer):
    """A layer that counts its requests, and how often it was made."""

    requests = made = 0

    def __init__(self, store: InMemoryPersistenceLayer) -> None:
        Counting.made += 1
        self.client = _Client(store)

    def _load(self, key: str) -> Record | None:
        Counting.requests += 1
        return self.client.load(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        Counting.requests += 1
        return self.client.swap(key, expected, new, ttl_ms)


class _NoTime(Pace):
    """A pace that shortens each check as much as possible."""

    def share(self, asked: Asked, others: Sequence[Asked]) -> Share:  # noqa: ARG002 - as Pace
        return Share(0.0)


def counts(profile: Profile, pace: Callable[[Profile], Pace] = Pace) -> Mapping[str, tuple[int, int]]:
    """Return how many requests each check sends, and how often it calls the factory."""
    store = InMemoryPersistenceLayer()
    claims = Capabilities(durable=True, processes=False, client_methods=("client.load", "client.swap"))
    session = Session(lambda: Counting(store), profile, 1, claims, (), pace(profile))
    found = {}
    for each in checks():
        Counting.requests = Counting.made = 0
        session.judge(each)
        found[each.name] = (_rounded(Counting.requests), Counting.made)
    session.close()
    return found


def needs() -> dict[str, Need]:
    """Return the need of each check."""
    plenty = _QUICK._replace(tour_seconds=600, race_seconds=600)
    least = counts(_QUICK, _NoTime)
    fixed = counts(_QUICK._replace(tour_seconds=0, race_seconds=0))
    full = counts(plenty)
    return {
        name: _BY_HAND.get(
            name,
            Need(
                least[name][0],
                max(fixed[name][0], least[name][0]),
                max(full[name][0], fixed[name][0]),
                fixed[name][1],
                at_once=name in _AT_ONCE,
            ),
        )
        for name in least
    }


def ranked(suite: Sequence[Check], need: Mapping[str, Need], finds: Mapping[str, set[str]]) -> list[str]:
    """Return the checks in the order of their value: each finds the most new broken layers in its time."""
    left, seen, order = [each.name for each in suite], set[str](), []
    while left:
        best = max(
            left,
            key=lambda name: (
                len(finds[name] - seen) / (need[name].least + _OWN),
                len(finds[name]) / (need[name].least + _OWN),
            ),
        )
        left.remove(best)
        seen |= finds[best]
        order.append(best)
    return order


def files(root: Path) -> dict[str, str]:
    """Return the table, by the name of its file."""
    matrix = json.loads((root / "docs" / "kill-matrix.json").read_text(encoding="utf-8"))
    suite, need = checks(), needs()
    finds = {each.name: {layer for layer, found in matrix.items() if each.name in found} for each in suite}
    lines = [f'    "{name}": {_source(need[name])},\n' for name in ranked(suite, need, finds)]
    head = (root / "idemproof" / "conformance" / "suite" / "needs.py").read_text(encoding="utf-8")
    return {"needs.py": f"{head.partition(_TABLE)[0]}{_TABLE}{''.join(lines)}}}\n"}


def _source(need: Need) -> str:
    usual = Need(0, 0, 0)
    given = [str(each) for each in need[:3]]
    for name, value in list(need._asdict().items())[3:]:
        if value != getattr(usual, name):
            given.append(f"{name}={value}")
    return f"Need({', '.join(given)})"


def _rounded(count: int) -> int:
    return count if count < 10 * _ROUGHLY else -(-count // _ROUGHLY) * _ROUGHLY
