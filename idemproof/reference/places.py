"""Paths to places in values, such as ``$.items[2].price``, and names of types, for messages."""

from collections.abc import Callable
from json import dumps
from typing import Any

# A place is its parent and its own segment, so that only the path in a message is formatted.
Place = tuple["Place | None", Any]

ROOT: Place = (None, None)

# Longer paths and names are cut off.
_SHOWN_SEGMENTS = 12
_SHOWN_NAME = 40


def segment(slot: Any) -> str:
    """Return the part of a path that leads to a position of a list, or to a name or key of an object.

    Parameters
    ----------
    slot
        The position, an integer; or the key of a mapping.
    """
    return f"[{slot}]" if type(slot) is int else keyed(slot)


def keyed(key: Any) -> str:
    """Return the part of a path that leads to a key of a mapping; the key may have any type.

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
        `ROOT`, or a pair of the enclosing place and the segment in it.
    written
        Formats a segment.
    most
        The largest number of segments in the text; None for all.
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
    """Return the name of a type, with its module unless it is a built-in type.

    Parameters
    ----------
    kind
        The type.
    """
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
