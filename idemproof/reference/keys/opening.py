"""Opens objects by one level: what can be looked into becomes a dict or a list, and nothing else changes."""

import dataclasses
import datetime as dt
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from .many_valued import all_values, single_values, values_getter, values_of
from .models import dumped_model, own_dict, undeclared
from .refusals import (
    KeptOut,
    Marker,
    Refused,
    Secret,
    failed_conversion,
    hidden,
    is_secret,
    kind_of,
    unreadable,
)

PLAIN = frozenset((dict, list, str, int, float, bool, type(None)))
SCALARS = frozenset((str, int, float, bool, type(None)))

_BUILT_IN = (str, int, float, list, tuple, dict)
_LEAVES = (str, int, float, Decimal, dt.date, dt.time, Enum, bytes)


def as_plain_data(payload: Any) -> Any:
    """Return the plain data that a payload stands for, opened by one level.

    A dataclass becomes a dict of its fields; then a ``model_dump`` method (Pydantic), a ``dict`` method and a
    ``raw_event`` attribute (event source data classes) are tried, in this order. Anything else is returned as
    it is: classes, and mappings with several values for a name, which look names up themselves.

    Parameters
    ----------
    payload
        The argument that the key is derived from.

    Raises
    ------
    Refused
        The payload's own conversion failed.
    """
    if type(payload) in PLAIN or isinstance(payload, type):
        return payload
    try:
        return payload if values_getter(payload) is not None else _converted(payload)
    except Refused:
        raise
    except Exception as error:
        raise failed_conversion(payload, error) from error


def _converted(value: Any) -> Any:
    """Return what a value's own class makes of it; the value itself if its class says nothing."""
    if (getter := values_getter(value)) is not None:
        return all_values(value, getter)
    if hasattr(value.__class__, "__dataclass_fields__"):
        return fields_of_dataclass(value)
    if callable(dump := getattr(value, "model_dump", None)):
        return dumped_model(value, dump(mode="json"))
    if callable(dump := getattr(value, "dict", None)):
        return own_dict(value, dump())
    event = getattr(value, "raw_event", value)
    # Some objects answer to any name.
    declared = hasattr(value.__class__, "raw_event") or "raw_event" in getattr(value, "__dict__", ())
    return event if event is not value and declared else value


