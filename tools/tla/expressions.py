"""Translates Python expressions of the specification to TLA+."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, get_args

from idemproof.spec.events import Event
from idemproof.spec.record import Record

from .sources import Untranslatable, source_of

COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "=",
    ast.NotEq: "#",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
ARITHMETIC: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "\\div",  # TLC rounds it down, as Python does
}


NUMBERS = frozenset(
    field
    for kind in (Record, *get_args(Event))
    for field, type_ in kind.__annotations__.items()
    if type_ in (int, int | None)
)
"""The fields that are numbers."""


class Operator(NamedTuple):
    """A TLA+ operator.

    Parameters
    ----------
    name
        Its name.
    parameters
        The positions of the parameters of the Python function that the operator has.
    text
        Its definition.
    """

    name: str
    parameters: tuple[int, ...]
    text: str


class Scope(NamedTuple):
    """What the names in a function mean."""

    function: Any  # a Python function
    names: dict[str, str]  # of parameters and local variables, by their names in Python
    lets: list[str]  # the names in use

    def refused(self, node: ast.AST, what: str) -> Untranslatable:
        """Return the error that refuses ``node``."""
        line = getattr(node, "lineno", self.function.__code__.co_firstlineno)
        where = f"{Path(self.function.__code__.co_filename).name}, line {line}"
        return Untranslatable(
            f"{where}: {what} is outside of the subset that is translated to TLA+. Write the rule without "
            "it, or extend tools/tla/translate.py."
        )

    def value(self, name: str, node: ast.AST) -> Any:
        """Return what a name that is no local variable means."""
        variables = inspect.getclosurevars(self.function)
        for names in (variables.nonlocals, self.function.__globals__, variables.builtins):
            if name in names:
                return names[name]
        raise self.refused(node, f"the name {name}")


class Expressions:
    """Translates values, conditions and calls."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        """The named constants."""

    def operator(self, function: Any, name: str | None = None) -> Operator:
        """Return the operator for ``function``."""
        raise NotImplementedError

    def _condition(self, node: ast.expr, scope: Scope) -> str:
        """Translate a condition. Python would accept any value as one; TLA+ has truth values only."""
        if self._is_number(node, scope):
            number = self._operand(node, scope)
            return f"({number} # None /\\ {number} # 0)"
        if not self._is_boolean(node, scope):
            raise scope.refused(node, f"a condition that is no truth value ({ast.unparse(node)})")
        return self._expression(node, scope)

    def _is_number(self, node: ast.expr, scope: Scope) -> bool:
        """Return whether this is a number or None, whose truth value TLA+ can express."""
        match node:
            case ast.Attribute(attr=field):
                return field in NUMBERS
            case ast.Name(id="now"):
                return "now" in scope.names
        return False

    def _is_boolean(self, node: ast.expr, scope: Scope) -> bool:
        if isinstance(node, ast.BoolOp):
            return all(self._is_boolean(each, scope) for each in node.values)
        if isinstance(node, ast.Call):
            function = self._called(node, scope)
            body = getattr(source_of(function), "body", None) if isinstance(function, FunctionType) else None
            if isinstance(body, ast.expr):
                return self._is_boolean(body, Scope(function, {}, []))
            return getattr(function, "__annotations__", {}).get("return") is bool
        if isinstance(node, ast.UnaryOp):
            return isinstance(node.op, ast.Not)
        return isinstance(node, ast.Compare) or (
            isinstance(node, ast.Constant) and isinstance(node.value, bool)
        )

    def _term(self, node: ast.expr, scope: Scope) -> str:
        """Translate a part of a conjunction or a disjunction."""
        text = self._condition(node, scope)
        return f"({text})" if isinstance(node, ast.BoolOp | ast.IfExp) else text

    def _operand(self, node: ast.expr, scope: Scope) -> str:
        """Translate a part of a larger expression, in parentheses unless it is simple."""
        text = self._expression(node, scope)
        compound = isinstance(node, ast.BoolOp | ast.IfExp | ast.BinOp) or (
            isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not)
        )
        return f"({text})" if compound else text

    def _expression(self, node: ast.expr, scope: Scope) -> str:  # noqa: C901, PLR0911, PLR0912 - one for each
        match node:
            case ast.Constant(value=value):
                return self._constant(value, node, scope)
            case ast.Name(id=name):
                return scope.names[name] if name in scope.names else self._global(name, node, scope)
            case ast.Attribute(value=of, attr=field):
                return f"{self._operand(of, scope)}.{field}"
            case ast.BoolOp(op=ast.Or(), values=[number, other]) if self._is_number(number, scope):
                first = self._expression(number, scope)
                return (
                    f"IF {self._condition(number, scope)} THEN {first} ELSE {self._expression(other, scope)}"
                )
            case ast.BoolOp(op=op, values=values):
                sign = " /\\ " if isinstance(op, ast.And) else " \\/ "
                return sign.join(self._term(each, scope) for each in values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                text = self._condition(operand, scope)
                return f"~{text}" if isinstance(operand, ast.Call) else f"~({text})"
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return f"-{self._operand(operand, scope)}"
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                sign = ARITHMETIC[type(op)]
                return f"{self._operand(left, scope)} {sign} {self._operand(right, scope)}"
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._comparison(left, op, right, scope)
            case ast.IfExp(test=test, body=then, orelse=other):
                one, two = self._expression(then, scope), self._expression(other, scope)
                return f"IF {self._condition(test, scope)} THEN {one} ELSE {two}"
            case ast.Tuple(elts=parts):
                return f"<<{', '.join(self._expression(part, scope) for part in parts)}>>"
            case ast.Subscript(value=of, slice=ast.Constant(value=int() as place)) if place >= 0:
                return f"{self._operand(of, scope)}[{place + 1}]"
            case ast.Call():
                return self._call(node, scope)
        raise scope.refused(node, f"{type(node).__name__} ({ast.unparse(node)})")

    def _constant(self, value: Any, node: ast.AST, scope: Scope) -> str:
        if value is None:
            return "None"
        if isinstance(value, bool):
            return str(value).upper()
        if isinstance(value, int):
            return str(value)
        if isinstance(value, str) and value.isascii() and value.isprintable() and not set('"\\') & set(value):
            return f'"{value}"'
        raise scope.refused(node, f"the constant {value!r}")

    def _global(self, name: str, node: ast.AST, scope: Scope) -> str:
        value = scope.value(name, node)
        if not isinstance(value, str):
            raise scope.refused(node, f"{name} as a value")
        if not name.isupper():
            return self._constant(value, node, scope)
        self.texts[name] = self._constant(value, node, scope)
        return name

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr, scope: Scope) -> str:
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise scope.refused(right, "a comparison of identities, except with None")
            sign = "=" if isinstance(op, ast.Is) else "#"
        elif type(op) in COMPARISONS:
            sign = COMPARISONS[type(op)]
        else:
            raise scope.refused(left, f"the comparison {type(op).__name__}")
        return f"{self._side(left, scope)} {sign} {self._side(right, scope)}"

    def _side(self, node: ast.expr, scope: Scope) -> str:
        """Translate a side of a comparison: arithmetic binds closer."""
        return self._expression(node, scope) if isinstance(node, ast.BinOp) else self._operand(node, scope)

    # Calls

    def _called(self, node: ast.Call, scope: Scope) -> Any:
        match node.func:
            case ast.Name(id=name) if name not in scope.names:
                return scope.value(name, node)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name not in scope.names:
                owner = scope.value(name, node)
                if isinstance(owner, ModuleType):
                    return getattr(owner, attribute)
        return None

    def _call(self, node: ast.Call, scope: Scope) -> str:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "_replace" and not node.args:
            changes = [
                f"!.{field} = {value}" for each in node.keywords for field, value in self._set(each, scope)
            ]
            return f"[{self._expression(node.func.value, scope)} EXCEPT {', '.join(changes)}]"
        keywords = {each.arg: each.value for each in node.keywords if each.arg}
        if len(keywords) < len(node.keywords) or any(isinstance(each, ast.Starred) for each in node.args):
            raise scope.refused(node, "an argument with a star")
        called = self._called(node, scope)
        if called is max and not keywords:
            first, *others = (self._expression(each, scope) for each in node.args)
            for each in others:
                first = f"Max({first}, {each})"
            return first
        if isinstance(called, type) and hasattr(called, "_fields"):
            values = [self._expression(each, scope) for each in node.args]
            return self._construct(called, values, keywords, scope)
        if not callable(called) or keywords:
            raise scope.refused(node, f"the call {ast.unparse(node)}")
        operator = self.operator(called)
        parameters = list(inspect.signature(called).parameters.values())
        return applied(
            operator,
            {
                place: self._expression(node.args[place], scope)
                if place < len(node.args)
                else self._constant(parameters[place].default, node, scope)
                for place in operator.parameters
            },
        )

    def _set(self, keyword: ast.keyword, scope: Scope) -> Iterator[tuple[str, str]]:
        """Translate an argument of ``_replace``: a field, or a field for each item of a known dictionary."""
        if keyword.arg is not None:
            yield keyword.arg, self._expression(keyword.value, scope)
            return
        match keyword.value:
            case ast.DictComp(
                key=ast.Name(id=key),
                value=ast.Call(func=ast.Name(id=called), args=[ast.Name(id=argument)]),
                generators=[
                    ast.comprehension(
                        target=ast.Tuple(elts=[ast.Name(id=name), ast.Name(id=function)]),
                        iter=ast.Call(func=ast.Attribute(value=ast.Name(id=known), attr="items")),
                        ifs=[],
                    )
                ],
            ) if (key, called) == (name, function) and argument in scope.names:
                for field, change in scope.value(known, keyword).items():
                    yield field, applied(self.operator(change), {0: scope.names[argument]})
            case other:
                raise scope.refused(keyword.value, f"the argument ** {ast.unparse(other)}")

    def _construct(self, kind: Any, values: list[str], keywords: Mapping[str, ast.expr], scope: Scope) -> str:
        for field in kind._fields[len(values) :]:
            if field in keywords:
                values.append(self._expression(keywords[field], scope))
            else:
                values.append(self._constant(kind._field_defaults[field], source_of(scope.function), scope))
        return f"{kind.__name__}({', '.join(values)})" if values else str(kind.__name__)


def applied(operator: Operator, values: Mapping[int, str]) -> str:
    """Return ``operator`` applied to those of the function's arguments that it has."""
    arguments = [values[place] for place in operator.parameters]
    return operator.name + (f"({', '.join(arguments)})" if arguments else "")
