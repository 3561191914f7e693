"""The wall clock. Only the engine and the four documented methods read it."""

import time


def wall_clock_ms() -> int:
    """Return the current time in milliseconds since the epoch (UTC)."""
    return time.time_ns() // 1_000_000
