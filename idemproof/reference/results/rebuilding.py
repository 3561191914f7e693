"""Rebuild values from plain data by their annotations."""

import base64
import contextlib
import dataclasses
import inspect
import json
import os
import threading
import types
import typing
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from ...drivers.interrupts import raise_interrupt
from ...spec.errors import IdempotencyModelTypeError
from ..encoding import decode, encode
from ..places import keyed
from .hints import bare, field_hints, field_owner, hints_of, is_alias, later, members
from .models import FORMS, is_model, model_reader
from .plain import duration, plain
from .unions import Conformity, Union

Reader = Callable[[Any], Any]

_BASIC = (str, int, float)

_SCALARS: tuple[tuple[type, Callable[[Any], Reader]], ...] = (
    (datetime, lambda cls: cls.fromisoformat),
    (date, lambda cls: cls.fromisoformat),
    (time, lambda cls: cls.fromisoformat),
    (timedelta, lambda _: duration),
    (Decimal, lambda cls: cls),
    (UUID, lambda cls: cls),
    (os.PathLike, lambda cls: cls),
    (bytes, lambda cls: lambda text: cls(base64.b64decode(text, validate=True))),
    (bytearray, lambda cls: lambda text: cls(base64.b64decode(text, validate=True))),
)


class MisfitError(ValueError):
    """Stored data does not match an annotation.

    Parameters
    ----------
    path
        The path in the data.
    cause
        The error at this path.
    """

    def __init__(self, path: str, cause: BaseException) -> None:
        super().__init__(path, cause)
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        return f"${self.path}: {type(self.cause).__name__}: {self.cause}"

    @classmethod
    def at(cls, path: str, error: Exception) -> "MisfitError":
        """Return the error with ``path`` before its own path; raise an error that is not about the data."""
        raise_interrupt(error)
        if isinstance(error, RecursionError):
            raise error
        if isinstance(error, MisfitError):
            return cls(path + error.path, error.cause)
        return cls(path, error)


