"""Find the member of a union that a stored value belongs to."""

import dataclasses
import inspect
import types
import typing
from collections import deque
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any

from ...drivers.interrupts import raise_interrupt
from ..encoding import encode
from .hints import bare, field_hints, hints_of, is_alias, members
from .models import is_model

Reader = Callable[[Any], Any]
Conforms = Callable[[Any], bool]

_MAPPING_ARGS = 2


class Union:
    """Reads a value whose annotation is a union: narrow members first, and only a member that it belongs to.

    Parameters
    ----------
    candidates
        For each member its annotation, its reader, and the function that checks whether a value belongs.
    is_stored_form
        Returns whether a text is a stored form of a value.
    optional
        Whether None is a member.
    """

    def __init__(
        self,
        candidates: list[tuple[Any, Reader | None, Conforms]],
        is_stored_form: Callable[[Any, str], bool],
        *,
        optional: bool,
    ) -> None:
        self._candidates = sorted(candidates, key=lambda candidate: _breadth(candidate[0]))
        self._is_stored_form = is_stored_form
        self._optional = optional

    def __call__(self, data: Any) -> Any:
        """Return the value that is rebuilt from stored data."""
        if data is None and self._optional:
            return None
        text = encode(data)
        nearest: list[Any] = []
        for _, read, conforms in self._candidates:
            try:
                value = read(data) if read else data
                if not conforms(value):
                    continue
                if self._is_stored_form(value, text):
                    return value
            except RecursionError:
                raise  # it is not about the data
            except Exception as error:  # noqa: BLE001 - the value does not belong to this member
                raise_interrupt(error)
                continue
            if read:
                # The class may have changed since: a field with a default was added.
                nearest.append(value)
        return nearest[0] if nearest else data


_NARROW, _STRUCTURED, _CONTAINER, _SCALAR, _PATH, _BASIC, _ANY = range(7)


def _breadth(hint: Any) -> int:  # noqa: PLR0911 - one for each kind
    kind = typing.get_origin(hint) or hint
    if kind is typing.Literal:
        return _NARROW
    if not isinstance(kind, type) or kind in (Any, object):
        return _ANY
    if issubclass(kind, Enum):
        return _NARROW
    if dataclasses.is_dataclass(kind) or is_model(kind) or typing.is_typeddict(kind):
        return _STRUCTURED
    if kind in (str, int, float, bool):
        return _BASIC
    if hasattr(kind, "__fspath__"):
        return _PATH
    if issubclass(kind, Collection) and not issubclass(kind, str | bytes | bytearray):
        return _CONTAINER if typing.get_args(hint) else _PATH
    return _SCALAR


class Conformity:
    """Creates functions that return whether a value exactly matches an annotation."""

    def __init__(self) -> None:
        self._known: dict[Any, Conforms] = {}

    def test(self, hint: Any) -> Conforms:  # noqa: C901, PLR0911 - one for each kind of type
        """Return the function for one annotation.

        Parameters
        ----------
        hint
            A resolved annotation.
        """
        if is_alias(hint) or is_alias(typing.get_origin(hint)):
            return self._alias(hint)
        hint = bare(hint)
        kind, args = typing.get_origin(hint) or hint, typing.get_args(hint)
        if kind in (typing.Union, types.UnionType):
            tests = [self.test(each) for each in members(hint)]
            return lambda value: any(test(value) for test in tests)
        if kind is typing.Literal:
            return lambda value: any(type(value) is type(each) and value == each for each in args)
        if not isinstance(kind, type) or kind in (Any, object):
            return lambda _: True
        if issubclass(kind, Enum) or hasattr(kind, "__fspath__"):
            return lambda value: isinstance(value, kind)
        if dataclasses.is_dataclass(kind):
            return self._fields(kind, args)
        if typing.is_typeddict(kind):
            return self._typed_dict(kind, args)
        if issubclass(kind, tuple):
            return self._tuple(kind, args)
        if issubclass(kind, Mapping):
            return self._mapping(kind, args)
        if issubclass(kind, Collection) and not issubclass(kind, str | bytes | bytearray):
            return self._collection(kind, args)
        return lambda value: type(value) is kind

    def _alias(self, hint: Any) -> Conforms:
        if hint not in self._known:  # the alias may refer to itself
            self._known[hint] = lambda value: self._known[hint](value)  # noqa: PLW0108 - which by then is another
            self._known[hint] = self.test(bare(hint))
        return self._known[hint]

    def _fields(self, kind: Any, args: tuple[Any, ...]) -> Conforms:
        # Created at the first use: a class may contain itself, or a class that is defined later.
        def tests() -> dict[str, Conforms]:
            if (kind, args) not in made:
                made[kind, args] = {field.name: self.test(hint()) for field, hint in field_hints(kind, args)}
            return made[kind, args]

        made: dict[Any, dict[str, Conforms]] = {}
        return self._known.setdefault(
            (kind, args),
            lambda value: (
                type(value) is kind and all(test(getattr(value, name)) for name, test in tests().items())
            ),
        )

    def _typed_dict(self, kind: Any, args: tuple[Any, ...]) -> Conforms:
        if (kind, args) not in self._known:
            tests: dict[str, Conforms] = {}
            self._known[kind, args] = lambda value: (
                type(value) is dict
                and kind.__required_keys__ <= value.keys() <= tests.keys()
                and all(tests[name](item) for name, item in value.items())
            )
            tests |= {name: self.test(hint) for name, hint in hints_of(kind, args).items()}
        return self._known[kind, args]

    def _mapping(self, kind: Any, args: tuple[Any, ...]) -> Conforms:
        if len(args) != _MAPPING_ARGS:
            return lambda value: isinstance(value, kind)
        key, item = map(self.test, args)
        exact = dict if inspect.isabstract(kind) else kind
        return lambda value: type(value) is exact and all(key(k) and item(v) for k, v in value.items())

    def _collection(self, kind: Any, args: tuple[Any, ...]) -> Conforms:
        if not inspect.isabstract(kind) and issubclass(kind, list | set | frozenset | deque):
            build = kind
        else:
            build = set if issubclass(kind, AbstractSet) else list
        item = self.test(args[0]) if args else None
        return lambda value: type(value) is build and (item is None or all(map(item, value)))

    def _tuple(self, kind: Any, args: tuple[Any, ...]) -> Conforms:
        if hasattr(kind, "_fields"):
            hints = hints_of(kind, args)
            tests = [self.test(hints.get(name, Any)) for name in kind._fields]
        elif not args:
            return lambda value: type(value) is kind
        else:
            tests = [self.test(each) for each in args if each is not Ellipsis]
            if args[-1] is Ellipsis:
                return lambda value: type(value) is kind and all(map(tests[0], value))
        return lambda value: (
            type(value) is kind
            and len(value) == len(tests)
            and all(test(item) for test, item in zip(tests, value, strict=True))
        )
