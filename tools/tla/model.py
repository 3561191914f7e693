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
        How often each row of the table has decided.
    seconds
        How long it took.
    """

    configuration: Configuration
    result: Result
    rows: dict[str, int]
    seconds: float


def check(configuration: Configuration, *, workers: int = 2) -> Checked:
    """Let TLC visit every state within the bounds of ``configuration``."""
    text = table_module()
    began = time.monotonic()
    result = run(CLIENTS, {MODULE: text}, configuration.text(), workers=workers, options=["-coverage", "60"])
    rows = rows_taken(text, covered(result.output, MODULE))
    return Checked(configuration, result, rows, time.monotonic() - began)
