"""Serializers convert what a function returns to data that a record can hold, and back.

A serializer never gets None: a function that returned None replays as None.
"""

import dataclasses
import functools
import sys
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ...spec.errors import IdempotencyModelTypeError, IdempotencyNoSerializationModelError
from ..annotations import enclosing_names
from ..functions import is_async

if typing.TYPE_CHECKING:
    from .rebuilding import Reader
    from .roundtrip import Checks


class BaseIdempotencySerializer(ABC):
    """Converts results to data that JSON can represent, and back."""

    @abstractmethod
    def to_dict(self, data: Any) -> Any:
        """Return the data to store for a result.

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
            What `to_dict` returned, after a round trip through JSON.
        """


class BaseIdempotencyModelSerializer(BaseIdempotencySerializer):
    """A serializer for one model, which the return annotation can name."""

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
    """Uses your own functions for both directions.

    Parameters
    ----------
    to_dict
        Takes the function's result; returns the data to store.
    from_dict
        Takes the stored data; returns the result.

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
        """Return what the first function returns for a result."""
        return self._to_dict(data)

    def from_dict(self, data: Any) -> Any:
        """Return what the second function returns for stored data."""
        return self._from_dict(data)


class CheckedSerializer(BaseIdempotencyModelSerializer):
    """A serializer that rebuilds what it stores, and compares it with the result before it is stored."""

    _model: Any
    _read: "Reader"
    _checks: "Checks | None" = None

    def to_dict(self, data: Any) -> Any:
        """Return a result's data, in the first form that rebuilds the result unchanged.

        Raises
        ------
        TypeError
            The function did not return a value of this kind.
        """
        self._resolve(now=True)
        return self._made_checks().data(data, self._dumps(data), self.from_dict)

    def from_dict(self, data: Any) -> Any:
        """Return the result, rebuilt."""
        self._resolve(now=True)
        return self._read(data)

    def _store(self, result: Any) -> tuple[str, Any]:
        """Return a result as JSON text, and as it is rebuilt from this text.

        Raises
        ------
        ResultChangedError
            The rebuilt value differs from the result.
        TypeError, ValueError, RecursionError
            The result has another type, or cannot be encoded as JSON.
        """
        self._resolve(now=True)
        checks = self._made_checks()
        if checks.own_conversion:
            return checks.stored_by(self, result)
        return checks.store(result, self._dumps(result), self.from_dict)

    def _made_checks(self) -> "Checks":
        # Created at the first use, when everything that the model names is defined.
        if self._checks is None:
            from .roundtrip import Checks  # noqa: PLC0415 - loads what only serializers need

            self._checks = Checks(self._model, own_conversion=self._has_own_conversion())
        return self._checks

    def _resolve(self, *, now: bool) -> bool:
        """Resolve the names in the model, and return whether all are defined.

        Parameters
        ----------
        now
            Raise if a name is undefined.
        """
        raise NotImplementedError

    def _refuse_what_never_comes_back(self) -> None:
        """Refuse a model with a field that can never be rebuilt.

        Raises
        ------
        IdempotencyModelTypeError
            The message names the field.
        """
        if not self._has_own_conversion():
            from .refusals import refuse  # noqa: PLC0415 - loads what only serializers need

            refuse(self._model)

    def _dumps(self, data: Any) -> "tuple[Callable[[Any], Any], ...]":
        """Return the functions that convert a result to data, one for each form."""
        raise NotImplementedError

    def _has_own_conversion(self) -> bool:
        """Return whether a derived class has its own conversion, which is then trusted."""
        return any(getattr(type(self), name).__module__ != __name__ for name in ("to_dict", "from_dict"))


class PydanticSerializer(CheckedSerializer):
    """Stores Pydantic models and validates them on replay.

    Parameters
    ----------
    model
        The model's class, or ``Model | None``.

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
            raise IdempotencyModelTypeError(f"PydanticSerializer needs a Pydantic model, not {shown(model)}")
        from .models import FORMS, model_reader  # noqa: PLC0415 - loads what only serializers need

        self._forms = FORMS
        self._read = model_reader(self._model)

    def _resolve(self, *, now: bool) -> bool:
        """Let the model resolve the names in it, if all are defined."""
        model = self._model
        if not model.__pydantic_complete__:
            names = vars(sys.modules[model.__module__]) if model.__module__ in sys.modules else {}
            visible = {**names, **enclosing_names(model.__qualname__, names)}
            try:
                model.model_rebuild(_types_namespace=visible)
            except Exception as error:
                if now:
                    raise IdempotencyModelTypeError(
                        f"{shown(model)} names what is not defined ({type(error).__name__}). Define or "
                        "import it before the first call, and not for type checkers alone."
                    ) from error
                return False
        return True

    def _dumps(self, data: Any) -> "tuple[Callable[[Any], Any], ...]":
        if not callable(getattr(data, "model_dump", None)):
            raise _unexpected(data, self._model)
        return self._forms

    @classmethod
    def instantiate(cls, model_type: Any) -> BaseIdempotencySerializer:
        """Return a serializer for a model; see `PydanticSerializer`."""
        return cls(model_type)


