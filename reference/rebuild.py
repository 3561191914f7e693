"""Dataclasses to plain data, and back by their annotations."""

import contextlib
import dataclasses
import functools
import inspect
import json
import os
import types
import typing
from collections import deque
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from ..spec.errors import IdempotencyModelTypeError
from .annotations import resolve_annotation
from .encoding import encode

Reader = Callable[[Any], Any]


def plain(value: Any) -> Any:
    """Return a value as data that JSON can hold, wherever JSON knows how; the rest as it is.

    Parameters
    ----------
    value
        A dataclass, or anything that one may hold.
    """
    # What dataclasses.asdict and the encoder make of a value comes first: other software shares these bytes.
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {_plain_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | deque):
        return [plain(item) for item in value]
    if isinstance(value, AbstractSet):
        # In an order that does not depend on the process.
        return sorted(map(plain, value), key=encode)
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float("nan") if value.is_nan() else str(value)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def _plain_key(key: Any) -> Any:
    return key if key is None or isinstance(key, str | int | float) else plain(key)


_SCALARS: tuple[tuple[type, Callable[[Any], Reader]], ...] = (
    (datetime, lambda cls: cls.fromisoformat),
    (date, lambda cls: cls.fromisoformat),
    (time, lambda cls: cls.fromisoformat),
    (Decimal, lambda cls: cls),
    (UUID, lambda cls: cls),
    (os.PathLike, lambda cls: cls),
)


def model_reader(model: Any) -> Reader:
    """Return what validates a Pydantic model's stored data.

    Parameters
    ----------
    model
        A class with a ``model_validate`` method.
    """
    # Not even a strict model gets more than JSON can tell: its dates are stored as text.
    options = {"strict": False}
    if "by_name" in inspect.signature(model.model_validate).parameters:
        # Data is stored under the fields' own names, whatever aliases they are validated by.
        options |= {"by_alias": True, "by_name": True}
    return functools.partial(model.model_validate, **options)


class Readers:
    """Makes functions that rebuild values of annotated types from their plain data."""

    def __init__(self) -> None:
        # Also what lets a dataclass contain itself: it is known before its fields are looked at.
        self._known: dict[Any, _DataclassReader] = {}

    def reader(self, hint: Any) -> Reader | None:  # noqa: PLR0911 - one for each kind of type
        """Return what rebuilds a value; None if the plain data is the value already.

        Parameters
        ----------
        hint
            A resolved annotation.

        Raises
        ------
        IdempotencyModelTypeError
            The annotation of a field inside cannot be resolved.
        """
        hint = _bare(hint)
        args = typing.get_args(hint)
        kind = typing.get_origin(hint) or hint
        if kind in (typing.Union, types.UnionType):
            return self._union(args)
        if kind is typing.Literal:
            return _choice(args)
        if not isinstance(kind, type):
            return None
        if issubclass(kind, Enum):
            return _choice(kind.__members__.values(), kind)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, args)
        for scalar, make in _SCALARS:
            if issubclass(kind, scalar):
                return make(kind)
        if callable(getattr(kind, "model_validate", None)):
            return model_reader(kind)
        return self._container(kind, args)

    def _container(  # noqa: PLR0911 - one for each kind of type
        self, kind: Any, args: tuple[Any, ...]
    ) -> Reader | None:
        if issubclass(kind, str | bytes | bytearray):
            return None
        if issubclass(kind, tuple):
            return self._tuple(kind, args)
        if typing.is_typeddict(kind):
            return self._typed_dict(kind)
        if issubclass(kind, Mapping):
            read_key, read = (self._key(args[0]), self._item(args[1])) if len(args) == 2 else (None, None)  # noqa: PLR2004 - key and value
            if read_key is None and read is None:
                return None
            return lambda data: {
                (read_key(key) if read_key else key): (read(item) if read else item)
                for key, item in data.items()
            }
        if issubclass(kind, Collection) or kind is typing.get_origin(typing.Iterable[Any]):
            read = self._item(args[0]) if args else None
            build = _concrete(kind)
            if read is None:
                return None if build is list else build
            return lambda data: build(map(read, data))
        return None

    def _item(self, hint: Any) -> Reader | None:
        read = self.reader(hint)
        return read and _unless_none(read)

    def _tuple(self, kind: Any, args: tuple[Any, ...]) -> Reader:
        if hasattr(kind, "_fields"):
            hints = _hints(kind)
            reads = [self._item(hints.get(name)) for name in kind._fields]
            return lambda data: kind._make(
                read(item) if read else item for read, item in zip(reads, data, strict=True)
            )
        if args and args[-1] is not Ellipsis:
            fixed = [self._item(arg) for arg in args]
            return lambda data: kind(
                read(item) if read else item for read, item in zip(fixed, data, strict=True)
            )
        every = self._item(args[0]) if args else None
        return (lambda data: kind(map(every, data))) if every else kind

    def _typed_dict(self, kind: Any) -> Reader | None:
        reads = {name: read for name, hint in _hints(kind).items() if (read := self._item(hint))}
        if not reads:
            return None
        return lambda data: {key: reads[key](item) if key in reads else item for key, item in data.items()}

    def _key(self, hint: Any) -> Reader | None:
        kind = _bare(hint)
        if not isinstance(kind, type) or kind is str:
            return None
        if issubclass(kind, Enum):
            return _choice(kind.__members__.values(), kind, as_keys=True)
        if kind is bool:
            return json.loads
        if kind in (int, float):
            return kind
        return self.reader(kind)

    def _union(self, args: tuple[Any, ...]) -> Reader | None:
        kinds = [_bare(arg) for arg in args if arg is not types.NoneType]
        if len(kinds) == 1:
            return self.reader(kinds[0])
        reads = [(kind, self.reader(kind)) for kind in kinds]
        as_they_are = tuple(typing.get_origin(kind) or kind for kind, read in reads if read is None)
        rebuilt = [read for _, read in reads if read is not None]
        if not rebuilt:
            return None

        def read(data: Any) -> Any:
            if type(data) in as_they_are:
                return data
            found = [data]
            for candidate in rebuilt:
                with contextlib.suppress(Exception):
                    value = candidate(data)
                    # The right member of a union is the one that gives the stored data back.
                    if encode(plain(value)) == encode(data):
                        return value
                    found.insert(-1, value)
            return found[0]

        return read

    def _dataclass(self, cls: Any, args: tuple[Any, ...]) -> Reader:
        known = self._known.get((cls, args))
        if known is None:
            known = self._known[cls, args] = _DataclassReader(cls)
            variables = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
            for field in dataclasses.fields(cls):
                known.reads[field.name] = self._item(_substituted(_field_hint(cls, field), variables))
        return known


