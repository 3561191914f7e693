"""Convert values to data that JSON can represent."""

import base64
import dataclasses
import os
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from ..encoding import encode
from .models import FORMS, Dump, is_model

_DURATION = re.compile(r"P(-?\d+)DT(\d+)(?:\.(\d{6}))?S")
_EXACT = frozenset((str, int, float, bool, type(None)))


def plain(  # noqa: C901, PLR0911 - one for each kind of value
    value: Any, dump: Dump = FORMS[0], *, with_bytes: bool = False
) -> Any:
    """Return a value as data that JSON can represent; leave values without such a form unchanged.

    Parameters
    ----------
    value
        A dataclass, or any value that a field may have.
    dump
        Dumps the Pydantic models in it.
    with_bytes
        Write bytes as base64. Without an annotation of bytes, they would be rebuilt as text.
    """
    kind = type(value)
    if kind in _EXACT:
        return value
    # First what dataclasses.asdict and the encoder do, because Powertools reads these bytes.
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None:
        return {
            field.name: plain(getattr(value, field.name), dump, with_bytes=with_bytes)
            for field in dataclasses.fields(value)
        }
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return _plain_mapping(value, dump, with_bytes=with_bytes)
    if isinstance(value, list | tuple | deque):
        return [plain(item, dump, with_bytes=with_bytes) for item in value]
    if isinstance(value, AbstractSet):
        # Sorted, because the order of a set differs between processes.
        return sorted([plain(item, dump, with_bytes=with_bytes) for item in value], key=encode)
    if is_model(kind):
        return dump(value)
    for kinds, convert in _SCALARS:
        if isinstance(value, kinds):
            return convert(value)
    if with_bytes and isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return value


def _plain_mapping(value: Mapping[Any, Any], dump: Dump, *, with_bytes: bool) -> Any:
    items = [(_plain_key(key), plain(item, dump, with_bytes=with_bytes)) for key, item in value.items()]
    if isinstance(value, OrderedDict):
        keys = [key for key, _ in items]
        # JSON objects are stored with sorted keys: a mapping whose order matters becomes a list.
        if not all(isinstance(key, str) for key in keys) or keys != sorted(keys):
            return [list(item) for item in items]
    return dict(items)


def _plain_key(key: Any) -> Any:
    return key if key is None or isinstance(key, str | int | float) else plain(key)


def duration_text(value: timedelta) -> str:
    """Return a duration as text in the style of ISO 8601."""
    fraction = f".{value.microseconds:06}" if value.microseconds else ""
    return f"P{value.days}DT{value.seconds}{fraction}S"


def duration(text: str) -> timedelta:
    """Parse the text that `duration_text` returned."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"not a stored duration: {text!r}")
    days, seconds, fraction = found.groups(default="0")
    return timedelta(int(days), int(seconds), int(fraction))


_SCALARS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Decimal, lambda value: float("nan") if value.is_nan() else str(value)),
    (Enum, lambda value: plain(value.value)),
    (date | time, lambda value: value.isoformat()),
    (timedelta, duration_text),
    (UUID, str),
    (os.PathLike, os.fspath),
)