class DataclassSerializer(CheckedSerializer):
    """Stores dataclasses and rebuilds them unchanged, including nested ones.

    Fields are rebuilt by their annotations: dataclasses, Pydantic models, enumerations, decimals, dates,
    times, durations, UUIDs, paths and bytes, alone or in lists, tuples, sets, dicts, optional types and
    unions. If a result does not match its annotations, it is not stored and the first call raises an error.

    Parameters
    ----------
    model
        The dataclass, or ``Model | None``.

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
            raise IdempotencyModelTypeError(f"DataclassSerializer needs a dataclass, not {shown(model)}")
        from .models import FORMS  # noqa: PLC0415 - loads what only serializers need
        from .plain import plain  # noqa: PLC0415 - as above
        from .rebuilding import Readers  # noqa: PLC0415 - as above

        self._readers = Readers()
        # The plain data of a dataclass is never the dataclass, so there is a reader.
        self._read = typing.cast("Reader", self._readers.reader(self._model))
        self._forms = tuple(functools.partial(self._plain, plain, form) for form in FORMS)

    def _plain(self, plain: Any, form: Any, data: Any) -> Any:
        return plain(data, form, with_bytes=self._readers.with_bytes)

    def _resolve(self, *, now: bool) -> bool:
        """Resolve the annotations that named classes before their definition."""
        if not self._readers.complete:
            try:
                self._readers.resolve()
            except IdempotencyModelTypeError:
                if now:
                    raise
                return False
        return True

    def _dumps(self, data: Any) -> "tuple[Callable[[Any], Any], ...]":
        if isinstance(data, type) or not dataclasses.is_dataclass(data):
            raise _unexpected(data, self._model)
        return self._forms

    @classmethod
    def instantiate(cls, model_type: Any) -> BaseIdempotencySerializer:
        """Return a serializer for a model; see `DataclassSerializer`."""
        return cls(model_type)


def shown(kind: Any) -> str:
    """Return the name of a type for messages."""
    return kind.__qualname__ if isinstance(kind, type) else repr(kind)


def _unexpected(data: Any, model: Any) -> TypeError:
    return TypeError(f"The function returned {type(data).__qualname__}, where {shown(model)} was expected")


def _single_model(model: Any) -> Any:
    """Return the model of ``Model | None``, or the model itself."""
    if model is None or model is types.NoneType:
        raise IdempotencyNoSerializationModelError(
            "The serializer has no model: annotate the function's return type, or pass the model."
        )
    if typing.get_origin(model) not in (typing.Union, types.UnionType):
        return model
    models = [member for member in typing.get_args(model) if member is not types.NoneType]
    if len(models) > 1:
        raise IdempotencyModelTypeError(
            f"The serializer needs a single model, alone or united with None, not {shown(model)}"
        )
    return models[0]
