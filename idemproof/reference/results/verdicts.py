"""Recognize values that are certainly rebuilt unchanged, so that they need no comparison.

A verdict is created once for a class. It checks whether a value holds only what its annotations say. A class
has a verdict only if such values are certain to be rebuilt: no code of the class takes part, and every type
in it has one text for each value. Without a verdict, or if it returns False, the result is rebuilt and
compared.
"""

import contextlib
import dataclasses
import types
import typing
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, Flag
from typing import Any
from uuid import UUID

from ...drivers.interrupts import raise_interrupt
from .hints import bare, field_hints, is_alias, members
from .models import is_model

Test = Callable[[Any], bool]

# Parsers disagree about dates before this year.
_GREGORIAN = 1600

_PLAIN_CONFIG = frozenset(
    (
        "arbitrary_types_allowed",
        "extra",
        "from_attributes",
        "frozen",
        "json_schema_extra",
        "populate_by_name",
        "protected_namespaces",
        "strict",
        "title",
        "use_attribute_docstrings",
        "validate_assignment",
    )
)


class _NoVerdict(Exception):  # noqa: N818 - ends a search, and is not an error
    pass


class _Kind(typing.NamedTuple):
    """The exact types that a value may have, and a further test of the value."""

    types: frozenset[type]
    test: Test | None = None


_ALWAYS = {kind: _Kind(frozenset((kind,))) for kind in (str, int, bool, types.NoneType, UUID)}
_TESTED: dict[type, _Kind] = {
    float: _Kind(frozenset((float,)), lambda value: value - value == 0.0),  # finite
    Decimal: _Kind(frozenset((Decimal,)), Decimal.is_finite),
    date: _Kind(frozenset((date,)), lambda value: value.year >= _GREGORIAN),
    datetime: _Kind(
        frozenset((datetime,)),
        lambda value: value.tzinfo is None and not value.fold and value.year >= _GREGORIAN,
    ),
}


# Pydantic rebuilds other time zones as its own class.
_AT_UTC = _Kind(
    frozenset((datetime,)),
    lambda value: (
        (value.tzinfo is None or value.tzinfo is UTC) and not value.fold and value.year >= _GREGORIAN
    ),
)


def _is_json(value: Any) -> bool:
    """Return whether a value is decoded unchanged from its JSON text."""
    kind = type(value)
    if kind is list:
        return all(map(_is_json, value))
    if kind is dict:
        keys = list(value)
        # Stored keys are sorted, and are rebuilt in that order.
        return (
            _STRINGS.issuperset(map(type, keys))
            and keys == sorted(keys)
            and all(map(_is_json, value.values()))
        )
    return kind in _SCALARS or (kind is float and value - value == 0.0)


_STRINGS = frozenset((str,))
_SCALARS = frozenset((str, int, bool, types.NoneType))
_JSON = _Kind(frozenset((str, int, bool, float, list, dict, types.NoneType)), _is_json)


def verdict(model: Any) -> Test | None:
    """Return a function that checks whether a value of ``model`` is certainly rebuilt; None if unknown.

    Parameters
    ----------
    model
        A dataclass or a Pydantic model, resolved.
    """
    try:
        return _Verdicts().of(model)
    except Exception as error:  # noqa: BLE001 - without a verdict, the result is compared
        raise_interrupt(error)
        return None


