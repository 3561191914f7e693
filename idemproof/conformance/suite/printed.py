"""Keeps what a layer prints, and the engine's warnings, off the terminal."""

import contextlib
import io
import logging
from collections.abc import Iterator


class Printed(io.StringIO):
    """What a layer prints. A layer that closes its stdout does not lose it."""

    def close(self) -> None:
        """Do nothing."""


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep the engine's warnings off the terminal: they are about calls that a check makes fail."""
    logger = logging.getLogger("idemproof")
    usual, handler = logger.propagate, logging.NullHandler()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = usual
        logger.removeHandler(handler)
