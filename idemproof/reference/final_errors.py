"""Final errors: exceptions that are stored as the answer of an operation (clauses FIN).

A final error is stored as the qualified name of its type and the arguments from which it is rebuilt. These
are the arguments with which it would be pickled.
"""

from collections.abc import Iterable
from json import dumps
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from ..drivers.interrupts import is_interrupt
from ..spec.errors import (
    IdempotencyConfigError,
    IdempotencyError,
    IdempotencyInvalidStatusError,
    IdempotencyPersistenceLayerError,
    IdempotencyUnknownFinalError,
)
from ..spec.record import FINAL_ERROR
from .config_values import refusal
from .encoding import decode, encode
from .results.custom import ResultChangedError

_OF_ANY_ERROR = frozenset(vars(BaseException)) | {"__dict__", "__weakref__"}


class FinalErrors:
    """The final errors of a configuration.

    Parameters
    ----------
    declared
        The exception types. Subclasses of a declared type are not final.
    """

    __slots__ = ("_kinds",)

    def __init__(self, declared: Iterable[type[Exception]] = ()) -> None:
        self._kinds = {name_of_type(kind): kind for kind in declared}

    def include(self, error: BaseException) -> bool:
        """Return whether the type of ``error`` itself is declared (FIN-6)."""
        kind = type(error)
        return any(kind is each for each in self._kinds.values())

    def encode(self, error: BaseException) -> str:
        """Return ``error`` as text for the store, after a trial rebuild (FIN-4).

        Raises
        ------
        ResultChangedError
            The rebuilt error would differ.
        TypeError, ValueError, RecursionError
            An argument cannot be encoded as JSON.
        """
        arguments = _arguments_of(error)
        text = error_text(name_of_type(type(error)), encode(list(arguments)))
        _, stored = read(text)
        try:
            rebuilt = type(error)(*stored)
        except Exception as failure:
            raise ResultChangedError(
                f"its type does not accept the arguments {_shape(stored)} ({type(failure).__name__}). "
                "Pass all arguments of its constructor on to super().__init__, or define __reduce__, as for "
                "pickle"
            ) from failure
        try:
            changed = _difference(error, arguments, rebuilt, tuple(stored))
        except Exception as failure:
            raise ResultChangedError(
                f"the rebuilt error cannot be compared with it ({type(failure).__name__})"
            ) from failure
        if changed is not None:
            raise ResultChangedError(changed)
        return text

    def rebuild(self, text: str, key: str) -> Exception:
        """Return a new error from the text of the store (FIN-3, FIN-5).

        Raises
        ------
        IdempotencyInvalidStatusError
            The text is not that of a final error.
        IdempotencyUnknownFinalError
            Its type is not declared, or no longer accepts these arguments.
        """
        try:
            name, stored = read(text)
        except ValueError as cause:
            raise IdempotencyInvalidStatusError(
                f"The stored record of {key!r} is corrupt: its response is not a final error. "
                "Inspect it, and delete it if the operation may run again."
            ) from cause
        kind = self._kinds.get(name)
        ended = f"The operation {key!r} ended with the final error {name}, and will not run again, but"
        if kind is None:
            raise IdempotencyUnknownFinalError(
                f"{ended} final_errors does not declare this type. Nothing ran. Declare it, or use type_name "
                "and arguments of this error.",
                type_name=name,
                arguments=tuple(stored),
            )
        failure: Exception | None = None
        try:
            error = kind(*stored)
        except Exception as raised:  # noqa: BLE001 - raised below, with its name and arguments
            failure, problem = raised, f"does not accept its stored arguments ({type(raised).__name__})"
        else:
            if type(error) is kind:
                error.add_note(
                    f"Idemproof replayed this error for {key!r}. It was raised by an earlier call. Its "
                    "traceback, cause and notes are not stored."
                )
                return error
            problem = f"returned a {type(error).__name__}"
        raise IdempotencyUnknownFinalError(
            f"{ended} this type {problem}. Nothing ran. Has the class changed? Use type_name and arguments "
            "of this error.",
            type_name=name,
            arguments=tuple(stored),
        ) from failure


def name_of_type(kind: type) -> str:
    """Return the qualified name of a type."""
    return f"{kind.__module__}.{kind.__qualname__}"


def error_text(name: str, arguments: str) -> str:
    """Return the response of a final error (FIN-2); ``arguments`` are JSON text."""
    return f'{FINAL_ERROR}{{"arguments": {arguments}, "type": {dumps(name)}}}'


def read(text: str) -> tuple[str, list[Any]]:
    """Return the name of the type and the arguments, from the response of a final error.

    Raises
    ------
    ValueError, RecursionError
        The text has another form.
    """
    data = decode(text.removeprefix(FINAL_ERROR)) if text.startswith(FINAL_ERROR) else None
    if isinstance(data, dict) and data.keys() == {"arguments", "type"}:
        name, arguments = data["type"], data["arguments"]
        if isinstance(name, str) and name and isinstance(arguments, list):
            return name, arguments
    raise ValueError("not the text of a final error")


