"""Choose a function's serializer: the given one, or one for its return annotation."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from ..spec.errors import IdempotencyNoSerializationModelError
from .annotations import resolve_annotation
from .results.serializers import (
    BaseIdempotencyModelSerializer,
    BaseIdempotencySerializer,
    CheckedSerializer,
    CustomDictSerializer,
    DataclassSerializer,
    PydanticSerializer,
    shown,
)

__all__ = [
    "BaseIdempotencyModelSerializer",
    "BaseIdempotencySerializer",
    "CustomDictSerializer",
    "DataclassSerializer",
    "PydanticSerializer",
    "annotated_result",
    "resolve_serializer",
    "return_type",
]


class _NotDefinedYetError(IdempotencyNoSerializationModelError):
    """The return annotation contains a name that may be defined before the first call."""


class _LaterSerializer(CheckedSerializer):
    """Placeholder for a serializer whose model may be defined before the first call."""

    def __init__(self, make: Callable[[], BaseIdempotencySerializer]) -> None:
        self._make = make
        self._made: BaseIdempotencySerializer | None = None

    def _resolve(self, *, now: bool) -> bool:
        try:
            made = self._serializer()
        except IdempotencyNoSerializationModelError:
            if now:
                raise
            return False
        return not isinstance(made, CheckedSerializer) or made._resolve(now=now)

    @classmethod
    def instantiate(cls, model_type: Any) -> BaseIdempotencySerializer:
        raise NotImplementedError  # it is created for a function, not for a model

    def _serializer(self) -> BaseIdempotencySerializer:
        if self._made is None:
            self._made = self._make()
        return self._made

    def _refuse_what_never_comes_back(self) -> None:
        if isinstance(made := self._serializer(), CheckedSerializer):
            made._refuse_what_never_comes_back()

    def to_dict(self, data: Any) -> Any:
        return self._serializer().to_dict(data)

    def from_dict(self, data: Any) -> Any:
        return self._serializer().from_dict(data)

    def _store(self, result: Any) -> tuple[str, Any]:
        made = self._serializer()
        if isinstance(made, CheckedSerializer):
            return made._store(result)
        from .results.custom import stored_by  # noqa: PLC0415 - only serializers need it

        return stored_by(made, result)


def resolve_serializer(
    output_serializer: Any, function: Callable[..., Any]
) -> BaseIdempotencySerializer | None:
    """Return the serializer of a decorated function.

    Parameters
    ----------
    output_serializer
        A serializer; a class derived from `BaseIdempotencyModelSerializer`, whose model the function's return
        annotation names; or None.
    function
        The decorated function.

    Raises
    ------
    IdempotencyNoSerializationModelError
        The return annotation is missing or cannot be resolved.
    IdempotencyModelTypeError
        It names a model that the serializer does not handle.
    TypeError
        ``output_serializer`` is something else.
    """
    if output_serializer is None or isinstance(output_serializer, BaseIdempotencySerializer):
        return output_serializer
    if isinstance(output_serializer, type) and issubclass(output_serializer, BaseIdempotencyModelSerializer):
        try:
            return output_serializer.instantiate(return_type(function))
        except _NotDefinedYetError:
            return _LaterSerializer(lambda: output_serializer.instantiate(return_type(function)))
    raise TypeError(
        "output_serializer must be a serializer, or a class derived from BaseIdempotencyModelSerializer, "
        f"not {shown(output_serializer)}"
    )


def annotated_result(function: Callable[..., Any]) -> Any:
    """Return the unresolved return annotation; None if there is none."""
    return _annotations(_named(function)).get("return")


def return_type(function: Callable[..., Any]) -> Any:
    """Return the resolved return annotation; None if there is none.

    Raises
    ------
    IdempotencyNoSerializationModelError
        It cannot be resolved.
    """
    named = _named(function)
    annotation = annotated_result(function)
    if annotation is None:
        return None
    try:
        # Only the return annotation, because those of arguments may name imports for type checkers only.
        # A wrapper has the annotations of the function that it wraps, but not the names in its scope.
        return resolve_annotation(annotation, inspect.unwrap(named), named.__module__)
    except Exception as error:
        from .results.hints import later  # noqa: PLC0415 - only serializers need it

        kind = (
            _NotDefinedYetError
            if later(inspect.unwrap(named), error)
            else IdempotencyNoSerializationModelError
        )
        raise kind(
            f"The return annotation {annotation!r} of {named.__qualname__} cannot be resolved "
            f"({error}). Define or import its names before the first call, not for type checkers alone, "
            "or pass the model to the serializer."
        ) from error


def _named(function: Callable[..., Any]) -> Any:
    """Return the object that has the annotations of a function, a partial or a callable object."""
    named: Any = function
    while isinstance(named, functools.partial | functools.partialmethod):
        named = named.func
    return named if hasattr(named, "__qualname__") else type(named).__call__


def _annotations(function: Any) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib  # noqa: PLC0415 - new in 3.14

        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return getattr(function, "__annotations__", {})
