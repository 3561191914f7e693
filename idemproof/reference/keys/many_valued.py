"""Mappings with several values for one name: forms, query strings and headers of web frameworks."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .refusals import Refused, kind_of

_GETTERS = ("getlist", "getall", "get_list", "get_all")
"""Names that frameworks use for the method that returns all values of a name."""

_FAITHFUL_ITEMS: tuple[Any, ...] = (dict.items, OrderedDict.items)


def values_getter(value: Any) -> Callable[[Any], Any] | None:
    """Return the method that returns all values of a name; None if ``value`` has one value for each name."""
    # Looked up on the class, because a mock has every attribute.
    kind = value.__class__
    for name in _GETTERS:
        if callable(getattr(kind, name, None)) and callable(getattr(kind, "keys", None)):
            getter: Callable[[Any], Any] = getattr(value, name)
            return getter
    return None


def all_values(value: Any, getter: Callable[[Any], Any]) -> dict[Any, Any]:
    """Return a mapping of several values as a dict."""
    return {name: _one_or_all(getter(name)) for name in dict.fromkeys(value.keys())}


def values_of(value: Any, getter: Callable[[Any], Any], name: str) -> Any:
    """Return the values for one name. The mapping looks it up, because names of headers ignore case."""
    return _one_or_all(getter(name)) if name in value else None


def _one_or_all(found: Any) -> Any:
    values = list(found)
    if len(values) != 1:
        return values
    # A single list stays inside a list, because it differs from its items.
    return values if isinstance(values[0], list | tuple) else values[0]


def single_values(value: dict[Any, Any]) -> dict[Any, Any]:
    """Return the items of a dict subclass.

    Raises
    ------
    Refused
        Its ``items()`` differ from what it holds.
    """
    # A cookie of the standard library is a dict of its attributes, and holds its value outside of the dict.
    faithful = value.__class__.items in _FAITHFUL_ITEMS and not hasattr(value.__class__, "coded_value")
    if not faithful and (list(value.items()) != list(dict.items(value)) or hasattr(value, "coded_value")):
        raise Refused(
            f"is a {kind_of(value)}, whose items() differ from what it holds",
            "Pass a plain dict of the relevant data, or select other fields",
        )
    return dict(dict.items(value))