class _Verdicts:
    def __init__(self) -> None:
        self._open: set[Any] = set()
        self._inside_models = 0

    def of(self, hint: Any) -> Test:
        found = self._kind(hint)
        (exact,) = found.types
        assert found.test is not None  # classes have fields to look at
        test = found.test
        return lambda value: type(value) is exact and test(value)

    def _kind(self, hint: Any) -> _Kind:  # noqa: C901, PLR0911, PLR0912 - one branch for each kind of type
        every = members(hint)
        if len(every) > 1:
            return self._optional(every)
        hint = bare(every[0])
        args = typing.get_args(hint)
        kind = typing.get_origin(hint) or hint
        if kind is typing.Literal:
            return _literal(args)
        if hint is Any:
            return _JSON
        if not isinstance(kind, type):
            raise _NoVerdict
        if kind is datetime and not self._inside_models:
            return _AT_UTC
        if kind in (list, dict) and not args:
            return _Kind(frozenset((kind,)), _is_json)
        if found := _ALWAYS.get(kind) or _TESTED.get(kind):
            return found
        if kind is list and args:
            return _Kind(frozenset((list,)), self._all(args[0]))
        if kind is tuple and len(args) == 2 and args[1] is Ellipsis:  # noqa: PLR2004 - tuple[X, ...]
            return _Kind(frozenset((tuple,)), self._all(args[0]))
        if kind is dict and args and bare(args[0]) is str:
            return _Kind(frozenset((dict,)), self._mapping(args[1]))
        if issubclass(kind, Enum):
            return _enumeration(kind)
        if dataclasses.is_dataclass(kind):
            return _Kind(frozenset((kind,)), self._dataclass(kind, args))
        if is_model(kind):
            return _Kind(frozenset((kind,)), self._model(kind))
        raise _NoVerdict

    def _optional(self, every: list[Any]) -> _Kind:
        others = [each for each in every if each is not types.NoneType]
        if len(others) > 1:
            raise _NoVerdict
        kind = self._kind(others[0])
        test = kind.test
        return _Kind(kind.types | {types.NoneType}, test and (lambda value: value is None or test(value)))

    def _all(self, hint: Any) -> Test:
        kinds, test = self._kind(hint)
        if test is None:
            return lambda values: kinds.issuperset(map(type, values))
        return lambda values: kinds.issuperset(map(type, values)) and all(map(test, values))

    def _mapping(self, hint: Any) -> Test:
        every = self._all(hint)

        def test(value: dict[Any, Any]) -> bool:
            # Stored keys are sorted, and are rebuilt in that order.
            keys = list(value)
            return _STRINGS.issuperset(map(type, keys)) and keys == sorted(keys) and every(value.values())

        return test

    def _dataclass(self, cls: Any, args: tuple[Any, ...]) -> Test:
        if self._inside_models or not _is_plain_dataclass(cls):  # Pydantic reads these in its own way
            raise _NoVerdict
        with self._opened((cls, args)):
            return _fields([(field.name, self._kind(hint())) for field, hint in field_hints(cls, args)])

    def _model(self, cls: Any) -> Test:
        hints = [(name, field.annotation) for name, field in cls.model_fields.items()]
        if not _is_plain_model(cls) or any(_is_annotated(hint) for _, hint in hints):
            raise _NoVerdict
        bounds = _bounds(cls)
        self._inside_models += 1
        with self._opened(cls):
            kinds = [(name, self._kind(hint)) for name, hint in hints]
        self._inside_models -= 1
        fields = _fields([(name, _bounded(kind, bounds.get(name, []))) for name, kind in kinds])
        return lambda value: value.__pydantic_extra__ is None and fields(value)

    @contextlib.contextmanager
    def _opened(self, cls: Any) -> Iterator[None]:
        if cls in self._open:
            # A value may be nested too deep to be rebuilt, which only rebuilding shows.
            raise _NoVerdict
        self._open.add(cls)
        yield
        self._open.discard(cls)


def _fields(kinds: list[tuple[str, _Kind]]) -> Test:
    parts = tuple((name, *kind) for name, kind in kinds)

    def test(value: Any) -> bool:
        held = value.__dict__
        if len(held) != len(parts):
            return False
        for name, allowed, further in parts:
            found = held[name]
            if type(found) not in allowed or (further is not None and not further(found)):
                return False
        return True

    return test


def _bounded(kind: _Kind, bounds: list[Test]) -> _Kind:
    tests = [kind.test, *bounds] if kind.test else bounds
    return _Kind(kind.types, lambda value: all(test(value) for test in tests)) if bounds else kind


def _bounds(cls: Any) -> dict[str, list[Test]]:
    """Return for each bounded field of a model the functions that check its bounds."""
    return {
        name: [_BOUNDS[type(bound).__name__](bound) for bound in field.metadata]
        for name, field in cls.model_fields.items()
        if field.metadata
    }