def error_not_stored(
    key: str,
    error: BaseException,
    trouble: BaseException,
    kind: type[IdempotencyPersistenceLayerError],
    *,
    refused: bool,
    too_large: bool,
    answers: bool,
) -> IdempotencyError:
    """Return the error for a final error that the store refuses, or that does not come back (FIN-4)."""
    if too_large:
        why = "it is too large for the store"
    elif refused:
        why = "the store did not take it"
    else:
        why = f"it cannot be replayed: {trouble}"
    return kind(
        f"{'on_takeover' if answers else 'The function'} raised the final error {type(error).__name__} for "
        f"{key!r}, and the function will not run again, but {why}. The attribute raised of this error is the "
        "final error; later callers get IdempotencyResultUnavailableError.",
        trouble,
        raised=error,
    )


def require_final_errors(
    declared: Any, interrupts: tuple[type[Exception], ...], released: tuple[type[Exception], ...]
) -> None:
    """Raise if a value is not a tuple of exception types that can be stored and rebuilt.

    Parameters
    ----------
    declared
        The value.
    interrupts, released
        The exception types that are declared to be interrupts, and to release the key.

    Raises
    ------
    IdempotencyConfigError
        The message names the type, and what is right.
    """
    allowed = "a tuple of classes derived from Exception"
    if not isinstance(declared, tuple):
        raise refusal("final_errors", declared, allowed)
    names: dict[str, Any] = {}
    for kind in declared:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise refusal("final_errors", kind, allowed)
        problem = _problem_of(kind, interrupts)
        if problem is None and any(kind is each for each in released):
            problem = (
                "released_errors has it too. A final error is never tried again, a released one is. "
                "Name it in one of them"
            )
        if problem is not None:
            raise IdempotencyConfigError(f"final_errors must not have {name_of_type(kind)}: {problem}.")
        same = names.setdefault(name_of_type(kind), kind)
        if same is not kind:
            raise IdempotencyConfigError(
                f"final_errors has two classes that are both called {name_of_type(kind)}. A stored error is "
                "found by this name: give each class its own."
            )


def _problem_of(kind: type[BaseException], interrupts: tuple[type[Exception], ...]) -> str | None:  # noqa: PLR0911 - one for each
    """Return why a type cannot be declared, and what is right; None if it can."""
    if not issubclass(kind, Exception):
        return "it is not derived from Exception, so it is an interrupt and no answer"
    if kind is Exception:
        return "only the exact type counts, not its subclasses. Name the types that are raised"
    if issubclass(kind, IdempotencyError):
        return "errors of this library tell about a call, and are no answer of the function"
    if is_interrupt(kind, interrupts):
        return "it is an interrupt too. An interrupt ends the function early, so it is no answer"
    if issubclass(kind, StopIteration | StopAsyncIteration):
        return "it ends generators and coroutines. Raise an exception class of your own"
    if issubclass(kind, BaseExceptionGroup):
        return "a group contains exceptions, which are not stored. Raise one exception"
    if "<locals>" in kind.__qualname__:
        return "it is defined in a function, so its name may stand for several classes. Define it in a module"
    return None


def _arguments_of(error: BaseException) -> tuple[Any, ...]:
    """Return the arguments with which ``error`` would be pickled."""
    reduced = error.__reduce_ex__(2)
    if isinstance(reduced, tuple) and reduced[0] is type(error) and isinstance(reduced[1], tuple):
        return reduced[1]
    raise ResultChangedError("its __reduce__ does not name its own type and arguments")


def _difference(
    error: BaseException, arguments: tuple[Any, ...], rebuilt: BaseException, stored: tuple[Any, ...]
) -> str | None:
    """Return what the rebuilt error lacks, without showing any value; None if they are alike."""
    from .results.comparing import difference  # noqa: PLC0415 - few functions have final errors

    if type(rebuilt) is not type(error):
        return f"it becomes a {type(rebuilt).__name__}"
    for name, one, other in (
        ("arguments", arguments, stored),
        ("args", error.args, rebuilt.args),
        ("attributes", _attributes(error), _attributes(rebuilt)),
    ):
        found = difference(one, other)
        if found is not None:
            return f"of its {name}, {found}"
    return None if str(error) == str(rebuilt) else "its text changes"


def _attributes(error: BaseException) -> dict[str, Any]:
    """Return the attributes that distinguish errors of one type. Notes tell about one call."""
    found = {name: value for name, value in vars(error).items() if name != "__notes__"}
    for base in type(error).__mro__:
        for name, descriptor in vars(base).items():
            is_slot = isinstance(descriptor, MemberDescriptorType | GetSetDescriptorType)
            if is_slot and name not in _OF_ANY_ERROR and hasattr(error, name):
                found[name] = getattr(error, name)
    return found


def _shape(arguments: list[Any]) -> str:
    return f"({', '.join(type(each).__name__ for each in arguments)})"
