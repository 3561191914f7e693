"""Warnings about keys: at the line that made the call, or in the log."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ...backends.warning import IdempotencyWarning
from ..prefixes import SERVICE, in_lambda

_logger = logging.getLogger("idemproof")
_PACKAGE = __name__.partition(".")[0]

_said: set[str] = set()
_private_stores: list[None] = []


@contextmanager
def private_store() -> Iterator[None]:
    """Take the store for one that no other process sees, as tests put in its place."""
    _private_stores.append(None)
    try:
        yield
    finally:
        _private_stores.pop()


def warn(message: str) -> None:
    """Warn, and blame the line that made the call, however deep inside the library this is."""
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
        level += 1
    warnings.warn(message, IdempotencyWarning, stacklevel=level)


def warn_of_no_service() -> None:
    """Log, once in a process, that another service that shares the store may derive the same keys."""
    if SERVICE in _said or _private_stores or in_lambda():
        return
    _said.add(SERVICE)
    # Logged, not raised where warnings are errors: what worked without a name goes on working.
    _logger.warning(
        "This service has no name, so its keys begin with 'test-func': another service that has a function "
        "of the same module and name, on the same store, shares them. Set %s, or service= of the "
        "configuration. Either changes the keys: results that are stored under the old ones are not found. "
        "Said once.",
        SERVICE,
    )
