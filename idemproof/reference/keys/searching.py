"""Searches payloads as they are: objects and tuples are opened where an expression goes, nowhere else."""

from collections import deque
from functools import partial
from typing import Any

from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

from .opening import SCALARS, opened
from .paths import array, field, item_at, projected
from .plain import plain
from .refusals import KeptOut, Marker, Unselected

_PASSED_ON = frozenset(("not_null", "to_array"))
"""Functions that return what they are given."""


class OpeningInterpreter(TreeInterpreter):
    """JMESPath over anything a payload may hold. It keeps no state of a search.

    Parameters
    ----------
    options
        `jmespath.Options`.
    reveal
        Whether secrets may be compared and taken apart.
    """

    def __init__(self, options: Any, *, reveal: bool) -> None:
        super().__init__(options)
        self._reveal = reveal
        self._custom = options.custom_functions

    def visit_field(self, node: Any, value: Any) -> Any:
        """Look a name up, in whatever has fields."""
        return field(node["value"], value)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        """Compare the plain data of both sides."""
        left, right = (self._value_of(self.visit(child, value)) for child in node["children"])
        literals: Any = {
            "type": "comparator",
            "value": node["value"],
            "children": [_literal(left), _literal(right)],
        }
        return super().visit_comparator(literals, value)

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        """Call a function with what it is declared to take."""
        name = node["value"]
        visit = self.visit
        arguments = [visit(child, value) for child in node["children"]]
        for argument in arguments:
            if type(argument) not in SCALARS:
                arguments = self._prepared(name, arguments)
                break
        return self._custom.call_function(name, arguments)

    def _prepared(self, name: str, arguments: list[Any]) -> list[Any]:
        table = getattr(self._custom, "FUNCTION_TABLE", {})
        spec = table.get(name)
        if spec is None:
            return arguments
        if name in _PASSED_ON and spec["function"] is Functions.FUNCTION_TABLE[name]["function"]:
            # A tuple is an array as a list is.
            return [list(item) if type(item) is tuple else item for item in arguments]
        built_in = spec["function"] is Functions.FUNCTION_TABLE.get(name, {}).get("function")
        signature = spec["signature"]
        prepared: list[Any] = []
        for place, argument in enumerate(arguments):
            declared = signature[min(place, len(signature) - 1)]["types"] if signature else []
            if type(argument).__name__ == "_Expression":
                prepared.append(argument)
            elif built_in and name in ("to_string", "contains", "merge", "type", "to_number"):
                prepared.append(self._value_of(argument))
            elif declared or isinstance(argument, Marker):
                prepared.append(_whole(opened(argument, f"what {name}() takes")))
            else:
                prepared.append(argument)
        return prepared

    def visit_filter_projection(self, node: Any, value: Any) -> Any:
        """Project a list, less what a condition leaves out."""
        base, each, condition = node["children"]
        items = array(self.visit(base, value))
        if items is None:
            return None
        found = (self.visit(each, item) for item in items if not is_false(self.visit(condition, item)))
        return [item for item in found if item is not None]

    def visit_flatten(self, node: Any, value: Any) -> Any:
        """Merge the lists in a list into one."""
        items = array(self.visit(node["children"][0], value))
        if items is None:
            return None
        merged: list[Any] = []
        for item in items:
            # A named tuple is one thing, as an object is.
            if type(item) is list or type(item) is tuple or isinstance(item, list | deque):
                merged.extend(item)
            else:
                merged.append(item)
        return merged

    def visit_index(self, node: Any, value: Any) -> Any:
        """Take an item of a list."""
        return item_at(node["value"], value)

    def visit_slice(self, node: Any, value: Any) -> Any:
        """Take a part of a list."""
        return super().visit_slice(node, array(value))

    def visit_projection(self, node: Any, value: Any) -> Any:
        """Apply an expression to each item of a list."""
        base, each = node["children"]
        return projected(partial(self.visit, base), partial(self.visit, each), value)

    def visit_value_projection(self, node: Any, value: Any) -> Any:
        """Apply an expression to each value of an object."""
        base, each = node["children"]
        whole = self.visit(base, value)
        if type(whole) is not dict:
            whole = opened(whole, "all values")
        if type(whole) is not dict:
            return None
        found = (self.visit(each, item) for item in _whole(whole).values())
        return [item for item in found if item is not None]

    def visit_or_expression(self, node: Any, value: Any) -> Any:
        """Take the first of two that is not empty."""
        first, second = node["children"]
        matched = self.visit(first, value)
        return self.visit(second, value) if is_false(matched) else matched

    def visit_and_expression(self, node: Any, value: Any) -> Any:
        """Take the second of two if the first is not empty."""
        first, second = node["children"]
        matched = self.visit(first, value)
        return matched if is_false(matched) else self.visit(second, value)

    def visit_not_expression(self, node: Any, value: Any) -> Any:
        """Return whether something is empty."""
        original = self.visit(node["children"][0], value)
        if type(original) is tuple or isinstance(original, Marker):
            return is_false(original)
        literal: Any = {"type": "not_expression", "children": [_literal(original)]}
        return super().visit_not_expression(literal, value)

    def _value_of(self, value: Any) -> Any:
        return value if type(value) in SCALARS else plain(value, reveal=self._reveal, leaves=True)


_EMPTY: tuple[Any, ...] = ("", [], {})


def _literal(value: Any) -> Any:
    return {"type": "literal", "value": value}


def _whole(found: Any) -> Any:
    """Return an opened object without the fields whose absence says their value."""
    if type(found) is dict and Unselected in map(type, found.values()):
        return {name: value for name, value in found.items() if type(value) is not Unselected}
    return found


def is_false(value: Any) -> bool:
    """Return whether JMESPath takes a value for false: empty text, list or object, null, false."""
    if isinstance(value, Marker):
        value = value.value if isinstance(value, KeptOut) else value.shown
    if type(value) is tuple:
        return not value
    # Compared, as JMESPath does: an object of another kind may be equal to an empty one.
    return value is None or value is False or any(value == empty for empty in _EMPTY)
