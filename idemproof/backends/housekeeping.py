"""Forgetting records, by the specification's rule for eviction."""

from ..spec.events import Evict
from ..spec.record import Record, expiry_ms
from ..spec.transition import transition

MARGIN_MS = 60_000
"""How far a record must be past its expiry before a layer forgets it by itself: room for clock skew."""


def evictable(record: Record, now: int) -> bool:
    """Tell whether the specification lets a store forget ``record`` at ``now`` (epoch milliseconds)."""
    return transition(record, Evict(), now)[0] is None


def callers_now(new: Record, keep_ms: int) -> int:
    """Return the epoch milliseconds at which a caller computed ``keep_ms``: no clock of the layer's own."""
    return expiry_ms(new) - keep_ms
