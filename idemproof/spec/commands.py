"""The commands of protocol code. Generators yield them; drivers perform them."""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from .occurrences import Occurrence
from .record import Record


class Load(NamedTuple):
    """Read the record of ``key``. The answer is the record, or None."""

    key: str


class Swap(NamedTuple):
    """Replace ``expected`` by ``new``. The answer is the record that is stored afterwards, or None.

    ``ttl_ms`` is how long the store must keep ``new``, in milliseconds; 0 if ``new`` is None.
    """

    key: str
    expected: Record | None
    new: Record | None
    ttl_ms: int


class CallMethod(NamedTuple):
    """Call one of the four methods of Powertools' layers. The answer is what it returns."""

    method: str
    argument: Any


class Sleep(NamedTuple):
    """Wait for so many milliseconds."""

    milliseconds: int


class Emit(NamedTuple):
    """Pass ``occurrence`` to all observers. The driver throws only interrupts back, no other failure."""

    occurrence: Occurrence


class RunBody:
    """Run the body. The driver stores here how it ended, before anything else can fail.

    ``interrupt`` arrived while the call could not be stopped: the protocol raises it at the end.
    ``asked`` is what to call instead of the body, with its arguments: the question of a takeover.
    """

    __slots__ = ("asked", "failure", "interrupt", "result", "returned")

    def __init__(self) -> None:
        self.returned = False
        self.result: Any = None
        self.failure: BaseException | None = None
        self.interrupt: BaseException | None = None
        self.asked: Callable[..., Any] | None = None


Command = Load | Swap | CallMethod | Sleep | Emit | RunBody

Steps = Generator[Command, Any, Any]
"""Protocol code: yields commands, gets their answers, and returns its result."""
