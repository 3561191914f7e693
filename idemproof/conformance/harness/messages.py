"""What processes of one crowd tell each other."""

from typing import NamedTuple

from ...spec.record import Record
from .stress import Plan


class Place(NamedTuple):
    """Where a new process finds the factory.

    Parameters
    ----------
    pickled
        The factory, as pickle writes it: a function by its name, an object by what it is made of.
    files
        The source of each module that this names, for modules that no path leads to.
    paths
        Where modules are looked for.
    """

    pickled: bytes
    files: dict[str, str | None]
    paths: tuple[str, ...]


class Start(NamedTuple):
    """What a new process is told first: answered with :class:`Up`, or :class:`Failed`."""

    place: Place
    now: int
    movable_clock: bool


class Up(NamedTuple):
    """The layer is made; the timer reads so many nanoseconds."""

    timer: int


class Failed(NamedTuple):
    """A process cannot do what it was told; ``why`` says so in words."""

    why: str


class Join(NamedTuple):
    """Take part in a round, with clients of these names: answered with "ready", later with the round."""

    plan: Plan
    clients: tuple[str, ...]


class Go(NamedTuple):
    """Begin when the timer that all processes share reads so many nanoseconds."""

    at: int


class Look(NamedTuple):
    """Say what stands for a key, as :class:`Seen`."""

    key: str


class Seen(NamedTuple):
    """What stands."""

    record: Record | None


class Write(NamedTuple):
    """Put claims, and complete or delete some: answered with each :class:`Acknowledged`, then "written"."""

    claims: tuple[Record, ...]


class Acknowledged(NamedTuple):
    """The layer has said that for ``key`` there is now ``record``."""

    key: str
    record: Record | None
