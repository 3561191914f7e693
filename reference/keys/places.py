"""Places in plain data, and how they are written: ``$.items[2].price``."""

from json import dumps
from typing import Any

# A place is its parent and its own segment: paths are only spelt out for the one that is reported.
Place = tuple["Place | None", Any]

ROOT: Place = (None, None)

# A path longer than this says no more than its beginning.
_SHOWN_SEGMENTS = 12
_SHOWN_NAME = 40


def spelt(place: Place) -> str:
    """Return a place as text.

    Parameters
    ----------
    place
        `ROOT`, or a place inside of another with its name or position there.
    """
    segments: list[Any] = []
    here: Place | None = place
    while here is not None:
        here, segment = here
        if here is not None:
            segments.append(segment)
    segments.reverse()
    shown = [_segment(segment) for segment in segments[:_SHOWN_SEGMENTS]]
    return "".join(["$", *shown, *(["..."] if len(segments) > _SHOWN_SEGMENTS else [])])


def _segment(slot: Any) -> str:
    if type(slot) is int:
        return f"[{slot}]"
    name = str(slot)
    if name.isidentifier() and len(name) <= _SHOWN_NAME:
        return f".{name}"
    return f"[{dumps(name if len(name) <= _SHOWN_NAME else name[:_SHOWN_NAME] + '...')}]"