class Readers:
    """Creates functions that rebuild values of annotated types from plain data."""

    def __init__(self) -> None:
        # A dataclass is added before its fields are read, so that it can contain itself.
        self._known: dict[Any, _DataclassReader] = {}
        self._aliases: dict[Any, Reader | None] = {}
        self._unresolved: list[tuple[_DataclassReader, str, Callable[[], Any]]] = []
        self._conformity = Conformity()
        self._lock = threading.Lock()
        self.with_bytes = False
        """Whether an annotation names bytes."""

    @property
    def complete(self) -> bool:
        """Whether all annotations could be resolved."""
        return not self._unresolved

    def resolve(self) -> None:
        """Resolve annotations that named classes before their definition.

        Raises
        ------
        IdempotencyModelTypeError
            A class is still undefined.
        """
        with self._lock:
            while self._unresolved:
                pending = self._unresolved[-1]
                reader, name, hint_of = pending
                reader.reads[name] = self.item(hint_of())
                self._unresolved.remove(pending)

    def reader(self, hint: Any) -> Reader | None:  # noqa: C901, PLR0911 - one for each kind of type
        """Return the function that rebuilds a value; None if the plain data is already the value.

        Parameters
        ----------
        hint
            A resolved annotation.

        Raises
        ------
        IdempotencyModelTypeError
            The annotation of a field inside cannot be resolved.
        """
        if is_alias(hint) or is_alias(typing.get_origin(hint)):
            return self._alias(hint)
        hint = bare(hint)
        args = typing.get_args(hint)
        kind = typing.get_origin(hint) or hint
        if kind in (typing.Union, types.UnionType):
            return self._union(hint)
        if kind is typing.Literal:
            return choice(args)
        if not isinstance(kind, type) or kind in _BASIC or kind is bool:
            return None
        if issubclass(kind, Enum):
            return choice(kind.__members__.values(), kind)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, args)
        for scalar, make in _SCALARS:
            if issubclass(kind, scalar):
                self.with_bytes = self.with_bytes or scalar in (bytes, bytearray)
                return make(kind)
        if is_model(kind):
            return model_reader(kind)
        if issubclass(kind, _BASIC):
            return kind
        return self._container(kind, args)

    def item(self, hint: Any) -> Reader | None:
        """Return the function that rebuilds a value that may be None, even against its annotation."""
        read = self.reader(hint)
        return read and _unless_none(read)

    def _alias(self, hint: Any) -> Reader | None:
        if hint in self._aliases:
            # The alias refers to itself: its reader is looked up when it is used.
            return lambda data: known(data) if (known := self._aliases[hint]) else data
        self._aliases[hint] = None
        self._aliases[hint] = read = self.reader(bare(hint))
        return read

    def _container(self, kind: Any, args: tuple[Any, ...]) -> Reader | None:
        if issubclass(kind, tuple):
            return self._tuple(kind, args)
        if typing.is_typeddict(kind):
            return self._typed_dict(kind, args)
        if issubclass(kind, Mapping):
            return self._mapping(kind, args)
        if issubclass(kind, Collection) or kind is typing.get_origin(typing.Iterable[Any]):
            read = self.item(args[0]) if args else None
            build = concrete(kind)
            if read is None and build is list:
                return None
            return _array(build, read)
        return None

    def _mapping(self, kind: Any, args: tuple[Any, ...]) -> Reader | None:
        if len(args) == 1:  # a Counter
            args = (args[0], int)
        read_key, read = (self._key(args[0]), self.item(args[1])) if len(args) == 2 else (None, None)  # noqa: PLR2004 - key and value
        build: Any = None if kind is dict or inspect.isabstract(kind) or kind is Mapping else kind
        if build is not None and issubclass(build, defaultdict):
            factory = bare(args[1]) if args else None
            factory = typing.get_origin(factory) or factory
            given = factory if callable(factory) else None
            build = lambda items: kind(given, items)  # noqa: E731 - one of several
        if build is None and read_key is None and read is None:
            return None

        def rebuild(data: Any) -> Any:
            pairs = data if isinstance(data, list) and issubclass(kind, OrderedDict) else data.items()
            items = {}
            for key, item in pairs:
                try:
                    items[read_key(key) if read_key else key] = read(item) if read else item
                except Exception as error:
                    raise MisfitError.at(keyed(key), error) from error
            return items if build is None else build(items)

        return rebuild

    def _tuple(self, kind: Any, args: tuple[Any, ...]) -> Reader:
        if hasattr(kind, "_fields"):
            hints = hints_of(kind, args)
            reads = [self.item(hints.get(name, Any)) for name in kind._fields]
            return _fixed(kind._make, reads)
        if args and args[-1] is not Ellipsis:
            return _fixed(kind, [self.item(arg) for arg in args])
        every = self.item(args[0]) if args else None
        return _array(kind, every)

    def _typed_dict(self, kind: Any, args: tuple[Any, ...]) -> Reader | None:
        reads = {name: read for name, hint in hints_of(kind, args).items() if (read := self.item(hint))}
        return _object(reads) if reads else None

    def _key(self, hint: Any) -> Reader | None:
        kind = bare(hint)
        if typing.get_origin(kind) is typing.Literal:
            return choice(typing.get_args(kind), as_keys=True)
        if not isinstance(kind, type) or kind is str:
            return None
        if issubclass(kind, Enum):
            return choice(kind.__members__.values(), kind, as_keys=True)
        if kind is bool:
            return json.loads
        if kind in (int, float):
            return kind
        return self.reader(kind)

    def _union(self, hint: Any) -> Reader | None:
        every = members(hint)
        kinds = [each for each in every if each is not types.NoneType]
        if len(kinds) == 1:
            return self.reader(kinds[0])
        reads = [(kind, self.reader(kind)) for kind in kinds]
        if not any(read for _, read in reads):
            return None
        candidates = [(kind, read, self._conformity.test(kind)) for kind, read in reads]
        return Union(candidates, self._is_stored_form, optional=len(kinds) < len(every))

    def _is_stored_form(self, value: Any, text: str) -> bool:
        """Return whether ``text`` is a stored form of a rebuilt value."""
        for form in FORMS:
            own = encode(plain(value, form, with_bytes=self.with_bytes))
            # Numeric keys sort differently from their texts.
            if own == text or encode(decode(own)) == text:
                return True
        return False

    def _dataclass(self, cls: Any, args: tuple[Any, ...]) -> Reader:
        known = self._known.get((cls, args))
        if known is None:
            known = self._known[cls, args] = _DataclassReader(cls)
            for field, hint_of in field_hints(cls, args):
                try:
                    known.reads[field.name] = self.item(hint_of())
                except IdempotencyModelTypeError as error:
                    if not later(field_owner(cls, field), error):
                        raise
                    known.reads[field.name] = None
                    self._unresolved.append((known, field.name, hint_of))
        return known