def fields_of_dataclass(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, as they are. What is not declared as a field is marked."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    fields |= {name: KeptOut(held, None) for name, held in undeclared(value).items()}
    if isinstance(value, _BUILT_IN) and not isinstance(value, Enum) and not _in_fields(value, fields):
        raise Refused(
            f"is a {kind_of(value)}, a dataclass that holds more than its fields",
            "Pass a dict of what counts, or select other fields",
        )
    return fields


def _in_fields(value: Any, fields: dict[str, Any]) -> bool:
    """Return whether the fields of a value contain its built-in value too, or that value is empty."""
    if isinstance(value, dict):
        return dict.items(value) <= fields.items() if dict.__len__(value) else True
    return value in fields.values() or (isinstance(value, str | list | tuple) and not len(value))


def value_of_member(member: Any) -> Any:
    """Return the value of a member of an enumeration.

    Raises
    ------
    Refused
        Its class says the same of several members.
    """
    value = member.value
    # Its class may show something else than it holds.
    if value is not member._value_ and sum(other.value == value for other in type(member)) != 1:
        raise Refused(
            f"is a {kind_of(member)}, which shows one value for several members",
            "Pass the name of the member, or select other fields",
        )
    return value


def is_leaf(value: Any) -> bool:
    """Return whether a value is written as it is, and has nothing inside that could be looked for."""
    if isinstance(value, _LEAVES):
        return not isinstance(value, dict | list | tuple)
    from pathlib import PurePath  # noqa: PLC0415 - milliseconds that few payloads need
    from uuid import UUID  # noqa: PLC0415 - same

    return isinstance(value, UUID | PurePath)


def opened(value: Any, looked_for: str = "something") -> Any:
    """Return a value that can be looked into as a dict or a list; scalars and leaves as they are.

    Parameters
    ----------
    value
        Anything that a payload may hold.
    looked_for
        What is wanted of it, for the refusal.

    Raises
    ------
    Refused
        It is neither a leaf nor anything of which the parts are known, or may not be looked into.
    """
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is tuple:
        return list(value)
    if isinstance(value, Secret):
        raise hidden(value, looked_for)
    if isinstance(value, Marker):
        return opened(value.value if isinstance(value, KeptOut) else value.resolve(), looked_for)
    if isinstance(value, type):
        raise unreadable(value, looked_for)
    if is_secret(value):
        raise hidden(value, looked_for)
    try:
        found = contents(value)
    except Refused:
        raise
    except Exception as error:
        raise failed_conversion(value, error) from error
    if found is value and not is_leaf(value):
        raise unreadable(value, looked_for)
    return found


def contents(value: Any) -> Any:
    """Return the dict or list that stands for an object; the object itself if there is none."""
    found = value
    for _ in range(_CONVERSIONS):
        if is_leaf(found) and not hasattr(found.__class__, "__dataclass_fields__"):
            inside = isinstance(found, Enum) and isinstance(found.value, dict | list | tuple)
            return value_of_member(found) if inside else found
        opened_once = _converted(found)
        if opened_once is found:
            return _held_by(found)
        if type(opened_once) in PLAIN:
            return opened_once
        found = opened_once
    raise unreadable(value, "plain data")


_CONVERSIONS = 16
"""What is not plain data after as many conversions becomes something else for ever."""


def _held_by(value: Any) -> Any:
    if isinstance(value, dict):
        return single_values(value)
    if isinstance(value, list | tuple | deque):
        # What it holds, whatever its class shows: that is what is written.
        kind: Any = next(kind for kind in (list, tuple, deque) if isinstance(value, kind))
        return list(kind.__iter__(value))
    if isinstance(value, Mapping):
        return dict(value.items())
    return value


def field_of(value: Any, name: str) -> Any:
    """Return a field of any value, as an expression finds it; None if there is no such field.

    Raises
    ------
    Refused
        Nothing can ever be found in a value of this type.
    """
    while isinstance(value, Marker):
        if isinstance(value, Secret):
            raise hidden(value, repr(name))
        value = value.value if isinstance(value, KeptOut) else value.resolve()
    kind = type(value)
    if kind is dict:
        found = value.get(name)
        return found.value if isinstance(found, KeptOut) else found
    if kind in PLAIN or kind is tuple:
        return None
    if isinstance(value, type):
        raise unreadable(value, repr(name))
    try:
        found = _looked_up(value, name)
    except Refused:
        raise
    except Exception as error:
        raise failed_conversion(value, error) from error
    return found if found is not _UNKNOWN else _field_inside(value, name)


_UNKNOWN: Any = object()


def _looked_up(value: Any, name: str) -> Any:
    """Return what an object itself has for a name."""
    # Mappings look names up themselves: those of headers have no case.
    if (getter := values_getter(value)) is not None:
        return values_of(value, getter, name)
    if isinstance(value, Mapping):
        return value.get(name)
    if isinstance(value, tuple) and hasattr(value.__class__, "_fields"):
        if name in value.__class__._fields:
            return getattr(value, name)
        if callable(getattr(value.__class__, name, None)):
            return None
    if isinstance(value, tuple | list) and hasattr(value, name):
        raise unreadable(value, repr(name))
    return _UNKNOWN


def _field_inside(value: Any, name: str) -> Any:
    try:
        found = opened(value, repr(name))
    except Refused:
        ask = getattr(value, "get", None)
        if not callable(ask):
            raise
        return ask(name)
    return field_of(found, name) if type(found) is dict else None
