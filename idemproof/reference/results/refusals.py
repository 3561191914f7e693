"""Refuse models with values that can never be rebuilt, when a function is decorated."""

import collections.abc
import dataclasses
import os
import typing
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

from ...spec.errors import IdempotencyModelTypeError
from .hints import bare, field_hints, hints_of, is_alias, members
from .models import is_model

_ITERATORS = (collections.abc.Iterable, collections.abc.Generator)


def refuse(model: Any) -> None:
    """Refuse a model with a field that can never be rebuilt, whatever its value.

    Parameters
    ----------
    model
        A dataclass or a Pydantic model.

    Raises
    ------
    IdempotencyModelTypeError
        The message names the field, and what to do.
    """
    _Search().look_into(model, required=True)


class _Search:
    def __init__(self) -> None:
        self._seen: set[Any] = set()

    def look_into(self, model: Any, *, required: bool) -> None:
        model = bare(model)
        if (model, required) in self._seen:
            return
        self._seen.add((model, required))
        kind: Any = typing.get_origin(model) or model
        name = getattr(kind, "__qualname__", "")
        if is_model(kind):
            if hasattr(kind, "model_fields") and not _has_code(kind):
                self._model(kind, required=required)
        elif dataclasses.is_dataclass(kind):
            for field, hint in field_hints(kind, typing.get_args(model)):
                self._hint(hint(), f"{name}.{field.name}", required=required)

    def _model(self, cls: Any, *, required: bool) -> None:
        for name, field in cls.model_fields.items():
            where = f"{cls.__qualname__}.{name}"
            if required and field.exclude and field.is_required():
                raise IdempotencyModelTypeError(
                    f"The field {where} is excluded from what is stored and has no default: it can never "
                    f"be replayed. Give it a default, or use a CustomDictSerializer."
                )
            if field.metadata or field.discriminator or field.exclude:
                continue  # metadata may change what is stored
            kind = typing.get_origin(bare(field.annotation))
            if kind in _ITERATORS:
                raise IdempotencyModelTypeError(
                    f"The field {where} is an iterator, which is used up when it is stored: it can never "
                    "be replayed. Make it a list."
                )
            self._hint(field.annotation, where, required=required)

    def _hint(  # noqa: C901, PLR0912 - one branch for each kind of annotation
        self, hint: Any, where: str, *, required: bool
    ) -> None:
        if is_alias(hint) or is_alias(typing.get_origin(hint)):
            if hint in self._seen:
                return
            self._seen.add(hint)
        if typing.get_origin(hint) is typing.Annotated and typing.get_origin(bare(hint)) is typing.Union:
            return  # for example a discriminated union
        every = members(hint)
        if len(every) > 1:
            _refuse_twins(every, where)
            required = False
        for each in every:
            kind = typing.get_origin(each) or each
            if required and hasattr(kind, "get_secret_value"):
                raise IdempotencyModelTypeError(
                    f"The field {where} is a secret, which is stored as asterisks: it can never be replayed. "
                    "Return data that is not secret, or use a CustomDictSerializer, which may encrypt it."
                )
            if kind is typing.Literal:
                continue
            if typing.is_typeddict(kind):
                if (each, where) not in self._seen:
                    self._seen.add((each, where))
                    for name, inner in hints_of(kind, typing.get_args(each)).items():
                        self._hint(inner, f"{where}.{name}", required=False)
            elif isinstance(kind, type) and (dataclasses.is_dataclass(kind) or is_model(kind)):
                self.look_into(each, required=required)
            else:
                for arg in typing.get_args(each):
                    if not isinstance(arg, list):
                        self._hint(arg, where, required=False)


def _refuse_twins(every: list[Any], where: str) -> None:
    shapes: dict[Any, Any] = {}
    for each in every:
        shape = _shape(each, ())
        twin = shapes.setdefault(shape, each) if shape is not None else each
        if twin is not each and _class(twin) is not _class(each):
            raise IdempotencyModelTypeError(
                f"The field {where} may be {_shown(twin)} or {_shown(each)}, which are stored in the same "
                "way: one of them can never be replayed. Change the annotation (a Literal field "
                "distinguishes classes), or use a CustomDictSerializer."
            )


def _class(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


def _shown(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _shape(hint: Any, around: tuple[Any, ...]) -> Any:  # noqa: C901, PLR0911, PLR0912 - one for each kind of type
    """Return a value that is equal for types with the same stored form; None if that is unknown."""
    if is_alias(hint) or is_alias(typing.get_origin(hint)):  # the alias may refer to itself
        if hint in around:
            return ("around", around.index(hint))
        around = (*around, hint)
    every = members(hint)
    if len(every) > 1:
        parts = [_shape(each, around) for each in every]
        return None if None in parts else ("any of", frozenset(parts))
    hint = every[0]
    args = typing.get_args(hint)
    kind = typing.get_origin(hint) or hint
    if kind is typing.Literal:
        return ("literal", tuple((type(each), each) for each in args))
    if hint is Any or kind is object:
        return "anything"
    if not isinstance(kind, type) or issubclass(kind, Enum):
        return ("itself", kind)
    if kind in around:
        return ("around", around.index(kind))
    if dataclasses.is_dataclass(kind) or is_model(kind):
        return _shape_of_fields(kind, args, around)
    if typing.is_typeddict(kind):
        return ("itself", kind)
    if kind is str or issubclass(kind, os.PathLike):
        return "text"
    if issubclass(kind, bytes | bytearray):
        return "bytes"
    if issubclass(kind, tuple):
        if args and args[-1] is not Ellipsis:
            return ("itself", hint)
        return ("itself", kind) if hasattr(kind, "_fields") else _shape_of_items(args[:1], around)
    if issubclass(kind, Mapping):
        if len(args) == 1:
            args = (*args, int)
        shapes = tuple(_shape(each, around) for each in args) or ("anything", "anything")
        return None if None in shapes else ("object", shapes)
    if issubclass(kind, Collection) and not issubclass(kind, str):
        return _shape_of_items(args, around)
    return ("itself", kind)


def _shape_of_items(args: tuple[Any, ...], around: tuple[Any, ...]) -> Any:
    shape = _shape(args[0], around) if args else "anything"
    return None if shape is None else ("array", shape)


def _shape_of_fields(kind: Any, args: tuple[Any, ...], around: tuple[Any, ...]) -> Any:
    if _has_code(kind):
        return None  # its code may distinguish its values from others
    around = (*around, kind)
    if is_model(kind):
        if any(field.metadata or field.discriminator for field in kind.model_fields.values()):
            return None
        fields = [(name, field.annotation) for name, field in kind.model_fields.items()]
    else:
        fields = [(field.name, hint_of()) for field, hint_of in field_hints(kind, args)]
    shapes = frozenset((name, _shape(inner, around)) for name, inner in fields)
    return None if any(shape is None for _, shape in shapes) else ("fields", shapes)


def _has_code(kind: Any) -> bool:
    """Return whether a class has its own code that may decide what is stored or accepted."""
    if not is_model(kind):
        return hasattr(kind, "__post_init__") or hasattr(kind, "__pydantic_validator__")
    decorators = getattr(kind, "__pydantic_decorators__", None)
    if decorators is None:
        return True
    return any(
        getattr(decorators, each.name, None)
        for each in dataclasses.fields(decorators)
        if each.name != "computed_fields"
    ) or bool(kind.model_config.get("json_encoders"))
