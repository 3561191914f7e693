"""What a layer has: its attributes, and what is in them, near enough to be its own."""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

_DEPTH = 5
_ITEMS = 64
_OBJECTS = 4000
_CLOSED = frozenset(
    {
        "redis",
        "valkey",
        "fakeredis",
        "botocore",
        "boto3",
        "aiobotocore",
        "aiohttp",
        "urllib3",
        "aws_lambda_powertools.shared",
    }
)
"""Libraries whose objects are found but not searched."""
_PLAIN = (str, bytes, int, float, complex, type, type(sys), type(None), type(len), type(lambda: 0))


class Place(NamedTuple):
    """Where something is, and how to put something else there."""

    value: Any
    put: Callable[[Any], None]


def places(*roots: Any) -> Iterator[Place]:
    """Give everything that is in ``roots``, and in what is in them, to a bounded depth; no object twice."""
    seen = {id(root) for root in roots}
    level = list(roots)
    for _ in range(_DEPTH):
        below: list[Any] = []
        for holder in level:
            for place in _inside(holder):
                value = place.value
                if isinstance(value, _PLAIN):
                    continue
                yield place
                if id(value) not in seen and len(seen) < _OBJECTS and not _closed(value):
                    seen.add(id(value))
                    below.append(value)
        level = below


def _inside(holder: Any) -> Iterator[Place]:
    if isinstance(holder, dict):
        for key, value in list(holder.items())[:_ITEMS]:
            yield Place(value, _putter(holder.__setitem__, key))
    elif isinstance(holder, list):
        for index, value in enumerate(holder[:_ITEMS]):
            yield Place(value, _putter(holder.__setitem__, index))
    elif isinstance(holder, tuple | set | frozenset):
        for value in list(holder)[:_ITEMS]:
            yield Place(value, _stay)
    else:
        for name in _names(holder):
            try:
                value = object.__getattribute__(holder, name)
            except AttributeError:
                continue
            yield Place(value, _putter(partial(_set, holder), name))


def _set(holder: Any, name: str, new: Any) -> None:
    with suppress(AttributeError, TypeError):  # what cannot be replaced stays
        object.__setattr__(holder, name, new)


def _names(holder: Any) -> list[str]:
    slots: list[str] = []
    for kind in type(holder).__mro__:
        own = kind.__dict__.get("__slots__", ())
        for name in (own,) if isinstance(own, str) else own:
            private = name.startswith("__") and not name.endswith("__")
            slots.append(f"_{kind.__name__.lstrip('_')}{name}" if private else name)
    try:
        named = list(object.__getattribute__(holder, "__dict__"))
    except AttributeError:
        named = []
    return [*named, *(name for name in slots if name not in ("__dict__", "__weakref__"))]


def _closed(value: Any) -> bool:
    module = type(value).__module__
    if isinstance(value, dict | list | tuple | set | frozenset):
        return False
    root = module.partition(".")[0]
    return (
        root in _CLOSED
        or root in sys.stdlib_module_names
        or module.startswith("aws_lambda_powertools.shared")
    )


def _putter(put: Callable[[Any, Any], None], where: Any) -> Callable[[Any], None]:
    return lambda new: put(where, new)


def _stay(_new: Any) -> None:
    """Leave it: what is in a tuple cannot be replaced."""
