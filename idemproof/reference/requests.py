"""Times the requests of a call to the store, and its waits, for observers that want them."""

from collections.abc import Callable
from time import perf_counter_ns, time_ns
from typing import Any, Literal, NamedTuple

from ..spec.commands import Load, Sleep, Steps, Swap, Wait
from ..spec.record import INPROGRESS, Record, deadline_ms


class StoreRequest(NamedTuple):
    """A request to the store, or a wait between two requests, that has ended.

    Parameters
    ----------
    kind
        What was requested; or ``"wait"``.
    key
        The idempotency key.
    owner
        The token of the attempt, if the request names it.
    function
        The qualified name of the function, with its module; None for an operator's act.
    began_ns
        When it began, by the system's clock (epoch nanoseconds).
    duration_ns
        How long it took, by a monotonic clock (nanoseconds).
    error
        What the store raised, or None.
    """

    kind: Literal["claim", "renew", "complete", "delete", "abandon", "load", "wait"]
    key: str | None
    owner: str | None
    function: str | None
    began_ns: int
    duration_ns: int
    error: BaseException | None = None


_TIMED = (Swap, Load, Sleep, Wait)


def timed(steps: Steps, hand: Callable[[StoreRequest], None], function: str | None) -> Steps:
    """Perform ``steps``, and report each request and each wait.

    An interrupt that strikes here is thrown into the steps, as a driver does.
    """
    reply: Any = None
    error: BaseException | None = None
    while True:
        try:
            command = steps.send(reply) if error is None else steps.throw(error)
            reply = error = None
            if not isinstance(command, _TIMED):
                try:
                    reply = yield command
                except GeneratorExit:
                    steps.close()
                    raise
                continue
            began_ns, began = time_ns(), perf_counter_ns()
            failure: BaseException | None = None
            try:
                reply = yield command
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as raised:  # noqa: BLE001 - thrown into the steps
                failure = error = raised
            took = perf_counter_ns() - began
            hand(StoreRequest(*_named(command), function, began_ns, took, failure))
        except StopIteration as done:
            return done.value
        except BaseException as interrupt:
            if getattr(steps, "gi_frame", None) is None:
                error = None  # its traceback refers to this frame
                raise
            error = interrupt


def _named(command: Swap | Load | Sleep | Wait) -> tuple[Any, str | None, str | None]:
    """Return the kind of a request, its key and its owner."""
    if not isinstance(command, Swap):
        return ("load", command.key, None) if isinstance(command, Load) else ("wait", None, None)
    key, expected, new, _ = command
    if new is None:
        return "delete", key, None if expected is None else expected.owner
    if new.status != INPROGRESS:
        return "complete", key, new.owner
    return _of_claim(expected, new), key, new.owner


def _of_claim(expected: Record | None, new: Record) -> str:
    if expected is None or expected.status != INPROGRESS or expected.owner != new.owner:
        return "claim"
    return "abandon" if deadline_ms(new) < deadline_ms(expected) else "renew"
