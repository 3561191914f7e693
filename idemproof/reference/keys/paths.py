"""Expressions made into functions once, so that a search does not go through their tree each time.

What most expressions are made of (fields, indices, lists and objects of several, projections) has a function
here, which the interpreter uses too. The rest is the interpreter's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from .opening import SCALARS, field_of, opened
from .refusals import KeptOut

Search = Callable[[Any], Any]


_Visit = Callable[[Any, Any], Any]
_MakeDict = Callable[[], Any]

_DEEPEST = 32


def compiled(  # noqa: PLR0911 - one case a kind
    node: Any, visit: _Visit, make_dict: _MakeDict, deepest: int = _DEEPEST
) -> Search:
    """Return what an expression selects from a value, as a function of the value.

    Parameters
    ----------
    node
        The expression, parsed.
    visit
        Evaluates an expression that has no function here.
    make_dict
        Makes the objects that the expression builds.
    deepest
        How deep in the expression functions are made: what is nested deeper is the interpreter's.
    """
    kind, children = node["type"], node["children"]
    if not deepest:
        return partial(visit, node)
    if kind == "field":
        return partial(field, node["value"])
    if kind == "index":
        return partial(item_at, node["value"])
    if kind in ("identity", "current"):
        return _same
    if kind == "literal":
        return partial(_literal, node["value"])
    if kind in ("subexpression", "index_expression", "pipe"):
        return partial(_followed, _all_compiled(children, visit, make_dict, deepest))
    if kind == "multi_select_list":
        return partial(_listed, _all_compiled(children, visit, make_dict, deepest))
    if kind == "multi_select_dict":
        # Of a name that occurs twice, the last counts, in the place of the first; both are evaluated.
        values = _all_compiled([child["children"][0] for child in children], visit, make_dict, deepest)
        names = [child["value"] for child in children]
        return partial(_named, make_dict, list(zip(names, values, strict=True)))
    if kind == "projection":
        return partial(projected, *_all_compiled(children, visit, make_dict, deepest))
    return partial(visit, node)


def _all_compiled(nodes: list[Any], visit: _Visit, make_dict: _MakeDict, deepest: int) -> list[Search]:
    return [compiled(node, visit, make_dict, deepest - 1) for node in nodes]


def field(name: str, value: Any) -> Any:
    """Look a name up, in whatever has fields."""
    if type(value) is dict:
        found = value.get(name)
        if type(found) in SCALARS or not isinstance(found, KeptOut):
            return found
        return found.value
    return field_of(value, name)


def array(value: Any) -> list[Any] | None:
    """Return a list, or the list of a list-like object; None for anything else."""
    if type(value) is list:
        return value
    found = opened(value, "items of a list")
    return found if isinstance(found, list) else None


def item_at(place: int, value: Any) -> Any:
    """Take an item of a list; None if there is no such item."""
    items = array(value)
    return items[place] if items is not None and -len(items) <= place < len(items) else None


def projected(base: Search, each: Search, value: Any) -> list[Any] | None:
    """Apply an expression to each item of a list, and leave out where it finds nothing."""
    items = array(base(value))
    if items is None:
        return None
    found = []
    for item in items:
        selected = each(item)
        if selected is not None:
            found.append(selected)
    return found


def _same(value: Any) -> Any:
    return value


def _literal(literal: Any, _value: Any) -> Any:
    return literal


def _followed(steps: list[Search], value: Any) -> Any:
    for step in steps:
        value = step(value)
    return value


def _listed(parts: list[Search], value: Any) -> list[Any] | None:
    return None if value is None else [part(value) for part in parts]


def _named(make_dict: _MakeDict, parts: list[tuple[str, Search]], value: Any) -> Any:
    if value is None:
        return None
    found = make_dict()
    for name, part in parts:
        found[name] = part(value)
    return found