class _DataclassReader:
    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.reads: dict[str, Reader | None] = {}
        fields = dataclasses.fields(cls)
        self._arguments = [field.name for field in fields if field.init]
        self._constructs = _accepts(cls, self._arguments)
        # A constructor that validates may change the fields, and may refuse them as arguments.
        self._prepares = hasattr(cls, "__post_init__") or hasattr(cls, "__pydantic_validator__")
        # The fields can only differ if the class changes them after it sets them.
        self._restored = [field.name for field in fields if self._prepares or not field.init]

    def __call__(self, data: Any) -> Any:  # noqa: C901 - each branch is a way to be made
        if not isinstance(data, dict):
            raise TypeError(f"{self.cls.__qualname__} is stored as an object, not as {type(data).__name__}")
        values = {}
        for name, read in self.reads.items():
            if name in data:
                try:
                    values[name] = read(data[name]) if read else data[name]
                except Exception as error:
                    raise MisfitError.at(f".{name}", error) from error
        if not self._constructs:
            return self._bare(values)
        try:
            built = self.cls(**{name: values[name] for name in self._arguments if name in values})
        except RecursionError:
            raise  # it is not about the data
        except Exception as error:
            raise_interrupt(error)
            if not self._prepares:
                raise
            # The fields were already prepared once, and the constructor does not accept them again.
            return self._bare(values)
        for name in self._restored:
            if name in values:
                object.__setattr__(built, name, values[name])
        return built

    def _bare(self, values: dict[str, Any]) -> Any:
        built = self.cls.__new__(self.cls)
        for field in dataclasses.fields(self.cls):
            if field.name in values:
                value = values[field.name]
            elif field.default is not dataclasses.MISSING:
                value = field.default
            elif field.default_factory is not dataclasses.MISSING:
                value = field.default_factory()
            else:
                raise TypeError(f"field {field.name!r} of {self.cls.__qualname__} is not stored")
            object.__setattr__(built, field.name, value)
        return built


def _accepts(cls: Any, arguments: list[str]) -> bool:
    """Return whether the constructor takes the fields by keyword, and nothing else such as an InitVar."""
    if cls.__init__ is object.__init__:
        return False
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {each.name for each in parameters if each.kind not in variadic}
    needed = {each.name for each in parameters if each.name in named and each.default is each.empty}
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    return needed <= set(arguments) and (open_ended or set(arguments) <= named)


def _array(build: Any, read: Reader | None) -> Reader:
    def rebuild(data: Any) -> Any:
        if not isinstance(data, list):
            raise TypeError(f"{build.__qualname__} is stored as an array, not as {type(data).__name__}")
        return build(_each(data, [read] * len(data)) if read else data)

    return rebuild


def _fixed(build: Any, reads: list[Reader | None]) -> Reader:
    def rebuild(data: Any) -> Any:
        if not isinstance(data, list) or len(data) != len(reads):
            raise TypeError(f"an array of {len(reads)} items was expected")
        return build(_each(data, reads))

    return rebuild


def _each(data: list[Any], reads: list[Reader | None]) -> list[Any]:
    items = []
    for index, (item, read) in enumerate(zip(data, reads, strict=True)):
        try:
            items.append(read(item) if read else item)
        except Exception as error:
            raise MisfitError.at(f"[{index}]", error) from error
    return items


def _object(reads: dict[str, Reader]) -> Reader:
    def rebuild(data: Any) -> Any:
        items = {}
        for key, item in data.items():
            try:
                items[key] = reads[key](item) if key in reads else item
            except Exception as error:
                raise MisfitError.at(keyed(key), error) from error
        return items

    return rebuild


def choice(choices: Any, fallback: Reader | None = None, *, as_keys: bool = False) -> Reader:
    """Return the function that finds one of several known values by its stored form."""
    table: dict[str, Any] = {}
    for each in choices:
        # A member that cannot be stored is never read.
        with contextlib.suppress(TypeError, ValueError):
            data = plain(each)
            text = encode(data)
            table.setdefault(encode(text) if as_keys and not isinstance(data, str) else text, each)

    def read(data: Any) -> Any:
        text = encode(data)
        if text in table:
            return table[text]
        return fallback(data) if fallback else data

    return read


def _unless_none(read: Reader) -> Reader:
    return lambda data: None if data is None else read(data)


def concrete(kind: Any) -> Any:
    """Return the class that is built for an array whose annotation is ``kind``."""
    if not inspect.isabstract(kind) and issubclass(kind, list | set | frozenset | deque):
        return kind
    return set if issubclass(kind, AbstractSet) else list
