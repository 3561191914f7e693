"""Places in values, and how they and types are written in messages: ``$.items[2].price``."""

from collections.abc import Callable
from json import dumps
from typing import Any

# A place is its parent and its own segment: paths are only spelt out for the one that is reported.
Place = tuple["Place | None", Any]

ROOT: Place = (None, None)

# A path longer than this says no more than its beginning.
_SHOWN_SEGMENTS = 12
_SHOWN_NAME = 40


def segment(slot: Any) -> str:
    """Return the part of a path that leads to a position of a list, or to a name or key of an object.

    Parameters
    ----------
    slot
        The position, an integer; or the key of a mapping, which is written as its text.
    """
    return f"[{slot}]" if type(slot) is int else keyed(slot)


def keyed(key: Any) -> str:
    """Return the part of a path that leads to a key of a mapping, of whatever type it is.

    Parameters
    ----------
    key
        The key.
    """
    name = str(key)
    if name.isidentifier() and len(name) <= _SHOWN_NAME:
        return f".{name}"
    return f"[{dumps(name if len(name) <= _SHOWN_NAME else name[:_SHOWN_NAME] + '...')}]"


def spelt(place: Place, written: Callable[[Any], str] = segment, most: int | None = _SHOWN_SEGMENTS) -> str:
    """Return a place as text.

    Parameters
    ----------
    place
        `ROOT`, or a place inside of another with its segment there.
    written
        How a segment is written.
    most
        How many segments are written; None for all.
    """
    segments: list[Any] = []
    here: Place | None = place
    while here is not None:
        here, slot = here
        if here is not None:
            segments.append(slot)
    segments.reverse()
    shown = [written(slot) for slot in segments[:most]]
    return "".join(["$", *shown, *(["..."] if len(segments) > len(shown) else [])])


def type_name(kind: type) -> str:
    """Return the name of a type, with its module unless that is obvious.

    Parameters
    ----------
    kind
        The type.
    """
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
