"""The messages between ``idemproof check`` and the process that judges for it: one line of JSON each."""

import json
from typing import Any, NamedTuple

from idemproof.conformance.suite.capabilities import Capabilities
from idemproof.conformance.suite.run_log import RunEvent, as_plain, from_plain


class Job(NamedTuple):
    """The order to the process that judges.

    Parameters
    ----------
    target, is_command
        What to judge: ``module:factory``, or a command that is a layer.
    profile, seed, capabilities, tiers
        How to judge it.
    scratch
        A folder for files that need not stay.
    farewell
        The exit code of a process that ends by itself after the last check. A layer cannot guess it.
    began
        When the command began, by its ``time.perf_counter``.
    """

    target: str
    is_command: bool
    profile: str
    seed: int
    capabilities: dict[str, Any]
    tiers: tuple[str, ...]
    scratch: str
    farewell: int
    began: float

    def claims(self) -> Capabilities:
        """Return what the layer claims."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.capabilities.items()
        }
        return Capabilities(**values)


class Imported(NamedTuple):
    """The module is imported, and the factory found."""


class Refused(NamedTuple):
    """There is nothing to judge; ``why`` is a sentence."""

    why: str


class Blocked(NamedTuple):
    """The factory hangs; ``why`` is a sentence."""

    why: str


class Interrupted(NamedTuple):
    """The process was interrupted before the first check."""


class Busy(NamedTuple):
    """The process is alive.

    Parameters
    ----------
    seconds
        For how long one call of the user's code has been running in a thread of the suite.
    where
        Where that is, or None.
    """

    seconds: float
    where: str | None


class Leaving(NamedTuple):
    """The process ends now, unless these threads keep it, which are not daemons."""

    threads: list[str]


Message = RunEvent | Imported | Refused | Blocked | Interrupted | Busy | Leaving

_OWN: dict[str, Any] = {
    each.__name__: each for each in (Imported, Refused, Blocked, Interrupted, Busy, Leaving)
}
_ENCODE = json.JSONEncoder(default=lambda value: f"a {type(value).__name__}").encode
"""Made before the user's module is imported, which may change the module json."""


def line_of(message: Message) -> bytes:
    """Return a message as a line."""
    return _ENCODE(as_plain(message)).encode() + b"\n"


def message_of(line: bytes) -> Message:
    """Return the message that :func:`line_of` has written."""
    kind, fields = plain = json.loads(line)
    own: Message | None = _OWN[kind](*fields) if kind in _OWN else None
    return from_plain(plain) if own is None else own
