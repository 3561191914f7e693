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


class Wait(NamedTuple):
    """Wait until the record of ``key`` may differ from ``seen``, and for so many milliseconds at most.

    The answer is True if the layer has signalled a change before the time was over.
    """

    key: str
    seen: Record
    milliseconds: int


class Emit(NamedTuple):
    """Pass ``occurrence`` to all observers. The driver throws only interrupts back, no other failure."""

    occurrence: Occurrence


class StartRenewal(NamedTuple):
    """Perform the steps of ``renewal`` while the body runs, until :class:`StopRenewal`.

    ``renewal`` has ``steps``, which yield commands, and ``beat``, where a driver keeps what it needs.
    """

    renewal: Any


class StopRenewal(NamedTuple):
    """Stop ``renewal``: wait for a request in flight, at most so many milliseconds."""

    renewal: Any
    milliseconds: int


class AskWithin(NamedTuple):
    """Perform ``exchange`` in a transaction of the application, whose connection ``client`` adapts.

    The answer is what the exchange returns.
    """

    client: Any
    exchange: Any


class CancelBody(NamedTuple):
    """Cancel the body whose lease is renewed, if the driver can."""


class RunBody:
    """Run the body. The driver stores here how it ended, before anything else can fail.

    ``interrupt`` arrived while the call could not be stopped: the protocol raises it at the end. ``layer`` is
    the layer of the call from when its body begins, and ``loop`` its event loop, if it is an async call under
    asyncio. ``asked`` is what to call instead of the body, with its arguments: the question of a takeover.
    """

    returned = False
    result: Any = None
    failure: BaseException | None = None
    interrupt: BaseException | None = None
    asked: Callable[..., Any] | None = None
    layer: Any
    loop: Any = None


Command = (
    Load
    | Swap
    | CallMethod
    | Sleep
    | Wait
    | Emit
    | RunBody
    | StartRenewal
    | StopRenewal
    | CancelBody
    | AskWithin
)

Steps = Generator[Command, Any, Any]
"""Protocol code: yields commands, gets their answers, and returns its result."""
