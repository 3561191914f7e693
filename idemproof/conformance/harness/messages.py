"""Messages between the processes of a stress test."""

from typing import NamedTuple

from ...spec.record import Record
from .stress import Plan


class FactoryLocation(NamedTuple):
    """The location of a factory, for a new process.

    Parameters
    ----------
    pickled
        The pickled factory: a function by its name, an object by its class and state.
    files
        The source file of each module that ``pickled`` names, for modules that are not on ``paths``.
    paths
        The module search path.
    """

    pickled: bytes
    files: dict[str, str | None]
    paths: tuple[str, ...]


class Start(NamedTuple):
    """The first order to a new process. The reply is :class:`Up` or :class:`Failed`."""

    location: FactoryLocation
    now: int
    movable_clock: bool


class Up(NamedTuple):
    """The layer exists; ``timer`` is the reading of the shared timer, in nanoseconds."""

    timer: int


class Failed(NamedTuple):
    """A process could not carry out an order; ``why`` is the reason."""

    why: str


class Join(NamedTuple):
    """Take part in a round with clients of these names. The replies are "ready", and later the round."""

    plan: Plan
    clients: tuple[str, ...]


class Go(NamedTuple):
    """Begin when the shared timer reads ``at`` nanoseconds."""

    at: int


class Look(NamedTuple):
    """Read the stored record of a key. The reply is :class:`Seen`."""

    key: str


class Seen(NamedTuple):
    """The stored record, or None."""

    record: Record | None


class Write(NamedTuple):
    """Put claims, and complete or delete some. Each step replies :class:`Acknowledged`, the end "written"."""

    claims: tuple[Record, ...]


class Acknowledged(NamedTuple):
    """The layer has acknowledged that ``record`` is now stored for ``key``; None means no record."""

    key: str
    record: Record | None
