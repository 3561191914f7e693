"""How long a waiting call lets pass between its claims, and how many claims that allows (WAIT-2, INV-8)."""

SHORTEST_POLL_MS = 20
"""The shortest pause between two claims of a waiting call, in milliseconds, unless less time is left."""

LONGEST_POLL_MS = 1000
"""The longest pause, in milliseconds. It bounds how late a waiting call learns what no signal tells it."""

JITTER = 0.2
"""The largest part by which jitter shortens a pause, so that calls that began together spread out."""


def poll_ms(polls: int, jitter: float = 0.0) -> int:
    """Return the pause after this number of pauses, in milliseconds.

    Parameters
    ----------
    polls
        How many pauses the call has made.
    jitter
        How much of the jitter to use: from 0 to 1.
    """
    pause = min(SHORTEST_POLL_MS << min(polls, 20), LONGEST_POLL_MS)
    return max(SHORTEST_POLL_MS, pause - int(pause * JITTER * jitter))


def pause_ms(poll: int, retry_after: int, left: int) -> int:
    """Return for how long to wait, in milliseconds: 0 if no time is left.

    Parameters
    ----------
    poll
        The pause that is due.
    retry_after
        Milliseconds until the lease of the claim that was found ends.
    left
        Milliseconds that the call may still wait.
    """
    return max(0, min(left, max(SHORTEST_POLL_MS, min(poll, retry_after))))


def most_waits(waiting_ms: int) -> int:
    """Return the largest number of waits of one call that may wait for so many milliseconds.

    A lease or a signal may shorten every pause to the shortest, and a signal may add one more claim to each.
    """
    return 2 * -(-waiting_ms // SHORTEST_POLL_MS)
