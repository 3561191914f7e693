"""Measures how fast a store answers several requests at once."""

import contextlib
import threading
from collections.abc import Callable, Sequence

from .pace import SLOW
from .subjects import Subject

_CLIENTS = 4
_TRIES = 3
"""How often it is measured, if it takes long: the first time, a layer may open connections."""


def seconds_at_once(workers: Sequence[Subject], key: str, patience: float, now: Callable[[], float]) -> float:
    """Return how long each of some reads takes that are sent at once: their time, divided by their number.

    They read an unused key, which changes nothing. What they raise is found by the checks, and if they hang,
    their threads are left behind.
    """
    # The waiting of these requests is not the waiting of a check.
    readers = [Subject(each.layer, each.loop) for each in workers]
    began = now()
    least = float("inf")
    for _ in range(_TRIES):
        seconds, all_answered = _once(readers, key, began + patience, now)
        least = min(least, seconds)
        if least <= SLOW or not all_answered:
            break
    return least


def _once(readers: Sequence[Subject], key: str, until: float, now: Callable[[], float]) -> tuple[float, bool]:
    def read(number: int) -> None:
        with contextlib.suppress(Exception):
            readers[number % len(readers)].load(key)

    began = now()
    threads = [
        threading.Thread(target=read, args=(number,), name="conformance-measuring", daemon=True)
        for number in range(_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - now()))
    return (now() - began) / _CLIENTS, not any(thread.is_alive() for thread in threads)
