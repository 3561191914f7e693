"""Serializers: what a function returns, as data that a record can hold, and back.

None is never handed to a serializer: a function that returned None replays as None.
"""

import dataclasses
import functools
import inspect
import sys
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ..spec.errors import IdempotencyModelTypeError, IdempotencyNoSerializationModelError
from .annotations import resolve_annotation
from .functions import is_async

if typing.TYPE_CHECKING:
    from .rebuild import Reader


class BaseIdempotencySerializer(ABC):
    """Turns results into data that JSON can hold, and back."""

    @abstractmethod
    def to_dict(self, data: Any) -> Any:
        """Return what is stored for a result.

        Parameters
        ----------
        data
            What the function returned; never None.
        """

    @abstractmethod
    def from_dict(self, data: Any) -> Any:
        """Return the result that was stored.

        Parameters
        ----------
        data
            What `to_dict` gave, after a round trip through JSON.
        """


class BaseIdempotencyModelSerializer(BaseIdempotencySerializer):
    """A serializer made for one model, which the return annotation can name."""

    @classmethod
    @abstractmethod
    def instantiate(cls, model_type: Any) -> BaseIdempotencySerializer:
        """Return a serializer for a model.

        Parameters
        ----------
        model_type
            The return annotation, resolved; None if there is none.

        Raises
        ------
        IdempotencyNoSerializationModelError
            There is no model.
        IdempotencyModelTypeError
            The model is not of a kind that this serializer handles.
        """


class CustomDictSerializer(BaseIdempotencySerializer):
    """Leaves both directions to you.

    Parameters
    ----------
    to_dict
        Gets the function's result; returns what to store.
    from_dict
        Gets what was stored; returns the result.

    Raises
    ------
    TypeError
        One of them is not callable.
    """

    def __init__(self, to_dict: Callable[[Any], Any], from_dict: Callable[[Any], Any]) -> None:
        for name, function in (("to_dict", to_dict), ("from_dict", from_dict)):
            if not callable(function):
                raise TypeError(f"{name} must be callable, not {type(function).__qualname__}")
            if is_async(function):
                raise TypeError(f"{name} must be a plain function, not async: it is called, and not awaited")
        self._to_dict = to_dict
        self._from_dict = from_dict

    def to_dict(self, data: Any) -> Any:
        """Return what the first function makes of a result."""
        return self._to_dict(data)

    def from_dict(self, data: Any) -> Any:
        """Return what the second function makes of stored data."""
        return self._from_dict(data)


class PydanticSerializer(BaseIdempotencyModelSerializer):
    """Stores Pydantic models and validates them when they come back.

    Parameters
    ----------
    model
        The model's class; ``Model | None`` will do.

    Raises
    ------
    IdempotencyNoSerializationModelError
        There is no model.
    IdempotencyModelTypeError
        It is not a Pydantic model, or Pydantic is not installed.
    """

    def __init__(self, model: Any) -> None:
        try:
            import pydantic  # noqa: PLC0415 - optional, and slow to import
        except ImportError as error:
            raise IdempotencyModelTypeError(
                "PydanticSerializer needs Pydantic 2, which is not installed: pip install idemproof[pydantic]"
            ) from error
        self._model = _single_model(model)
        if not (isinstance(self._model, type) and issubclass(self._model, pydantic.BaseModel)):
            raise IdempotencyModelTypeError(f"PydanticSerializer needs a Pydantic model, not {_shown(model)}")
        from .rebuild import model_reader  # noqa: PLC0415 - loads what only serializers need

        self._read = model_reader(self._model)
        # Computed fields are stored as other software stores them, except where they would be refused.
        self._round_trip = self._model.model_config.get("extra") == "forbid"

    def to_dict(self, data: Any) -> Any:
        """Return a model's data.

        Raises
        ------
        TypeError
            The function did not return a Pydantic model.
        """
        if not callable(dump := getattr(data, "model_dump", None)):
            raise _unexpected(data, self._model)
        return dump(mode="json", round_trip=self._round_trip)

    def from_dict(self, data: Any) -> Any:
        """Return the model, validated."""
        return self._read(data)

    @classmethod
    def instantiate(cls, model_type: Any) -> BaseIdempotencySerializer:
        """Return a serializer for a model; see `PydanticSerializer`."""
        return cls(model_type)


