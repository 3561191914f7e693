"""The object graph of a layer: its attributes, and what they contain, to a bounded depth."""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

_DEPTH = 5
_ITEMS = 64
_OBJECTS = 4000
_OPAQUE = frozenset(
    {
        "redis",
        "valkey",
        "fakeredis",
        "botocore",
        "boto3",
        "aiobotocore",
        "aiohttp",
        "urllib3",
        # Their pools have threads and locks of their own, which must run freely.
        "psycopg",
        "psycopg_pool",
        "psycopg2",
        "asyncpg",
        "sqlalchemy",
        "pymysql",
        "mysql",
        "pymongo",
        "aws_lambda_powertools.shared",
    }
)
"""Libraries whose objects are yielded but not entered."""
_PLAIN = (str, bytes, int, float, complex, type, type(sys), type(None), type(len), type(lambda: 0))


class Reference(NamedTuple):
    """A value in the object graph, and a function that replaces it."""

    value: Any
    replace: Callable[[Any], None]


def references(*roots: Any) -> Iterator[Reference]:
    """Yield a reference to everything reachable from ``roots``, to a bounded depth; enter no object twice."""
    seen = {id(root) for root in roots}
    level = list(roots)
    for _ in range(_DEPTH):
        next_level: list[Any] = []
        for holder in level:
            for reference in _contents(holder):
                value = reference.value
                if isinstance(value, _PLAIN):
                    continue
                yield reference
                if id(value) not in seen and len(seen) < _OBJECTS and not _is_opaque(value):
                    seen.add(id(value))
                    next_level.append(value)
        level = next_level


def _contents(holder: Any) -> Iterator[Reference]:
    if isinstance(holder, dict):
        for key, value in list(holder.items())[:_ITEMS]:
            yield Reference(value, _setter(holder.__setitem__, key))
    elif isinstance(holder, list):
        for index, value in enumerate(holder[:_ITEMS]):
            yield Reference(value, _setter(holder.__setitem__, index))
    elif isinstance(holder, tuple | set | frozenset):
        for value in list(holder)[:_ITEMS]:
            yield Reference(value, _ignore)
    else:
        for name in _names(holder):
            try:
                value = object.__getattribute__(holder, name)
            except AttributeError:
                continue
            yield Reference(value, _setter(partial(_set, holder), name))


def _set(holder: Any, name: str, new: Any) -> None:
    with suppress(AttributeError, TypeError):  # read-only attributes stay unchanged
        object.__setattr__(holder, name, new)


def _names(holder: Any) -> list[str]:
    slots: list[str] = []
    for kind in type(holder).__mro__:
        own = kind.__dict__.get("__slots__", ())
        for name in (own,) if isinstance(own, str) else own:
            private = name.startswith("__") and not name.endswith("__")
            slots.append(f"_{kind.__name__.lstrip('_')}{name}" if private else name)
    try:
        attributes = list(object.__getattribute__(holder, "__dict__"))
    except AttributeError:
        attributes = []
    return [*attributes, *(name for name in slots if name not in ("__dict__", "__weakref__"))]


def _is_opaque(value: Any) -> bool:
    module = type(value).__module__
    if isinstance(value, dict | list | tuple | set | frozenset):
        return False
    root = module.partition(".")[0]
    return (
        root in _OPAQUE
        or root in sys.stdlib_module_names
        or module.startswith("aws_lambda_powertools.shared")
    )


def _setter(replace: Callable[[Any, Any], None], position: Any) -> Callable[[Any], None]:
    return lambda new: replace(position, new)


def _ignore(_new: Any) -> None:
    """Do nothing: items of tuples and sets cannot be replaced."""
