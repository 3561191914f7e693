"""Looks through what was selected, level by level, and finds what cannot be encoded.

Each level is looked at as a whole, by functions of the interpreter: a look takes about as long as writing the
JSON text.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable
from itertools import accumulate, chain, compress
from typing import Any, NamedTuple

from ..places import ROOT, Place, spelt
from .refusals import Refused, kind_of

WAYS = "Convert it to plain JSON data before the call, or select other parts"

_CONTAINERS = frozenset((dict, list, tuple))
_USUAL = _CONTAINERS | {str, int, float, bool, type(None)}
_KEYS = (str, int, float, type(None))
DEEPEST = 2000
"""Objects that are nested deeper unfold for ever: no text of them could be written."""

_SHORT = 10**4000
"""Shorter integers can always be written out."""


class _Level(NamedTuple):
    """The values at one depth, and which of them have others inside."""

    items: list[Any]
    holders: list[int]
    """The places of those whose contents are the next level."""
    ends: list[int]
    """Where in the next level the contents of each holder end."""


def survey(
    selected: Any, convert: Callable[[Any], Any], is_written: Callable[[Any], bool], *, strict: bool
) -> bool:
    """Return whether there are objects to convert in what was selected.

    Parameters
    ----------
    selected
        Anything.
    convert
        Opens an object by one level, or refuses it.
    is_written
        Whether a value of another class than JSON's is written as it is.
    strict
        Whether keys and numbers are looked at too: what has not been written was refused for them.

    Raises
    ------
    Refused
        Something in it cannot be encoded; its path says where.
    """
    levels: list[_Level] = []
    items: list[Any] = [selected]
    seen: set[int] = set()
    unfolded = 0
    while items:
        kinds = set(map(type, items))
        unusual = kinds - _USUAL
        if unusual and _convert_objects(unusual, levels, items, convert, is_written):
            kinds = set(map(type, items))
            unfolded += 1
            if unfolded > DEEPEST:
                raise Refused(f"unfolds into objects more than {DEEPEST} levels deep", WAYS)
        if strict and int in kinds:
            _check_numbers(levels, items)
        if kinds.isdisjoint(_CONTAINERS):
            break
        holders = list(compress(range(len(items)), _of_kinds(items, _CONTAINERS)))
        containers = items if len(holders) == len(items) else [items[place] for place in holders]
        identities = set(map(id, containers))
        if len(identities) < len(holders) or not seen.isdisjoint(identities):
            # What has been looked at is not looked at again: it may contain itself.
            holders = _first_seen(holders, items, seen)
            containers = [items[place] for place in holders]
        seen |= identities
        if strict and dict in kinds:
            _check_keys(levels, items, holders)
        levels.append(_Level(items, holders, list(accumulate(map(len, containers)))))
        items = list(chain.from_iterable(map(_contents, containers) if dict in kinds else containers))
    return unfolded > 0


def _convert_objects(
    unusual: set[type],
    levels: list[_Level],
    items: list[Any],
    convert: Callable[[Any], Any],
    is_written: Callable[[Any], bool],
) -> bool:
    """Put what stands for each object in its place, and return whether there is any."""
    written: dict[type, bool] = {}
    for place in list(compress(range(len(items)), _of_kinds(items, unusual))):
        kind = type(items[place])
        if kind not in written:
            written[kind] = is_written(items[place])
        if not written[kind]:
            items[place] = _checked(convert, levels, items, place)
    return not all(written.values())


def _of_kinds(items: list[Any], kinds: Collection[type]) -> Iterable[bool]:
    return map(kinds.__contains__, map(type, items))


def _first_seen(holders: list[int], items: list[Any], seen: set[int]) -> list[int]:
    known = set(seen)
    first: list[int] = []
    for place in holders:
        if id(items[place]) not in known:
            known.add(id(items[place]))
            first.append(place)
    return first


def _contents(container: Any) -> Iterable[Any]:
    return container.values() if type(container) is dict else container


def _checked(convert: Callable[[Any], Any], levels: list[_Level], items: list[Any], place: int) -> Any:
    try:
        return convert(items[place])
    except Refused as refusal:
        if refusal.path == "$":
            refusal.path = spelt(_place_of(levels, place))
        raise


def _check_numbers(levels: list[_Level], items: list[Any]) -> None:
    numbers = list(compress(items, _of_kinds(items, (int,))))
    if max(numbers) < _SHORT and min(numbers) > -_SHORT:
        return
    for place, item in enumerate(items):
        if type(item) is int:
            try:
                str(item)
            except ValueError as error:
                raise _refused("is of type int and too long to be written out", levels, place) from error


def _check_keys(levels: list[_Level], items: list[Any], holders: list[int]) -> None:
    mappings = [items[place] for place in holders if type(items[place]) is dict]
    if set(map(type, chain.from_iterable(mappings))) <= {str}:
        return
    for place in holders:
        if type(items[place]) is dict and (fault := _key_fault(items[place])):
            raise _refused(fault, levels, place)


def _key_fault(mapping: dict[Any, Any]) -> str | None:
    if set(map(type, mapping)) <= {str}:
        return None
    for key in mapping:
        if not isinstance(key, _KEYS):
            return f"has a key of type {kind_of(key)}, where JSON only has strings"
    try:
        sorted(mapping)
    except TypeError:
        kinds = " and ".join(sorted({kind_of(key) for key in mapping}))
        return f"has keys of types {kinds}, which cannot be put in order"
    return None


def _refused(what: str, levels: list[_Level], place: int) -> Refused:
    refusal = Refused(what, WAYS)
    refusal.path = spelt(_place_of(levels, place))
    return refusal


def _place_of(levels: list[_Level], place: int) -> Place:
    slots: list[Any] = []
    for level in reversed(levels):
        holder = bisect_right(level.ends, place)
        index = place - (level.ends[holder - 1] if holder else 0)
        place = level.holders[holder]
        container = level.items[place]
        slots.append(list(container)[index] if type(container) is dict else index)
    found = ROOT
    for slot in reversed(slots):
        found = (found, slot)
    return found