class _DataclassReader:
    def __init__(self, cls: Any) -> None:
        self._cls = cls
        self.reads: dict[str, Reader | None] = {}
        fields = dataclasses.fields(cls)
        self._arguments = [field.name for field in fields if field.init]
        self._constructs = _accepts(cls, self._arguments)
        self._prepares = hasattr(cls, "__post_init__")
        # Only the constructor of a class that prepares its fields can have made them differ.
        self._restored = [field.name for field in fields if self._prepares or not field.init]

    def __call__(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise TypeError(f"{self._cls.__qualname__} is stored as an object, not as {type(data).__name__}")
        values = {
            name: read(data[name]) if read else data[name]
            for name, read in self.reads.items()
            if name in data
        }
        if not self._constructs:
            return self._bare(values)
        try:
            built = self._cls(**{name: values[name] for name in self._arguments if name in values})
        except Exception:
            if not self._prepares:
                raise
            # It prepared its fields once already, and does not take the outcome for its input.
            return self._bare(values)
        for name in self._restored:
            if name in values:
                object.__setattr__(built, name, values[name])
        return built

    def _bare(self, values: dict[str, Any]) -> Any:
        built = self._cls.__new__(self._cls)
        for field in dataclasses.fields(self._cls):
            if field.name in values:
                value = values[field.name]
            elif field.default is not dataclasses.MISSING:
                value = field.default
            elif field.default_factory is not dataclasses.MISSING:
                value = field.default_factory()
            else:
                raise TypeError(f"field {field.name!r} of {self._cls.__qualname__} is not stored")
            object.__setattr__(built, field.name, value)
        return built


def _accepts(cls: Any, arguments: list[str]) -> bool:
    """Tell whether the constructor takes the fields by keyword and needs nothing else, such as an InitVar."""
    if cls.__init__ is object.__init__:
        return False
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {each.name for each in parameters if each.kind not in variadic}
    needed = {each.name for each in parameters if each.name in named and each.default is each.empty}
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    return needed <= set(arguments) and (open_ended or set(arguments) <= named)


def _choice(choices: Any, fallback: Reader | None = None, *, as_keys: bool = False) -> Reader:
    """Return what finds the one of several known values that is stored in this way."""
    table: dict[str, Any] = {}
    for choice in choices:
        # A member that cannot be stored cannot come back either.
        with contextlib.suppress(TypeError, ValueError):
            data = plain(choice)
            text = encode(data)
            table.setdefault(encode(text) if as_keys and not isinstance(data, str) else text, choice)

    def read(data: Any) -> Any:
        text = encode(data)
        if text in table:
            return table[text]
        return fallback(data) if fallback else data

    return read


def _unless_none(read: Reader) -> Reader:
    return lambda data: None if data is None else read(data)


def _concrete(kind: Any) -> Any:
    if not inspect.isabstract(kind) and issubclass(kind, list | set | frozenset | deque):
        return kind
    return set if issubclass(kind, AbstractSet) else list


def _bare(hint: Any) -> Any:
    """Return a type without what only annotates, renames or restricts it."""
    while True:
        if typing.get_origin(hint) in (typing.Annotated, typing.Final):
            hint = typing.get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif hasattr(hint, "__value__") and type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint


def _substituted(hint: Any, variables: dict[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return variables.get(hint, hint)
    parameters = () if isinstance(hint, type) else getattr(hint, "__parameters__", ())
    if variables and parameters:
        return hint[tuple(variables.get(each, each) for each in parameters)]
    return hint


def _field_hint(cls: Any, field: Any) -> Any:
    # Inherited fields are the very same objects: the farthest base that has this one wrote its annotation.
    def has_it(base: type) -> bool:
        return vars(base).get("__dataclass_fields__", {}).get(field.name) is field

    owner = next(filter(has_it, reversed(cls.__mro__)))
    try:
        return resolve_annotation(field.type, owner, owner.__module__)
    except Exception as error:
        raise IdempotencyModelTypeError(
            f"The annotation {field.type!r} of field {field.name!r} of {owner.__qualname__} cannot be "
            f"resolved ({error}). Define or import what it names before the serializer is made, and not for "
            "type checkers alone."
        ) from error


def _hints(cls: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except Exception as error:
        raise IdempotencyModelTypeError(
            f"The annotations of {cls.__qualname__} cannot be resolved ({error})."
        ) from error
