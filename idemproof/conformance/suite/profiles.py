"""How thorough a check is."""

from typing import NamedTuple


class Profile(NamedTuple):
    """Bounds of a check. All of them bound work, none of them changes what is right.

    Parameters
    ----------
    name
        ``quick``, ``default`` or ``thorough``.
    examples
        How many random histories the sequential machine tries.
    steps
        How many operations such a history has.
    schedules
        How many interleavings of one race are tried, at most.
    preemptions
        How often, at most, a running client is made to wait for another in one interleaving.
    tour_seconds, race_seconds
        The time that the tours of whole calls, and each race, may take (seconds).
    crowds
        How many rounds of real threads, and of real processes, are run.
    patience
        After how many seconds without an answer a layer hangs.
    depth
        How much more may happen on a tour than what its check is about at least.
    """

    name: str
    examples: int
    steps: int
    schedules: int
    preemptions: int
    tour_seconds: float
    race_seconds: float
    crowds: int
    patience: float
    depth: int = 0


PROFILES = {
    "quick": Profile("quick", 40, 20, 60, 1, 3, 1, 3, 10),
    "default": Profile("default", 200, 30, 400, 2, 10, 4, 10, 20, depth=1),
    "thorough": Profile("thorough", 1000, 50, 5000, 3, 90, 30, 60, 60, depth=2),
}
