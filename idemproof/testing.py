"""For tests of programs that use the library: without protection, without a store, at any time, and counted.

All of these are context managers, for any test framework; :mod:`idemproof.pytest_plugin` has them as
fixtures. They take effect on every idempotent function of the process, whenever and with whatever layer it
was decorated, and end with the block.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .backends.memory import InMemoryPersistenceLayer
from .backends.warning import IdempotencyWarning
from .reference.protection import DISABLED
from .reference.testing import MovableClock, Runs, count_runs, use_clock, use_layer

__all__ = ["MovableClock", "Runs", "count_runs", "disabled", "in_memory", "use_clock"]


@contextmanager
def disabled() -> Iterator[None]:
    """Let every call run, unprotected, as ``POWERTOOLS_IDEMPOTENCY_DISABLED`` does, without its warning."""
    before = os.environ.get(DISABLED)
    os.environ[DISABLED] = "true"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Idempotency is switched off", IdempotencyWarning)
            yield
    finally:
        if before is None:
            del os.environ[DISABLED]
        else:
            os.environ[DISABLED] = before


@contextmanager
def in_memory() -> Iterator[InMemoryPersistenceLayer]:
    """Keep all records in memory that is empty at first; what functions were decorated with is not asked.

    Local caches are empty at first, too, and those of before are back afterwards.

    Yields
    ------
    InMemoryPersistenceLayer
        What holds the records; its length is how many there are.
    """
    layer = InMemoryPersistenceLayer()
    with use_layer(layer):
        yield layer
