"""Eviction of expired records, by the specification's rule."""

from ..spec.events import Evict
from ..spec.record import Record, expiry_ms
from ..spec.transition import transition

MARGIN_MS = 60_000
"""How many milliseconds after its expiry a layer may evict a record: a margin for clock skew."""


def evictable(record: Record, now: int) -> bool:
    """Return whether a store may evict ``record`` at ``now`` (epoch milliseconds)."""
    return transition(record, Evict(), now)[0] is None


def callers_now(new: Record, ttl_ms: int) -> int:
    """Return when a caller computed ``ttl_ms``, in epoch milliseconds, so that a layer needs no clock."""
    return expiry_ms(new) - ttl_ms
