"""Translates functions of the specification from their Python source to TLA+ operators.

The translated subset is small, and everything outside of it is refused by name:

- functions and lambdas with positional parameters, which return a value;
- assignments, ``if`` that assigns or returns, assertions that a value is not None;
- ``and``, ``or``, ``not`` of conditions, comparisons, ``is None``, conditional expressions;
- fields, ``_replace``, ``[0]`` and ``[1]``, tuples, ``max``, ``+ - * //``, numbers, texts and None;
- calls of other such functions, and of the named tuples that are records, events and outcomes.

A parameter whose name begins with an underscore is not used, so the operator does not have it.
"""

import ast
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any

from .expressions import Expressions, Operator, Scope
from .sources import Untranslatable, source_of

WIDTH = 100
INDENT = 4


class Translator(Expressions):
    """Collects the operators of one module, each after those that it uses.

    Parameters
    ----------
    given
        Operators that the module declares otherwise, by the Python functions that they stand for.
    reserved
        The names of further operators of the module.
    """

    def __init__(self, given: Mapping[Any, Operator], reserved: Collection[str] = ()) -> None:
        super().__init__()
        self._reserved = reserved
        self.operators: dict[FunctionType, Operator] = {}
        self._given = given
        self._open: list[FunctionType] = []

    def operator(self, function: Any, name: str | None = None) -> Operator:
        """Return the operator for ``function``; translate it if this is its first use."""
        if function in self._given:
            return self._given[function]
        if not isinstance(function, FunctionType):
            raise Untranslatable(f"{function!r} is no Python function, so it has no source to translate.")
        if function in self._open:
            raise Untranslatable(f"{function.__qualname__} calls itself: recursion is not translated.")
        if function not in self.operators:
            self._open.append(function)
            translated = self._translate(function, name or camel(function.__name__))
            self._open.pop()
            self.operators[function] = translated
        return self.operators[function]

    def _translate(self, function: FunctionType, name: str) -> Operator:
        node = source_of(function)
        scope = Scope(function, {}, [])
        taken = {operator.name for operator in (*self.operators.values(), *self._given.values())}
        taken.update(self._reserved)
        while name in taken:
            name = f"Injected{name}"
        arguments = node.args
        if arguments.kwonlyargs or arguments.kwarg:
            raise scope.refused(node, "a parameter by name")
        parameters = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
        kept = tuple(place for place, each in enumerate(parameters) if not each.startswith("_"))
        for place in kept:
            scope.names[parameters[place]] = parameters[place]
            scope.lets.append(parameters[place])
        if isinstance(node, ast.Lambda):
            lines = self._lines(node.body, scope)
        else:
            lines = self._block(node.body, scope)
        head = name + (f"({', '.join(scope.names[parameters[place]] for place in kept)})" if kept else "")
        if len(lines) == 1 and len(head) + len(lines[0]) + 4 <= WIDTH:
            text = f"{head} == {lines[0]}"
        else:
            text = "\n".join([f"{head} ==", *(wrapped(line) for line in _indented(lines))])
        return Operator(name, kept, text)

    # Statements

    def _block(self, statements: Sequence[ast.stmt], scope: Scope) -> list[str]:
        """Translate statements that return a value."""
        bound: list[str] = []
        for place, statement in enumerate(statements):
            if _says_nothing(statement):
                continue
            if isinstance(statement, ast.Assign):
                bound += self._assigned(statement, scope)
                continue
            if isinstance(statement, ast.If) and not _returns(statement.body):
                bound += self._assigned_if(statement, scope)
                continue
            if isinstance(statement, ast.Return) and statement.value is not None:
                lines = self._lines(statement.value, scope)
            elif isinstance(statement, ast.If):
                inner = scope._replace(names=dict(scope.names))
                then = self._block(statement.body, inner)
                other = self._block(statement.orelse or statements[place + 1 :], scope)
                lines = _conditional(self._condition(statement.test, scope), then, other)
            else:
                raise scope.refused(statement, f"the statement {type(statement).__name__}")
            return _let(bound, lines)
        raise scope.refused(source_of(scope.function), "a function that ends without a value")

    def _assigned(self, statement: ast.Assign, scope: Scope) -> list[str]:
        (target,) = statement.targets
        value = statement.value
        if isinstance(target, ast.Name):
            return [self._bind(target.id, self._expression(value, scope), scope)]
        if not isinstance(target, ast.Tuple) or not all(isinstance(each, ast.Name) for each in target.elts):
            raise scope.refused(statement, "an assignment to what is no name")
        names = [each.id for each in target.elts if isinstance(each, ast.Name)]
        if isinstance(value, ast.Tuple):
            values = [self._expression(each, scope) for each in value.elts]
        else:
            whole = self._expression(value, scope)
            values = [f"{whole}[{place}]" for place in range(1, len(names) + 1)]
        pairs = [pair for pair in zip(names, values, strict=True) if not pair[0].startswith("_")]
        return [self._bind(name, text, scope) for name, text in pairs]

    def _assigned_if(self, statement: ast.If, scope: Scope) -> list[str]:
        condition = self._condition(statement.test, scope)
        bound = []
        for inner in statement.body:
            if statement.orelse or not isinstance(inner, ast.Assign):
                raise scope.refused(inner, "a conditional statement that is no assignment")
            (target,) = inner.targets
            if not isinstance(target, ast.Name) or target.id not in scope.names:
                raise scope.refused(inner, "a conditional assignment to a new name")
            old = scope.names[target.id]
            value = self._expression(inner.value, scope)
            bound.append(self._bind(target.id, f"IF {condition} THEN {value} ELSE {old}", scope))
        return bound

    def _bind(self, name: str, value: str, scope: Scope) -> str:
        unique, number = name, 2
        while unique in scope.lets:
            unique, number = f"{name}_{number}", number + 1
        scope.names[name] = unique
        scope.lets.append(unique)
        return f"{unique} == {value}"

    def _lines(self, node: ast.expr, scope: Scope) -> list[str]:
        """Translate a value, in one line if it fits."""
        text = self._expression(node, scope)
        if len(text) + INDENT <= WIDTH and not isinstance(node, ast.BoolOp):
            return [text]
        if isinstance(node, ast.BoolOp) and all(self._is_boolean(each, scope) for each in node.values):
            sign = "/\\" if isinstance(node.op, ast.And) else "\\/"
            return [f"{sign} {self._term(each, scope)}" for each in node.values]
        if isinstance(node, ast.IfExp):
            then, other = self._lines(node.body, scope), self._lines(node.orelse, scope)
            return _conditional(self._condition(node.test, scope), then, other)
        return [text]


