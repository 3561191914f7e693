"""What kinds of function can be protected, and where their payload is among the arguments."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calling ``function`` gives a coroutine: plain, partial, method or callable object."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(_called(function))


def refuse_unprotectable(function: Any) -> None:
    """Raise ``TypeError`` for what has no single result, or is no function."""
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"Only functions can be made idempotent, not {function!r}.")
    task = function
    while isinstance(task, functools.partial):
        task = task.func
    # Of the class that it gives: a task may be made on first use, and a mock has every attribute.
    if callable(getattr(task.__class__, "apply_async", None)):
        raise TypeError(
            f"{name_of(function)} is a task of a queue: what apply_async() and delay() send would run "
            "unprotected. Protect the function itself, and make that the task: put @app.task above "
            "@idempotent_function."
        )
    for candidate in (function, _called(function)):
        if inspect.isgeneratorfunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise TypeError(
                f"{name_of(function)} is a generator: it has no single result to replay. "
                "Return a list, or protect the function that consumes it."
            )


def hidden_code(function: Any) -> CodeType | None:
    """Return the code of the async or generator function that a plain wrapper passes off as its own."""
    inner = inspect.unwrap(function)
    if inner is function:
        return None
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    return inner.__code__ if any(kind(inner) for kind in kinds) else None


def name_of(function: Any) -> str:
    """Return a name for messages."""
    return str(getattr(function, "__qualname__", None) or repr(function))


class Argument:
    """Finds one parameter's value in a call: by keyword, by position, or its default.

    Positions are those of the function that is called. A wrapper that passes ``*args`` on may put something
    before them, so behind it a parameter is found by keyword only.

    Parameters
    ----------
    function
        The function that is called.
    name
        The parameter's name.
    position
        Where callers put it, if the function does not name it.

    Raises
    ------
    TypeError
        The function has no such parameter.
    """

    __slots__ = ("_default", "_function", "_index", "_keyword", "_name")

    def __init__(self, function: Callable[..., Any], name: str, position: int | None = None) -> None:
        self._function = name_of(function)
        self._name = name
        self._index = position
        self._keyword = True
        self._default: Any = inspect.Parameter.empty
        own = _parameters(function, follow_wrapped=False)
        found = own.get(name)
        if found is None or found.kind in (found.VAR_POSITIONAL, found.VAR_KEYWORD):
            wrapped = _parameters(function)
            if not _takes_any(own) or not (name in wrapped or _takes_any(wrapped)):
                raise TypeError(
                    f"{self._function} has no parameter {name!r}: the idempotency key cannot be derived from "
                    f"it. Its parameters are: {', '.join(wrapped) or 'none'}."
                )
            return
        self._default = found.default
        # Beside a positional-only parameter, **kwargs may hold another value of the same name.
        self._keyword = found.kind is not found.POSITIONAL_ONLY
        if found.kind is not found.KEYWORD_ONLY:
            self._index = list(own).index(name)

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return the value in this call.

        Raises
        ------
        TypeError
            The call does not give it. Nothing ran.
        """
        if self._keyword and self._name in kwargs:
            return kwargs[self._name]
        if self._index is not None and len(args) > self._index:
            return args[self._index]
        if self._default is not inspect.Parameter.empty:
            return self._default
        raise TypeError(
            f"{self._function}() was called without {self._name!r}, which its protection needs, or through a "
            f"wrapper that does not name it: pass it by keyword. Nothing ran."
        )


def handler_arguments(function: Callable[..., Any]) -> tuple[Argument, Argument | None]:
    """Return where a Lambda handler finds its event and its context.

    The event is the parameter of that name, else the first one besides ``self`` and ``cls``; the context is
    the one that follows, if any. A wrapper that takes only ``*args`` is called with (event, context).

    Raises
    ------
    TypeError
        The function takes no event.
    """
    own = _parameters(function, follow_wrapped=False)
    names = _positional(own)
    only_any = not names and any(parameter.kind is parameter.VAR_POSITIONAL for parameter in own.values())
    bound = 0
    if only_any:
        wrapped = _parameters(function)
        names = _positional(wrapped)
        bound = int(next(iter(wrapped), "") in ("self", "cls"))
    if not names:
        raise TypeError(
            f"{name_of(function)} takes no event: a Lambda handler is called with (event, context)."
        )
    start = names.index("event") if "event" in names else 0
    found = [
        Argument(function, name, place + bound if only_any else None)
        for place, name in enumerate(names[start : start + 2])
    ]
    return found[0], found[1] if len(found) > 1 else None


def _positional(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        parameter.name
        for parameter in parameters.values()
        if parameter.kind in kinds and parameter.name not in ("self", "cls")
    ]


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _parameters(
    function: Callable[..., Any], *, follow_wrapped: bool = True
) -> Mapping[str, inspect.Parameter]:
    try:
        if sys.version_info >= (3, 14):
            import annotationlib  # noqa: PLC0415 - new in 3.14

            # Annotations may name what is defined later, or for type checkers only.
            return inspect.signature(
                function,
                follow_wrapped=follow_wrapped,
                annotation_format=annotationlib.Format.FORWARDREF,
            ).parameters
        return inspect.signature(function, follow_wrapped=follow_wrapped).parameters
    except ValueError as error:
        raise TypeError(
            f"{name_of(function)} does not tell its parameters, so the idempotency key cannot be derived "
            "from one. Wrap it in a function."
        ) from error


def _called(function: Any) -> Any:
    """Return what runs when a partial or a callable object is called."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else getattr(type(function), "__call__", None)  # noqa: B004 - its kind matters, not its existence
