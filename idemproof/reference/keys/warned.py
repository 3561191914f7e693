"""Emit warnings about keys: at the line of the call, or in the log."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ...backends.warning import IdempotencyWarning
from ..prefixes import SERVICE, in_lambda

_logger = logging.getLogger("idemproof")
_PACKAGE = __name__.partition(".")[0]

_warned_about: set[str] = set()
_private_stores: list[None] = []


@contextmanager
def private_store() -> Iterator[None]:
    """Suppress the warning about a missing service name, for stores of one process, as in tests."""
    _private_stores.append(None)
    try:
        yield
    finally:
        _private_stores.pop()


def warn(message: str) -> None:
    """Emit a warning at the line of the call, at any depth inside the library."""
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
        level += 1
    warnings.warn(message, IdempotencyWarning, stacklevel=level)


def warn_of_no_service() -> None:
    """Log once for each process that another service on the same store may derive the same keys."""
    if SERVICE in _warned_about or _private_stores or in_lambda():
        return
    _warned_about.add(SERVICE)
    # Logged, not a warning: where warnings are errors, it would break programs without a service name.
    _logger.warning(
        "This service has no name, so its keys begin with 'test-func': another service with a function of "
        "the same module and name shares these keys if it uses the same store. Set %s, or service= in the "
        "configuration. Either changes the keys: results that are stored under the old keys are not found. "
        "This is logged once.",
        SERVICE,
    )