# By name, because Pydantic depends on their module and this library does not.
_BOUNDS: dict[str, Callable[[Any], Test]] = {
    "Gt": lambda bound: lambda value: value is None or bool(value > bound.gt),
    "Ge": lambda bound: lambda value: value is None or bool(value >= bound.ge),
    "Lt": lambda bound: lambda value: value is None or bool(value < bound.lt),
    "Le": lambda bound: lambda value: value is None or bool(value <= bound.le),
    "MinLen": lambda bound: lambda value: value is None or len(value) >= bound.min_length,
    "MaxLen": lambda bound: lambda value: value is None or len(value) <= bound.max_length,
}


def _literal(args: tuple[Any, ...]) -> _Kind:
    kinds = frozenset(map(type, args))
    if not kinds <= {str, int, bool, types.NoneType} or {int, bool} <= kinds:
        raise _NoVerdict
    return _Kind(kinds, lambda value: value in args)


def _enumeration(kind: type[Enum]) -> _Kind:
    kinds = {type(member.value) for member in kind}
    if issubclass(kind, Flag) or kinds not in ({str}, {int}) or "_missing_" in vars(kind):
        raise _NoVerdict
    if any(isinstance(member, str | int) and not (member == member.value) for member in kind):
        raise _NoVerdict
    if any(callable(getattr(kind, name, None)) for name in _PYDANTIC_HOOKS):
        raise _NoVerdict
    return _Kind(frozenset((kind,)))


_PYDANTIC_HOOKS = ("__get_pydantic_core_schema__", "__get_validators__")


def _is_plain_dataclass(cls: Any) -> bool:
    """Return whether no code of the class takes part in building and reading its values."""
    if hasattr(cls, "__pydantic_validator__") or hasattr(cls, "__post_init__"):
        return False
    if cls.__new__ is not object.__new__ or cls.__getattribute__ is not object.__getattribute__:
        return False
    if cls.__setattr__ is not object.__setattr__ and not _is_generated(cls.__setattr__):
        return False
    pseudo = len(cls.__dataclass_fields__) != len(dataclasses.fields(cls))  # InitVar, ClassVar
    if pseudo or not cls.__dictoffset__ or not _is_generated(cls.__init__):
        return False
    return all(field.init for field in dataclasses.fields(cls))


def _is_generated(method: Any) -> bool:
    code = getattr(method, "__code__", None)
    return code is not None and code.co_filename == "<string>"


def _is_plain_model(cls: Any) -> bool:  # noqa: PLR0911 - one branch for each way to take part
    """Return whether no code or setting of the class takes part in storing and reading its values."""
    base = next((each for each in cls.__mro__ if each.__module__ == "pydantic.main"), None)
    if base is None or cls.__pydantic_complete__ is not True or cls.__pydantic_root_model__:
        return False
    if any(getattr(cls, name) is not getattr(base, name) for name in _UNTOUCHED):
        return False
    if any(name in vars(each) for each in cls.__mro__ if each is not base for name in _PYDANTIC_HOOKS):
        return False
    if cls.model_validate.__func__ is not base.model_validate.__func__ or cls.__private_attributes__:
        return False
    if not set(cls.model_config) <= _PLAIN_CONFIG or cls.model_config.get("extra") == "allow":
        return False
    decorators = cls.__pydantic_decorators__
    taking_part = [each.name for each in dataclasses.fields(decorators) if getattr(decorators, each.name)]
    # Computed fields are stored and ignored when read, unless extra fields are forbidden.
    if taking_part and (taking_part != ["computed_fields"] or cls.model_config.get("extra") == "forbid"):
        return False
    return all(_is_plain_field(field) for field in cls.model_fields.values())


_UNTOUCHED = (
    *("__init__", "__new__", "__setattr__", "__getattribute__", "__iter__"),
    *("model_dump", "model_post_init"),
)


def _is_annotated(hint: Any) -> bool:
    """Return whether an annotation contains, or may contain, its own validators or serializers."""
    origin = typing.get_origin(hint)
    return (
        origin is typing.Annotated
        or is_alias(hint)
        or is_alias(origin)
        or (origin is not typing.Literal and any(map(_is_annotated, typing.get_args(hint))))
    )


def _is_plain_field(field: Any) -> bool:
    return not (
        any(
            type(bound).__module__ != "annotated_types" or type(bound).__name__ not in _BOUNDS
            for bound in field.metadata
        )
        or field.exclude
        or getattr(field, "exclude_if", None)
        or field.alias
        or field.validation_alias
        or field.serialization_alias
        or field.discriminator
    )
