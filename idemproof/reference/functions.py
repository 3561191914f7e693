"""Check whether a function can be protected, and find the payload among its arguments."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import CodeType
from typing import Any

from ..spec.errors import IdempotencyArgumentError, IdempotencyConfigError


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether calling a function, partial, method or callable object returns a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(_called(function))


def refuse_unprotectable(function: Any) -> None:
    """Raise ``TypeError`` for an object that is not a function, or has no single result."""
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"Only functions can be made idempotent, not {function!r}.")
    task = function
    while isinstance(task, functools.partial):
        task = task.func
    # Looked up on the class: a task may be created on first use, and a mock has every attribute.
    if callable(getattr(task.__class__, "apply_async", None)):
        raise TypeError(
            f"{name_of(function)} is a task of a queue: calls by apply_async() and delay() would run "
            "unprotected. Protect the function itself, and register it as the task: put @app.task above "
            "@idempotent_function."
        )
    for candidate in (function, _called(function)):
        if inspect.isgeneratorfunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise TypeError(
                f"{name_of(function)} is a generator: it has no single result to replay. "
                "Return a list, or protect the function that consumes it."
            )


def is_wrapper(function: Any) -> bool:
    """Return whether ``function`` declares that it wraps another."""
    return hasattr(function, "__wrapped__")


def wraps_code(function: Any, code: CodeType) -> bool:
    """Return whether ``function`` declares that it wraps the async or generator function of this code."""
    return is_wrapper(function) and getattr(inspect.unwrap(function), "__code__", None) is code


def name_of(function: Any) -> str:
    """Return a name for messages."""
    return str(getattr(function, "__qualname__", None) or repr(function))


def full_name_of(function: Any) -> str:
    """Return the qualified name of a function with its module, also of a partial or a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


class Argument:
    """Finds one parameter's value in a call: by keyword, by position, or its default.

    Positions are those of the called function. A wrapper that passes ``*args`` on may insert arguments before
    them, so parameters of the wrapped function are found by keyword only.

    Parameters
    ----------
    function
        The called function.
    name
        The parameter's name.
    position
        Its position in calls, if the function does not name it.

    Raises
    ------
    IdempotencyArgumentError
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
                raise IdempotencyArgumentError(
                    f"{self._function} has no parameter {name!r}: the idempotency key cannot be derived from "
                    f"it. Its parameters are: {', '.join(wrapped) or 'none'}."
                )
            return
        self._default = found.default
        # If a parameter is positional-only, **kwargs may hold another value of the same name.
        self._keyword = found.kind is not found.POSITIONAL_ONLY
        if found.kind is not found.KEYWORD_ONLY:
            self._index = list(own).index(name)

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return the value in this call.

        Raises
        ------
        IdempotencyArgumentError
            The call does not pass it. Nothing ran.
        """
        if self._keyword and self._name in kwargs:
            return kwargs[self._name]
        if self._index is not None and len(args) > self._index:
            return args[self._index]
        if self._default is not inspect.Parameter.empty:
            return self._default
        raise IdempotencyArgumentError(
            f"{self._function}() was called without {self._name!r}, which its protection needs, or "
            "through a wrapper that does not name it. Nothing ran. Pass it by keyword."
        )


class Arguments:
    """Finds the values of several parameters in a call, as a dict by their names.

    Parameters
    ----------
    function
        The called function.
    names
        The parameters' names.

    Raises
    ------
    IdempotencyConfigError
        The names are invalid or not unique.
    TypeError
        The function has no such parameter.
    """

    __slots__ = ("_arguments",)

    def __init__(self, function: Callable[..., Any], names: Sequence[str]) -> None:
        self._arguments = {name: Argument(function, name) for name in names}

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values in this call.

        Raises
        ------
        TypeError
            The call does not pass one of them. Nothing ran.
        """
        return {name: argument.of(args, kwargs) for name, argument in self._arguments.items()}


def argument_of(function: Callable[..., Any], names: Any) -> Argument | Arguments:
    """Return the finder for the payload that ``data_keyword_argument`` names.

    Raises
    ------
    IdempotencyConfigError
        It is neither a name nor a list or tuple of different names.
    TypeError
        The function has no such parameter.
    """
    if isinstance(names, str):
        return Argument(function, names)
    if (
        not isinstance(names, list | tuple)
        or not names
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) < len(names)
    ):
        raise IdempotencyConfigError(
            "data_keyword_argument must be the name of a parameter, or a list or tuple of different names, "
            f"not {names!r}."
        )
    return Arguments(function, names)


class _HandlerArgument(Argument):
    """An argument of a Lambda handler: found under the handler's own name for it, Lambda's, or by position.

    Parameters
    ----------
    function
        The handler.
    called
        Its name in Lambda's documentation.
    found
        The handler's parameter, or None if the handler only takes ``*args``.
    position
        Its position if the handler only takes ``*args``.
    """

    __slots__ = ("called",)

    def __init__(
        self, function: Callable[..., Any], called: str, found: Argument | None, position: int
    ) -> None:
        self._function = name_of(function)
        self.called = called
        self._name = called if found is None else found._name
        self._index = position if found is None else found._index
        self._keyword = found is None or found._keyword
        self._default = inspect.Parameter.empty if found is None else found._default

    @property
    def renamed(self) -> bool:
        """Whether the handler does not accept Lambda's name for it."""
        return self._name != self.called or not self._keyword

    @property
    def index(self) -> int | None:
        """Its position among positional arguments; None if it is keyword-only."""
        return self._index

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not kwargs:  # the usual call
            index = self._index
            if index is not None and len(args) > index:
                return args[index]
        elif self.called in kwargs and self.renamed and not (self._keyword and self._name in kwargs):
            return kwargs[self.called]
        return super().of(args, kwargs)