def wrapped(line: str) -> str:
    """Break a long line."""
    margin = " " * (len(line) - len(line.lstrip()) + 2 * INDENT)
    return "\n".join(
        textwrap.wrap(line, WIDTH, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False)
    )


def camel(name: str) -> str:
    """Return the name of the operator for a function."""
    return "".join(part.capitalize() for part in name.strip("<>_").split("_"))


def _says_nothing(statement: ast.stmt) -> bool:
    """Return whether this is a docstring, or an assertion that narrows a type."""
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Assert(test=ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)])):
            return True
    return False


def _returns(statements: Sequence[ast.stmt]) -> bool:
    return isinstance(statements[-1], ast.Return | ast.If)


def _indented(lines: Sequence[str]) -> Iterator[str]:
    return (" " * INDENT + line for line in lines)


def _let(bound: Sequence[str], lines: list[str]) -> list[str]:
    if not bound:
        return lines
    rest = [f"    {each}" for each in bound[1:]]
    return [f"LET {bound[0]}", *rest, f"IN  {lines[0]}", *_indented(lines[1:])]


def _conditional(condition: str, then: list[str], other: list[str]) -> list[str]:
    return [
        f"IF {condition}",
        f"THEN {then[0]}",
        *(f"     {line}" for line in then[1:]),
        f"ELSE {other[0]}",
        *(f"     {line}" for line in other[1:]),
    ]
