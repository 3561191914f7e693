"""Convert selected data to plain data that can be encoded, or find the place that cannot be encoded."""

import marshal
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from ..places import ROOT, Place, spelt
from .encoding import encoder
from .opening import SCALARS, contents, is_leaf, value_of_member
from .proofs import own_text, writes_as_its_base
from .refusals import (
    KeptOut,
    Marker,
    Refused,
    Secret,
    SecretSet,
    Unselected,
    failed_conversion,
    is_secret,
    kind_of,
)
from .survey import DEEPEST, WAYS, survey


def plain(selected: Any, *, reveal: bool, leaves: bool = False) -> Any:
    """Return selected data as dicts, lists, tuples, scalars, and leaves that the encoder can write.

    Parameters
    ----------
    selected
        Anything.
    reveal
        Whether secrets are replaced by their values. If not, they are refused.
    leaves
        Whether values without readable parts stay unchanged, because they are not going to be encoded.

    Raises
    ------
    Refused
        A value cannot be part of a key. The path says where it is.
    """
    convert = partial(converted, reveal=reveal, leaves=leaves)
    if not leaves and not survey(selected, convert, is_written, marshal.dumps, refused=None):
        return selected
    return _Walk(convert, unfolds=leaves).run(selected)


def locate(selected: Any, error: Exception, *, reveal: bool) -> Refused:
    """Return why data cannot be encoded, with the path of one such place.

    Parameters
    ----------
    selected
        The data that the encoder refused.
    error
        The error that it raised.
    reveal
        As for `plain`.
    """
    convert = partial(converted, reveal=reveal, leaves=False)
    try:
        survey(selected, convert, is_written, encoder.encode, refused=error)
        # No single value is at fault, so the whole is nested too deep or contains itself.
        walk = _Walk(convert, unfolds=False)
        walk.run(selected)
    except Refused as refusal:
        return refusal
    found = Refused(f"is nested {walk.deepest[0]} levels deep, more than can be encoded", WAYS)
    found.path = spelt(walk.deepest[1])
    return found


def is_written(value: Any) -> bool:
    """Return whether the encoder can write a value of a class that JSON does not have."""
    if isinstance(value, Enum) and not isinstance(value, str | int | float | Decimal):
        return False
    # A leaf with fields is treated as an object: all of its fields count.
    kind = value.__class__
    if not is_leaf(value) or isinstance(value, bytes) or hasattr(kind, "__dataclass_fields__"):
        return False
    return writes_as_its_base(kind)


def converted(value: Any, *, reveal: bool, leaves: bool) -> Any:  # noqa: C901, PLR0912 - one case for each type
    """Return a dict, a list, or a value that the encoder can write, for any value.

    Parameters
    ----------
    value
        Anything.
    reveal, leaves
        As for `plain`.

    Raises
    ------
    Refused
        The value has no such form.
    """
    while type(value) not in _PLAIN:
        if isinstance(value, Marker):
            if reveal and isinstance(value, SecretSet):
                return sorted((plain(item, reveal=True) for item in value.value), key=encoder.encode)
            if reveal and isinstance(value, Secret):
                value = value.reveal()
            elif leaves and isinstance(value, KeptOut):
                value = value.value
            else:
                value = value.resolve()
        elif is_secret(value):
            value = Secret(value, None)
        elif is_written(value) or (leaves and is_leaf(value)) or own_text(value) is not None:
            return value
        elif isinstance(value, Enum) and is_leaf(value):
            value = value_of_member(value)
        else:
            found = _opened(value)
            if found is value:
                if leaves:
                    return value
                raise Refused(f"is of type {kind_of(value)}, which cannot be encoded", WAYS)
            value = found
    # A dict may hold markers for fields that do not appear in it.
    if type(value) is dict and Unselected in map(type, value.values()):
        return {name: item for name, item in value.items() if type(item) is not Unselected}
    return value


_PLAIN = SCALARS | {dict, list, tuple}


def _opened(value: Any) -> Any:
    if isinstance(value, type):
        return value
    try:
        return contents(value)
    except Refused:
        raise
    except Exception as error:
        raise failed_conversion(value, error) from error


class _Item(NamedTuple):
    """A value to convert, and the place for its converted form."""

    value: Any
    target: Any
    slot: Any
    place: Place
    depth: int


class _Walk:
    """Copies data with objects in it, and finds values that contain themselves.

    Iterative, because it has to report nesting that is too deep.
    """

    def __init__(self, convert: Any, *, unfolds: bool) -> None:
        self._convert = convert
        # Whether objects may unfold without end, because `survey` has not checked this.
        self._unfolds = unfolds
        self._open: set[int] = set()
        self.deepest: tuple[int, Place] = (0, ROOT)

    def run(self, selected: Any) -> Any:
        result: list[Any] = [None]
        pending: list[Any] = [_Item(selected, result, 0, ROOT, 0)]
        while pending:
            item = pending.pop()
            if type(item) is int:
                self._open.discard(item)
                continue
            try:
                self._visit(item, pending)
            except Refused as refusal:
                if refusal.path == "$":
                    refusal.path = spelt(item.place)
                raise
            if item.depth > self.deepest[0]:
                self.deepest = (item.depth, item.place)
                if self._unfolds and item.depth > _DEEPEST:
                    raise Refused(f"is nested more than {_DEEPEST} levels deep", WAYS)
        return result[0]

    def _visit(self, item: _Item, pending: list[Any]) -> None:
        value = item.value
        kind = type(value)
        if kind is not dict and kind is not list:
            value = self._convert(value)
            kind = type(value)
            if kind not in (dict, list, tuple):
                item.target[item.slot] = value
                return
        elif kind is dict and Unselected in map(type, value.values()):
            value = self._convert(value)
        children = value.items() if kind is dict else enumerate(value)
        copy: Any = dict(value) if kind is dict else list(value)
        item.target[item.slot] = copy
        first = len(pending)
        for slot, child in children:
            if type(child) not in SCALARS:
                pending.append(_Item(child, copy, slot, (item.place, slot), item.depth + 1))
        if len(pending) == first:
            return
        # The identity of the object itself, because its converted form is new each time.
        identity = id(item.value)
        if identity in self._open:
            raise Refused(f"is of type {kind_of(item.value)} and contains itself", WAYS)
        self._open.add(identity)
        # A stack: reversed so that the first child is next; the identity closes the value when all are done.
        pending[first:] = [identity, *reversed(pending[first:])]


_DEEPEST = 10 * DEEPEST