def handler_arguments(
    function: Callable[..., Any],
) -> tuple[_HandlerArgument, _HandlerArgument | None]:
    """Return the parameters for the event and the context of a Lambda handler.

    The event is the parameter of that name, or else the first one other than ``self`` and ``cls``. The
    context is the parameter after it, if any. A wrapper that takes only ``*args`` is called with
    (event, context).

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
            # A decorator without functools.wraps, or a handler that only takes *args.
            return (
                _HandlerArgument(function, "event", None, bound),
                _HandlerArgument(function, "context", None, bound + 1),
            )
    if not names:
        raise TypeError(
            f"{name_of(function)} takes no event: a Lambda handler is called with (event, context)."
        )
    start = names.index("event") if "event" in names else 0
    found = []
    for place, (called, name) in enumerate(
        zip(("event", "context"), names[start : start + 2], strict=False), start=bound
    ):
        named = None
        if not only_any or _takes_any(own):
            named = Argument(function, name, place if only_any else None)
        found.append(_HandlerArgument(function, called, named, place))
    return found[0], found[1] if len(found) > 1 else None


def called_in_order(
    function: Callable[..., Any], arguments: tuple[_HandlerArgument, _HandlerArgument | None]
) -> Callable[..., Any]:
    """Return ``function`` with support for calls with ``event=`` and ``context=``, whatever its own names.

    These arguments are passed by position, as Lambda does.
    """
    renamed = [argument for argument in arguments if argument is not None and argument.renamed]
    if not renamed and _names_all(function, arguments):
        return function

    def in_order(*args: Any, **kwargs: Any) -> Any:
        for argument in arguments:
            if argument is not None and argument.index == len(args) and argument.called in kwargs:
                args += (kwargs.pop(argument.called),)
        return function(*args, **kwargs)

    return in_order


def _names_all(function: Callable[..., Any], arguments: Iterable[_HandlerArgument | None]) -> bool:
    own = _parameters(function, follow_wrapped=False)
    return all(argument is None or argument.called in own for argument in arguments)


def _positional(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        parameter.name
        for parameter in parameters.values()
        if parameter.kind in kinds and parameter.name not in ("self", "cls")
    ]


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def parameters_of(function: Any) -> tuple[str, ...]:
    """Return the names of a function's parameters; empty if its signature is unknown."""
    try:
        return tuple(_parameters(function, follow_wrapped=False))
    except TypeError:
        return ()


def signature_of(function: Any) -> str:
    """Return the parameters of a function, for messages."""
    return (
        f"({', '.join(str(each.replace(annotation=each.empty)) for each in _parameters(function).values())})"
    )


def same_parameters(function: Any, other: Any) -> bool:
    """Return whether two functions can be called alike: the same parameters, with the same defaults.

    One that takes any arguments fits every function.
    """
    wanted, found = (list(_parameters(each).values()) for each in (function, other))
    any_kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if [each.kind for each in found] == list(any_kinds):
        return True
    return len(wanted) == len(found) and all(map(_same_parameter, wanted, found))


def _same_parameter(one: inspect.Parameter, other: inspect.Parameter) -> bool:
    if one.kind is not other.kind:
        return False
    if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
        return True
    if one.kind is not one.POSITIONAL_ONLY and one.name != other.name:
        return False
    if one.default is other.default:
        return True
    if one.empty in (one.default, other.default):
        return False
    plain = (str, bytes, int, float, bool)
    # Others may have any notion of equality, and are the same only if they are one object.
    return type(one.default) is type(other.default) in plain and one.default == other.default


def _parameters(
    function: Callable[..., Any], *, follow_wrapped: bool = True
) -> Mapping[str, inspect.Parameter]:
    try:
        if sys.version_info >= (3, 14):
            import annotationlib  # noqa: PLC0415 - new in 3.14

            # Annotations may contain names that are defined later, or for type checkers only.
            return inspect.signature(
                function,
                follow_wrapped=follow_wrapped,
                annotation_format=annotationlib.Format.FORWARDREF,
            ).parameters
        return inspect.signature(function, follow_wrapped=follow_wrapped).parameters
    except ValueError as error:
        raise TypeError(
            f"{name_of(function)} has no readable signature, so the idempotency key cannot be derived from "
            "a parameter. Wrap it in a function."
        ) from error


def _called(function: Any) -> Any:
    """Return the function that runs when a partial or a callable object is called."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else getattr(type(function), "__call__", None)  # noqa: B004 - its kind matters, not its existence
