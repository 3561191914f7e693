"""Checks the model within the bounds of one configuration."""

import time
from typing import NamedTuple

from .configurations import Configuration
from .module import MODULE, rows_taken, table_module
from .tlc import Result, covered, run

CLIENTS = "IdemproofClients"


class Checked(NamedTuple):
    """What TLC found within the bounds of one configuration.

    Parameters
    ----------
    configuration
        The bounds.
    result
        TLC's result.
    rows
        How often each row of the table has decided, if that was counted.
    seconds
        How long it took.
    """

    configuration: Configuration
    result: Result
    rows: dict[str, int]
    seconds: float


def check(configuration: Configuration, *, workers: int = 2, counts_rows: bool = True) -> Checked:
    """Let TLC visit every state within the bounds of ``configuration``.

    Parameters
    ----------
    configuration
        The bounds.
    workers
        The number of threads.
    counts_rows
        Whether to count how often each row decides, which takes three times as long.
    """
    text = table_module()
    began = time.monotonic()
    result = run(
        CLIENTS,
        {MODULE: text},
        configuration.text(),
        workers=workers,
        brief=not configuration.nightly and not counts_rows,
        options=["-coverage", "60"] if counts_rows else [],
    )
    rows = rows_taken(text, covered(result.output, MODULE)) if counts_rows else {}
    return Checked(configuration, result, rows, time.monotonic() - began)
