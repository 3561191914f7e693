"""The state of one attempt of a call to an idempotent function."""

import inspect
import sys
from collections.abc import Callable
from os import getpid
from types import AsyncGeneratorType
from typing import Any

from ..drivers.interrupts import raise_interrupt
from ..spec.commands import RunBody
from ..spec.events import Event, Outcome, Replay
from ..spec.record import Record, execution_of
from ..spec.transition import Next
from .durable import Execution, is_suspension
from .functions import is_wrapper, wraps_code
from .not_done import NOT_DONE
from .observers import Report
from .waiter import Waiter

PLAIN = frozenset({dict, list, str, int, float, bool, tuple, type(None)})
"""Types of results that are not coroutines or generators."""


class Attempt(RunBody):
    """The body to run, and the progress of the attempt.

    Its progress begins as the class says, so that a call only pays for what it comes to.

    Parameters
    ----------
    key, payload_hash
        Identify the operation and its payload.
    owner
        The attempt's owner token.
    context
        The AWS Lambda context of the call, or None.
    execution
        The durable execution that contains the call, or None.
    report
        What the call reports by, if it is observed.
    """

    resumed = False
    """Whether an earlier invocation of the execution may have begun the body."""

    asks = False
    """Whether the body must not begin before on_takeover has answered that nothing was done (TAKE-3)."""

    never_ran = False
    """Whether its failure is that of a body that has not run (ENG-14)."""

    held: Record | None = None
    """The claim that the store may hold for this attempt: set before the claim is sent."""

    replaced: Record
    """The claim of another attempt that its own replaces, once that is sent."""

    engine: Any
    """The engine that makes the attempt, once the claim is granted."""

    process = 0
    """The process that runs the body, once the claim is granted."""

    renewal: Any = None
    """What renews its claim, or None."""

    completing: Any = ()
    """What it has completed within a transaction, or tried to; the first counts. A list from the claim on."""

    decide: Callable[[Record | None, Event, int], Next] | None = None
    """What also notes the row of the table that decides, if the call is observed."""

    text: str | None = None
    """The text of the result, the same for all tries to store it."""

    expiry: int | None = None
    """The expiry of the result, the same for all tries to store it."""

    until = 0
    """Until when a completion may be retried (epoch milliseconds)."""

    waited_ms = 0
    """How long the tries of a completion have waited so far."""

    trouble: Exception | None = None
    """The last error of a completion."""

    settled = False
    """Whether only the answer to the caller is left to do."""

    outcome: Outcome | None = None
    """What the result is answered with, once it is settled."""

    waiter: Waiter | None = None
    """How far the call has waited for another attempt; None until it waits or may have to."""

    def __init__(
        self,
        key: str,
        payload_hash: str | None,
        owner: str,
        context: Any,
        execution: Execution | None = None,
        report: Report | None = None,
    ) -> None:
        self.key = key
        self.payload_hash = payload_hash
        self.owner = owner if execution is None else execution.owner(owner)
        self.context = context
        self.execution = execution
        self.report = report
        if report is not None:
            self.decide = report.begun_by(self.owner)

    def goes_on_after(self, failure: BaseException) -> bool:
        """Return whether the body keeps its claim, because it will be resumed or goes on elsewhere.

        A durable execution resumes it (DUR-4). In a process that the body has forked, ``failure`` is the end
        of a copy (ENG-16).
        """
        if is_suspension(failure) or self.process != getpid():
            return True
        return self.execution is not None and self.execution.goes_on_after(failure)

    def replays_itself(self, outcome: Outcome) -> bool:
        """Return whether the execution finds its own result (DUR-7).

        Then the body has to run again, because later code of the execution expects the operations after those
        of the body. The SDK answers these operations from its history.
        """
        return (
            self.execution is not None
            and self.execution.operates
            and isinstance(outcome, Replay)
            and execution_of(outcome.record.owner) == execution_of(self.owner)
        )

    @property
    def completion(self) -> Any:
        """What it has completed within a transaction, or tried to; None for nothing."""
        return self.completing[0] if self.completing else None

    @property
    def ran(self) -> bool:
        """Whether the body has ended. A question that has ended is none."""
        return (self.returned or self.failure is not None) and not self.asks

    @property
    def has_result(self) -> bool:
        """Whether there is a result to store: of the body, or as the answer to the question."""
        return self.returned and not (self.asks and self.result is NOT_DONE)

    def note_interrupt(self, interrupt: BaseException) -> None:
        """Store the first interrupt of the call."""
        if self.interrupt is None:
            self.interrupt = interrupt

    def refuse_what_has_not_run(self, function: Callable[..., Any] | None) -> None:
        """Set a failure if the body returned a coroutine or generator that has not begun (ENG-14)."""
        result: Any = self.result
        if function is None or not is_wrapper(function):
            return
        for kind in ("cr", "gi", "ag"):  # a tracer's wrapper may only have the attributes of a coroutine
            code = getattr(result, f"{kind}_code", None)
            if code is not None:
                if not wraps_code(function, code) or _has_begun(result, kind):
                    return
                break
        else:
            return
        self.never_ran = True
        self.failure = TypeError(
            f"The function for {self.key!r} returned a {type(result).__name__}, which has not run. The key "
            "is released. Protect the async function itself, below its other decorators, or the function "
            "that consumes the generator."
        )
        if not isinstance(result, AsyncGeneratorType):
            try:
                result.close()  # or Python would warn that it was never awaited
            except Exception as error:  # noqa: BLE001 - its result is already discarded
                raise_interrupt(error)


def _has_begun(result: Any, kind: str) -> bool:
    """Return whether a coroutine or generator was started, or may have been."""
    frame = getattr(result, f"{kind}_frame", None)
    if frame is None:
        return True
    try:
        state: str = _STATE_OF[kind](result)
    except (AttributeError, KeyError):
        # Objects with only the attributes, and async generators of Python 3.11: before the start, they are at
        # their first line, unless the whole function is on it.
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
    """Append ``earlier`` to the end of ``error``'s chain, unless the chains share an error."""
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
