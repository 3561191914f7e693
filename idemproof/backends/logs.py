"""Logging that cannot change a call: errors of filters and handlers are printed, as logging does."""

import logging
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..drivers.interrupts import Interrupts, any_interrupts

logger = logging.getLogger("idemproof")


def log(
    level: int,
    message: str,
    *args: Any,
    extra: Mapping[str, Any] | None = None,
    exc_info: BaseException | None = None,
    interrupts: Interrupts | None = None,
) -> None:
    """Log a message. Raise an interrupt that arrives while logging, but no other exception.

    Parameters
    ----------
    level, message, args, extra, exc_info
        As for a logger.
    interrupts
        Recognizes interrupts; None for all that any configuration declares.
    """
    if not logger.isEnabledFor(level):
        return
    try:
        logger.log(level, message, *args, extra=extra, exc_info=exc_info)
    except Exception as error:  # noqa: BLE001 - handled below, outside of this handler
        failure = error
    else:
        return
    interrupt = (interrupts or any_interrupts()).behind(failure)
    if interrupt is not None:
        raise interrupt
    if logging.raiseExceptions and sys.stderr is not None:
        with suppress(OSError, ValueError, RecursionError):  # as logging does, if it cannot be printed
            traceback.print_exception(failure)
