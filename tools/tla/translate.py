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
import inspect
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple, NoReturn, get_args

from idemproof.spec.events import Event
from idemproof.spec.record import Record

from .sources import Untranslatable, source_of

WIDTH = 100
INDENT = 4

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


class _Scope(NamedTuple):
    """What the names in a function mean."""

    function: FunctionType
    names: dict[str, str]  # of parameters and local variables, by their names in Python
    lets: list[str]  # the names in use

    def refuse(self, node: ast.AST, what: str) -> NoReturn:
        """Refuse ``node``."""
        line = getattr(node, "lineno", self.function.__code__.co_firstlineno)
        where = f"{Path(self.function.__code__.co_filename).name}, line {line}"
        raise Untranslatable(
            f"{where}: {what} is outside of the subset that is translated to TLA+. Write the rule without "
            "it, or extend tools/tla/translate.py."
        )

    def value(self, name: str, node: ast.AST) -> Any:
        """Return what a name that is no local variable means."""
        variables = inspect.getclosurevars(self.function)
        for names in (variables.nonlocals, self.function.__globals__, variables.builtins):
            if name in names:
                return names[name]
        self.refuse(node, f"the name {name}")


class Translator:
    """Collects the operators of one module, each after those that it uses.

    Parameters
    ----------
    given
        Operators that the module declares otherwise, by the Python functions that they stand for.
    reserved
        The names of further operators of the module.
    """

    def __init__(self, given: Mapping[Any, Operator], reserved: Collection[str] = ()) -> None:
        self._reserved = reserved
        self.operators: dict[FunctionType, Operator] = {}
        self.texts: dict[str, str] = {}
        """The named constants."""
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
        scope = _Scope(function, {}, [])
        taken = {operator.name for operator in (*self.operators.values(), *self._given.values())}
        taken.update(self._reserved)
        while name in taken:
            name = f"Injected{name}"
        arguments = node.args
        if arguments.kwonlyargs or arguments.kwarg:
            scope.refuse(node, "a parameter by name")
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

    def _block(self, statements: Sequence[ast.stmt], scope: _Scope) -> list[str]:
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
                scope.refuse(statement, f"the statement {type(statement).__name__}")
            return _let(bound, lines)
        scope.refuse(source_of(scope.function), "a function that ends without a value")

    def _assigned(self, statement: ast.Assign, scope: _Scope) -> list[str]:
        (target,) = statement.targets
        value = statement.value
        if isinstance(target, ast.Name):
            return [self._bind(target.id, self._expression(value, scope), scope)]
        if not isinstance(target, ast.Tuple) or not all(isinstance(each, ast.Name) for each in target.elts):
            scope.refuse(statement, "an assignment to what is no name")
        names = [each.id for each in target.elts if isinstance(each, ast.Name)]
        if isinstance(value, ast.Tuple):
            values = [self._expression(each, scope) for each in value.elts]
        else:
            whole = self._expression(value, scope)
            values = [f"{whole}[{place}]" for place in range(1, len(names) + 1)]
        pairs = [pair for pair in zip(names, values, strict=True) if not pair[0].startswith("_")]
        return [self._bind(name, text, scope) for name, text in pairs]

    def _assigned_if(self, statement: ast.If, scope: _Scope) -> list[str]:
        condition = self._condition(statement.test, scope)
        bound = []
        for inner in statement.body:
            if statement.orelse or not isinstance(inner, ast.Assign):
                scope.refuse(inner, "a conditional statement that is no assignment")
            (target,) = inner.targets
            if not isinstance(target, ast.Name) or target.id not in scope.names:
                scope.refuse(inner, "a conditional assignment to a new name")
            old = scope.names[target.id]
            value = self._expression(inner.value, scope)
            bound.append(self._bind(target.id, f"IF {condition} THEN {value} ELSE {old}", scope))
        return bound

    def _bind(self, name: str, value: str, scope: _Scope) -> str:
        unique, number = name, 2
        while unique in scope.lets:
            unique, number = f"{name}_{number}", number + 1
        scope.names[name] = unique
        scope.lets.append(unique)
        return f"{unique} == {value}"

    # Expressions

    def _lines(self, node: ast.expr, scope: _Scope) -> list[str]:
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

    def _condition(self, node: ast.expr, scope: _Scope) -> str:
        """Translate a condition. Python would accept any value as one; TLA+ has truth values only."""
        if self._is_number(node, scope):
            number = self._operand(node, scope)
            return f"({number} # None /\\ {number} # 0)"
        if not self._is_boolean(node, scope):
            scope.refuse(node, f"a condition that is no truth value ({ast.unparse(node)})")
        return self._expression(node, scope)

    def _is_number(self, node: ast.expr, scope: _Scope) -> bool:
        """Return whether this is a number or None, whose truth value TLA+ can express."""
        match node:
            case ast.Attribute(attr=field):
                return field in NUMBERS
            case ast.Name(id="now"):
                return "now" in scope.names
        return False

    def _is_boolean(self, node: ast.expr, scope: _Scope) -> bool:
        if isinstance(node, ast.BoolOp):
            return all(self._is_boolean(each, scope) for each in node.values)
        if isinstance(node, ast.Call):
            function = self._called(node, scope)
            body = getattr(source_of(function), "body", None) if isinstance(function, FunctionType) else None
            if isinstance(body, ast.expr):
                return self._is_boolean(body, _Scope(function, {}, []))
            return getattr(function, "__annotations__", {}).get("return") is bool
        if isinstance(node, ast.UnaryOp):
            return isinstance(node.op, ast.Not)
        return isinstance(node, ast.Compare) or (
            isinstance(node, ast.Constant) and isinstance(node.value, bool)
        )

    def _term(self, node: ast.expr, scope: _Scope) -> str:
        """Translate a part of a conjunction or a disjunction."""
        text = self._condition(node, scope)
        return f"({text})" if isinstance(node, ast.BoolOp | ast.IfExp) else text

    def _operand(self, node: ast.expr, scope: _Scope) -> str:
        """Translate a part of a larger expression, in parentheses unless it is simple."""
        text = self._expression(node, scope)
        compound = isinstance(node, ast.BoolOp | ast.IfExp | ast.BinOp) or (
            isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not)
        )
        return f"({text})" if compound else text

    def _expression(self, node: ast.expr, scope: _Scope) -> str:  # noqa: C901, PLR0911 - one for each kind
        match node:
            case ast.Constant(value=value):
                return self._constant(value, node, scope)
            case ast.Name(id=name):
                return scope.names[name] if name in scope.names else self._global(name, node, scope)
            case ast.Attribute(value=of, attr=field):
                return f"{self._operand(of, scope)}.{field}"
            case ast.BoolOp(op=ast.Or(), values=[one, other]) if self._is_number(one, scope):
                first = self._expression(one, scope)
                return f"IF {self._condition(one, scope)} THEN {first} ELSE {self._expression(other, scope)}"
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
                values = [self._expression(each, scope) for each in (then, other)]
                return f"IF {self._condition(test, scope)} THEN {values[0]} ELSE {values[1]}"
            case ast.Tuple(elts=parts):
                return f"<<{', '.join(self._expression(part, scope) for part in parts)}>>"
            case ast.Subscript(value=of, slice=ast.Constant(value=int() as place)) if place >= 0:
                return f"{self._operand(of, scope)}[{place + 1}]"
            case ast.Call():
                return self._call(node, scope)
        scope.refuse(node, f"{type(node).__name__} ({ast.unparse(node)})")

    def _constant(self, value: Any, node: ast.AST, scope: _Scope) -> str:
        if value is None:
            return "None"
        if isinstance(value, bool):
            return str(value).upper()
        if isinstance(value, int):
            return str(value)
        if isinstance(value, str) and value.isascii() and value.isprintable() and not set('"\\') & set(value):
            return f'"{value}"'
        scope.refuse(node, f"the constant {value!r}")

    def _global(self, name: str, node: ast.AST, scope: _Scope) -> str:
        value = scope.value(name, node)
        if not isinstance(value, str):
            scope.refuse(node, f"{name} as a value")
        if not name.isupper():
            return self._constant(value, node, scope)
        self.texts[name] = self._constant(value, node, scope)
        return name

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr, scope: _Scope) -> str:
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                scope.refuse(right, "a comparison of identities, except with None")
            sign = "=" if isinstance(op, ast.Is) else "#"
        elif type(op) in COMPARISONS:
            sign = COMPARISONS[type(op)]
        else:
            scope.refuse(left, f"the comparison {type(op).__name__}")
        return f"{self._side(left, scope)} {sign} {self._side(right, scope)}"

    def _side(self, node: ast.expr, scope: _Scope) -> str:
        """Translate a side of a comparison: arithmetic binds closer."""
        return self._expression(node, scope) if isinstance(node, ast.BinOp) else self._operand(node, scope)

    # Calls

    def _called(self, node: ast.Call, scope: _Scope) -> Any:
        match node.func:
            case ast.Name(id=name) if name not in scope.names:
                return scope.value(name, node)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name not in scope.names:
                owner = scope.value(name, node)
                if isinstance(owner, ModuleType):
                    return getattr(owner, attribute)
        return None

    def _call(self, node: ast.Call, scope: _Scope) -> str:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "_replace" and not node.args:
            changes = [
                f"!.{field} = {value}" for each in node.keywords for field, value in self._set(each, scope)
            ]
            return f"[{self._expression(node.func.value, scope)} EXCEPT {', '.join(changes)}]"
        keywords = {each.arg: each.value for each in node.keywords if each.arg}
        if len(keywords) < len(node.keywords) or any(isinstance(each, ast.Starred) for each in node.args):
            scope.refuse(node, "an argument with a star")
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
            scope.refuse(node, f"the call {ast.unparse(node)}")
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

    def _set(self, keyword: ast.keyword, scope: _Scope) -> Iterator[tuple[str, str]]:
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
                scope.refuse(keyword.value, f"the argument ** {ast.unparse(other)}")

    def _construct(
        self, kind: Any, values: list[str], keywords: Mapping[str, ast.expr], scope: _Scope
    ) -> str:
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
