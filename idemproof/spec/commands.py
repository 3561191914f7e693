"""What protocol code asks of the world. Generators yield these; drivers perform them."""

from typing import Any, NamedTuple

from .occurrences import Occurrence
from .record import Record


class Load(NamedTuple):
    """Read what stands for ``key``; answered with the record or None."""

    key: str


class Swap(NamedTuple):
    """Put ``new`` where ``expected`` stands; answered with what stands afterwards.

    ``keep_ms`` is how many milliseconds the store must keep ``new``; 0 when ``new`` is None.
    """

    key: str
    expected: Record | None
    new: Record | None
    keep_ms: int


class Invoke(NamedTuple):
    """Call one of the four documented methods; answered with what it returns."""

    method: str
    argument: Any


class Sleep(NamedTuple):
    """Wait for so many milliseconds."""

    milliseconds: int


class Emit(NamedTuple):
    """Hand ``occurrence`` to all observers. The driver throws an interrupt back, and no other failure."""

    occurrence: Occurrence


class Call:
    """Run the body. The driver notes here how it went, before anything else can go wrong.

    ``interrupt`` is what came while the call could not be stopped: the protocol raises it at its end.
    """

    __slots__ = ("failure", "interrupt", "result", "returned")

    def __init__(self) -> None:
        self.returned = False
        self.result: Any = None
        self.failure: BaseException | None = None
        self.interrupt: BaseException | None = None


Command = Load | Swap | Invoke | Sleep | Emit | Call
