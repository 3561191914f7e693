"""How a simulated call has waited for another attempt."""

from ..spec.commands import Sleep, Wait
from ..spec.waiting import SHORTEST_POLL_MS


class Pauses:
    """What the pauses of a waiting call are judged by.

    ``since`` is when the first one began, ``spent_ms`` how long those were that no signal ended, and
    ``hurried`` whether the last one was ended by a signal before the shortest pause was over.
    """

    def __init__(self, now: int) -> None:
        self.since = self.began = now
        self.spent_ms = 0
        self.hurried = False

    def left(self, waiting_ms: int, now: int) -> int:
        """Return how many milliseconds are left of the configured time."""
        return min(self.since + waiting_ms - now, waiting_ms - self.spent_ms)

    def end(self, pause: Sleep | Wait, now: int, *, signalled: bool) -> None:
        """Note the end of a pause."""
        self.hurried = signalled and now - self.began < SHORTEST_POLL_MS
        self.spent_ms += (
            min(max(0, now - self.began), pause.milliseconds) if signalled else pause.milliseconds
        )
