"""Detect Lambda durable executions, the position of a call in them, and failures after which they resume.

The SDK is never imported: if it is not loaded, there is no durable execution. Its exceptions, and the frames
that run the application's code, are recognized by the names of its modules and classes.
"""

import inspect
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

from ..drivers.blocking import drive
from ..spec.errors import IdempotencyConfigError
from ..spec.record import DURABLE

SDK = "aws_durable_execution_sdk_python"
"""The package. While it is not in ``sys.modules``, no call is in a durable execution."""

_DRIVERS = frozenset(
    {(drive.__module__, "drive"), (drive.__module__.replace("blocking", "asynchronous"), "drive_async")}
)


class Execution:
    """The durable execution that contains a call, and the call's position in it (DUR-2, DUR-3).

    Parameters
    ----------
    name
        The execution's ARN.
    position
        The operation of the SDK that runs the call, the number of protected calls around it, and the number
        of operations that have begun in the context that the call gets.
    state
        The SDK's state of the execution.
    operates
        Whether the call gets a context, so that its body may use operations.
    """

    __slots__ = ("_state", "name", "operates", "position")

    def __init__(self, name: str, position: str, state: Any, *, operates: bool) -> None:
        self.name = name
        self.position = position
        self.operates = operates
        self._state = state

    def owner(self, token: str) -> str:
        """Return the owner token of an attempt in this invocation (DUR-1)."""
        return f"{DURABLE}{self.name}/{self.position}/{token}"

    def goes_on_after(self, failure: BaseException) -> bool:
        """Return whether the execution, and so the body that raised ``failure``, will be resumed (DUR-4)."""
        if isinstance(failure, KeyboardInterrupt | SystemExit):
            return True  # Lambda invokes it again
        if getattr(self._state, "is_checkpoint_token_revoked", False) is True:
            return True  # the end of this invocation is not recorded
        if _is(failure, "BackgroundThreadError"):
            failure = getattr(failure, "source_exception", failure)
            if not _is(failure, "InvocationError"):
                return True
        return _is(failure, "InvocationError") and failure.is_retryable() is True  # type: ignore[attr-defined]


def is_suspension(failure: BaseException) -> bool:
    """Return whether the SDK raised ``failure`` to suspend an execution."""
    return not isinstance(failure, Exception) and _is(failure, "SuspendExecution")


def lambda_context_of(context: Any) -> Any:
    """Return the Lambda context of an invocation, which is an attribute of a durable handler's context."""
    inner = getattr(context, "lambda_context", None)
    return context if inner is None or hasattr(context, "get_remaining_time_in_millis") else inner


def refuse_outside(function: Any) -> None:
    """Raise ``TypeError`` if ``function`` is a durable handler as Lambda calls it.

    At this level, each invocation gets a different event, and returns that the execution is pending.
    """
    seen: list[Any] = []
    while function is not None and function not in seen:
        seen.append(function)
        code_of = getattr(function, "__globals__", {}).get("__name__", "")
        if code_of == f"{SDK}.execution":
            raise TypeError(
                f"{getattr(function, '__qualname__', function)} is a durable handler: protect the function "
                "below @durable_execution, which gets the event of the execution instead of one for each "
                "invocation."
            )
        function = getattr(function, "__wrapped__", None)


def names_durable_context(function: Any) -> bool:
    """Return whether a parameter of ``function`` is annotated as the context of a durable execution."""
    found = getattr(inspect.unwrap(function), "__annotations__", {})
    return any("DurableContext" in str(getattr(each, "__name__", each)) for each in found.values())


def refuse_without_owners(execution: Execution, key: str) -> IdempotencyConfigError:
    """Return the error for a layer that cannot distinguish invocations of an execution (DUR-6)."""
    return IdempotencyConfigError(
        f"The persistence layer of {key!r} keeps no owner tokens, so the durable execution "
        f"{execution.name!r} could not resume its claim. Nothing ran. Use a layer with _load and _swap, "
        "such as any layer of idemproof."
    )


def current(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Execution | None:
    """Return the durable execution that contains a call with these arguments, or None.

    It is found in the frames of this thread, innermost first, because the SDK sets no context variable and
    runs branches in separate threads.
    """
    operations = _operations_before(args, kwargs)
    calls = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if (module, frame.f_code.co_name) in _DRIVERS:
            calls += 1
        elif module.partition(".")[0] == SDK:
            found = _run_by(frame, calls, operations)
            if found is not None:
                return found
        frame = frame.f_back
    return None


def _operations_before(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Return how many operations have begun in the durable context that a call gets; None without a context.

    The body may begin further operations, so the number distinguishes calls of the same key in each replay.
    """
    for value in (*args, *kwargs.values()):
        if any(
            kind.__name__ == "DurableContext" and kind.__module__.partition(".")[0] == SDK
            for kind in type(value).__mro__
        ):
            # The SDK has no public name for it, and sets no other number that each replay repeats.
            counter = getattr(value, "_step_counter", None)
            if counter is None:
                raise IdempotencyConfigError(
                    f"The installed version of {SDK} does not count the operations of a DurableContext, so "
                    "calls in it cannot be distinguished. Nothing ran. Use another version of it."
                )
            begun: int = counter.get_current()
            return begun
    return None


def _run_by(frame: FrameType, calls: int, operations: int | None) -> Execution | None:
    variables = frame.f_locals
    operation = variables.get("self")
    identifier = getattr(operation, "operation_identifier", None)
    state = getattr(operation, "state", None)
    place = getattr(identifier, "operation_id", None)
    if place is None:
        state = variables.get("execution_state")
        place = "handler" if frame.f_code.co_name == "invoke_handler" else None
    name = getattr(state, "durable_execution_arn", None)
    if place is None or not isinstance(name, str):
        return None
    position = f"{place}.{calls}" if operations is None else f"{place}.{calls}.{operations}"
    return Execution(name, position, state, operates=operations is not None)


def _is(failure: BaseException, name: str) -> bool:
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0] == SDK for kind in type(failure).__mro__
    )
