"""What one call of an idempotent function knows about itself."""

import inspect
import sys
from collections.abc import Callable
from types import AsyncGeneratorType
from typing import Any

from ..drivers.interrupts import raise_interrupt
from ..spec.commands import Call
from ..spec.events import Outcome, Replay
from ..spec.record import Record, execution_of
from .durable import Execution, is_suspension
from .functions import is_wrapper, wraps_code

PLAIN = frozenset({dict, list, str, int, float, bool, tuple, type(None)})
"""Types of results that have surely run."""


class Attempt(Call):
    """The body to run, and how far its call has come.

    Parameters
    ----------
    key, payload_hash
        Name the operation and its payload.
    owner
        The attempt's token.
    context
        The AWS Lambda context of the call, or None.
    execution
        The durable execution in which it is made, or None.
    """

    __slots__ = (
        "context",
        "execution",
        "expiry",
        "held",
        "key",
        "owner",
        "payload_hash",
        "resumed",
        "settled",
        "text",
        "trouble",
        "until",
        "waited_ms",
    )

    def __init__(
        self,
        key: str,
        payload_hash: str | None,
        owner: str,
        context: Any,
        execution: Execution | None = None,
    ) -> None:
        # As Call does, without the detour.
        self.returned = False
        self.failure = None
        self.interrupt = None
        self.key = key
        self.payload_hash = payload_hash
        self.owner = owner if execution is None else execution.owner(owner)
        self.context = context
        self.execution = execution
        # Whether an earlier invocation of the execution may have begun the body.
        self.resumed = False
        # The claim that may stand under its name: set before the claim is sent.
        self.held: Record | None = None
        # The text and the expiry of the result, the same for all tries to store it.
        self.text: str | None = None
        self.expiry: int | None = None
        # Until when (epoch milliseconds) a completion may be tried again; how long it has waited, and why.
        self.until = self.waited_ms = 0
        self.trouble: Exception | None = None
        # Whether nothing is left to do but to answer.
        self.settled = False

    def goes_on_after(self, failure: BaseException) -> bool:
        """Return whether the body that raised ``failure`` will be resumed and keeps its claim (DUR-4)."""
        if is_suspension(failure):
            return True
        return self.execution is not None and self.execution.goes_on_after(failure)

    def replays_itself(self, outcome: Outcome) -> bool:
        """Return whether the execution meets its own result (DUR-7).

        Then the body has to run again: what follows takes the operations that come after its own, and these
        are answered by the SDK.
        """
        return (
            self.execution is not None
            and self.execution.operates
            and isinstance(outcome, Replay)
            and execution_of(outcome.record.owner) == execution_of(self.owner)
        )

    def note_interrupt(self, interrupt: BaseException) -> None:
        """Remember what wants to stop the call, if it is the first."""
        if self.interrupt is None:
            self.interrupt = interrupt

    def refuse_what_has_not_run(self, function: Callable[..., Any] | None) -> None:
        """Make a failure of it if the body returned what it only hands on and has not begun (ENG-14)."""
        result: Any = self.result
        if function is None or not is_wrapper(function):
            return
        for kind in ("cr", "gi", "ag"):  # a tracer's own coroutine may only look like one
            code = getattr(result, f"{kind}_code", None)
            if code is not None:
                if not wraps_code(function, code) or _has_begun(result, kind):
                    return
                break
        else:
            return
        self.failure = TypeError(
            f"The function for {self.key!r} returned a {type(result).__name__}, which has not run: its key "
            "is free again. Protect the async function itself, below its other decorators, or the function "
            "that consumes the generator."
        )
        if not isinstance(result, AsyncGeneratorType):
            try:
                result.close()  # or Python would warn that nobody awaited it
            except Exception as error:  # noqa: BLE001 - what it raises is nobody's any more
                raise_interrupt(error)


def _has_begun(result: Any, kind: str) -> bool:
    """Return whether a coroutine or generator was started, or may have been: then it is not repeated."""
    frame = getattr(result, f"{kind}_frame", None)
    if frame is None:
        return True
    try:
        state: str = _STATE_OF[kind](result)
    except (AttributeError, KeyError):
        # What only looks like one, and async generators of Python 3.11: they wait in their first line, unless
        # all of the function is in it.
        code = frame.f_code
        lines = {line for _, _, line in code.co_lines()}
        return frame.f_lineno != code.co_firstlineno or len(lines) == 1
    return state not in (inspect.CORO_CREATED, inspect.GEN_CREATED, "AGEN_CREATED")


_STATE_OF: dict[str, Callable[[Any], str]] = {
    "cr": inspect.getcoroutinestate,
    "gi": inspect.getgeneratorstate,
}
if sys.version_info >= (3, 12):
    _STATE_OF["ag"] = inspect.getasyncgenstate


def append_context(error: BaseException, earlier: BaseException) -> None:
    """Put ``earlier`` at the far end of ``error``'s chain, unless they share a part of it."""
    known = {id(link) for link in _chain(earlier)}
    links = _chain(error)
    if not any(id(link) in known for link in links):
        links[-1].__context__ = earlier


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and all(following is not link for link in links):
        links.append(following)
        following = following.__cause__ or following.__context__
    return links
