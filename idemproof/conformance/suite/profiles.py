"""The profiles: how thoroughly the suite tests a layer."""

import math
from typing import NamedTuple


class Profile(NamedTuple):
    """The bounds of a run. They limit the work, and never change what counts as correct.

    Parameters
    ----------
    name
        ``quick``, ``default`` or ``thorough``.
    examples
        The number of random histories.
    steps
        The number of operations in a random history.
    schedules
        The maximum number of interleavings of one race.
    preemptions
        The maximum number of times that one interleaving preempts a running client.
    tour_seconds, race_seconds
        The maximum time of an exploration of whole calls, and of each race (seconds).
    stress
        The number of stress-test rounds with real threads, and with real processes.
    patience
        How long a layer may take to answer before it counts as hung (seconds).
    depth
        How many more clock moves than its minimum an exploration of whole calls may contain.
    records
        How many live records a layer stores at once, if the time of a race allows it.
    total_seconds
        The time in which the whole run ends, however slow the store is (seconds). What does not fit is not
        run. Fast stores need far less.
    """

    name: str
    examples: int
    steps: int
    schedules: int
    preemptions: int
    tour_seconds: float
    race_seconds: float
    stress: int
    patience: float
    depth: int = 0
    records: int = 10_500
    total_seconds: float = math.inf


PROFILES = {
    "quick": Profile("quick", 40, 20, 60, 1, 3, 1, 3, 10, total_seconds=60),
    "default": Profile("default", 200, 30, 400, 2, 10, 4, 10, 20, depth=1, total_seconds=300),
    "thorough": Profile("thorough", 1000, 50, 5000, 3, 90, 30, 60, 60, depth=2, records=100_000),
}
