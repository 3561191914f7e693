"""Find names in an expression that select nothing, for warnings about misspelled expressions."""

from collections.abc import Callable, Collection
from typing import Any

from .opening import SCALARS, opened
from .refusals import Refused

_Visit = Callable[[Any, Any], Any]

_PATHS = frozenset(("subexpression", "pipe", "index_expression"))
_PARTED = frozenset(
    ("multi_select_list", "multi_select_dict", "projection", "filter_projection", "value_projection")
)
_DEEPEST = 4


class Expectation:
    """The parts of an expression, to compare with what it selects.

    Parameters
    ----------
    node
        The expression, parsed.
    """

    __slots__ = ("_node", "_parted")

    def __init__(self, node: Any) -> None:
        self._node = node
        self._parted = _is_parted(node)

    def is_doubtful(self, selected: Any) -> bool:
        """Return whether a part may be missing, so that a closer look is needed."""
        if selected is None:
            return True
        return self._parted and type(selected) not in SCALARS and _has_gaps(selected, _DEEPEST)

    def missing(self, selected: Any, payload: Any, visit: _Visit) -> list[str]:
        """Return a name for each missing part; an empty text means the whole selection.

        Parameters
        ----------
        selected
            What the expression selects.
        payload
            What it was searched in.
        visit
            Evaluates a part of the expression.
        """
        if selected is None:
            return [""]
        try:
            return _missing(self._node, payload, visit)
        except Refused:
            # The parts of an unreadable value are unknown.
            return []


def _is_parted(node: Any) -> bool:
    while node["type"] in _PATHS:
        node = node["children"][-1]
    return node["type"] in _PARTED


def _has_gaps(value: Any, depth: int) -> bool:
    """Return whether there is an empty or missing value near the surface."""
    if value is None:
        return True
    if not depth or not isinstance(value, dict | list):
        return False
    items: Collection[Any] = value.values() if isinstance(value, dict) else value
    if not items:
        return True
    for item in items:  # noqa: SIM110 - most are scalars: a generator would take longer
        # Not compared with `==`, because an array compares each of its numbers.
        if item is None or (type(item) not in SCALARS and _has_gaps(item, depth - 1)):
            return True
    return False


def _missing(node: Any, value: Any, visit: _Visit) -> list[str]:
    kind = node["type"]
    children = node["children"]
    if kind in _PATHS:
        for child in children[:-1]:
            value = visit(child, value)
        return [""] if value is None else _missing(children[-1], value, visit)
    if kind == "multi_select_list":
        return [
            f"position {place}{_field_path(child)}"
            for place, child in enumerate(children)
            if _missing(child, value, visit)
        ]
    if kind == "multi_select_dict":
        return [repr(child["value"]) for child in children if _missing(child["children"][0], value, visit)]
    if kind in ("projection", "value_projection"):
        return _missing_in_each(visit(children[0], value), children[1], visit)
    if kind == "filter_projection":
        identity = {**node, "children": [children[0], {"type": "identity", "children": []}, children[2]]}
        return _missing_in_each(visit(identity, value), children[1], visit)
    return [""] if visit(node, value) is None else []


def _missing_in_each(base: Any, projected: Any, visit: _Visit) -> list[str]:
    """Return the parts that are missing in all items: some items may have an optional field."""
    found = opened(base)
    if isinstance(found, dict):
        found = list(found.values())
    if not isinstance(found, list):
        return [""]
    common: list[str] | None = None
    for item in found:
        lacking = _missing(projected, item, visit)
        if not lacking:
            return []
        if common is None or common == [""]:
            common = lacking
        elif lacking != [""]:
            common = [part for part in common if part in lacking]
    return common or []


def _field_path(node: Any) -> str:
    fields = node["children"] if node["type"] == "subexpression" else [node]
    if all(field["type"] == "field" for field in fields):
        return f" ({'.'.join(field['value'] for field in fields)})"
    return ""