class DataclassSerializer(BaseIdempotencyModelSerializer):
    """Stores dataclasses and rebuilds them as they were, the ones inside them included.

    Fields are rebuilt by their annotations: dataclasses, Pydantic models, enumerations, decimals, dates,
    times, UUIDs and paths, alone or in lists, tuples, sets, dicts and optional types. Where an annotation
    does not tell, as ``Any`` does not, a replay has what JSON can hold.

    Parameters
    ----------
    model
        The dataclass; ``Model | None`` will do.

    Raises
    ------
    IdempotencyNoSerializationModelError
        There is no model.
    IdempotencyModelTypeError
        It is not a dataclass, or a field's annotation cannot be resolved.
    """

    def __init__(self, model: Any) -> None:
        self._model = _single_model(model)
        cls = typing.get_origin(self._model) or self._model
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            raise IdempotencyModelTypeError(f"DataclassSerializer needs a dataclass, not {_shown(model)}")
        from .rebuild import Readers, plain  # noqa: PLC0415 - as above

        self._plain = plain
        # A dataclass is never its own plain data, so there is a reader.
        self._read = typing.cast("Reader", Readers().reader(self._model))

    def to_dict(self, data: Any) -> Any:
        """Return a dataclass's data.

        Raises
        ------
        TypeError
            The function did not return a dataclass.
        """
        if isinstance(data, type) or not dataclasses.is_dataclass(data):
            raise _unexpected(data, self._model)
        return self._plain(data)

    def from_dict(self, data: Any) -> Any:
        """Return the dataclass, rebuilt."""
        return self._read(data)

    @classmethod
    def instantiate(cls, model_type: Any) -> BaseIdempotencySerializer:
        """Return a serializer for a model; see `DataclassSerializer`."""
        return cls(model_type)


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
        return output_serializer.instantiate(_return_type(function))
    raise TypeError(
        "output_serializer must be a serializer, or a class derived from BaseIdempotencyModelSerializer, "
        f"not {_shown(output_serializer)}"
    )


def _shown(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else repr(kind)


def _unexpected(data: Any, model: Any) -> TypeError:
    return TypeError(f"The function returned {type(data).__qualname__}, where {_shown(model)} was expected")


def _single_model(model: Any) -> Any:
    """Return a model without the None that it may be united with."""
    if model is None or model is types.NoneType:
        raise IdempotencyNoSerializationModelError(
            "The serializer has no model: annotate what the function returns, or give it its model."
        )
    if typing.get_origin(model) not in (typing.Union, types.UnionType):
        return model
    models = [member for member in typing.get_args(model) if member is not types.NoneType]
    if len(models) > 1:
        raise IdempotencyModelTypeError(
            f"The serializer needs a single model, alone or united with None, not {_shown(model)}"
        )
    return models[0]


def _return_type(function: Callable[..., Any]) -> Any:
    """Return the resolved return annotation; None if there is none."""
    named: Any = function
    while isinstance(named, functools.partial | functools.partialmethod):
        named = named.func
    if not hasattr(named, "__qualname__"):
        named = type(named).__call__
    annotation = _annotations(named).get("return")
    if annotation is None:
        return None
    try:
        # The return annotation alone: an argument's may name what is imported for type checkers only.
        # Wrappers carry the annotations of what they wrap, but not the names that these stand for.
        return resolve_annotation(annotation, inspect.unwrap(named), named.__module__)
    except Exception as error:
        raise IdempotencyNoSerializationModelError(
            f"The return annotation {annotation!r} of {named.__qualname__} cannot be resolved "
            f"({error}). Define or import what it names before the function, not for type checkers alone, or "
            "give the serializer its model."
        ) from error


def _annotations(function: Any) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib  # noqa: PLC0415 - new in 3.14

        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return getattr(function, "__annotations__", {})
