"""Expressions and conditions as tuples, so that only those that are new are built for the solver.

A term is a whole number, or a tuple of an operation and its arguments. Texts are numbers too: only whether
they are equal matters. A text of the specification itself has a number below 0.
"""

from collections.abc import Callable
from typing import Any

import z3

Condition = tuple[Any, ...]
Term = int | tuple[Any, ...]

_NUMBER, _BOOL = z3.IntSort(), z3.BoolSort()

IS_DURABLE = z3.Function("starts as a durable token", _NUMBER, _BOOL)
REST = z3.Function("after the prefix of a durable token", _NUMBER, _NUMBER)
HEAD = z3.Function("before the last slash", _NUMBER, _NUMBER)
SLASH = z3.Function("the last slash", _NUMBER, _NUMBER)
TAIL = z3.Function("after the last slash", _NUMBER, _NUMBER)

# For a divisor above 0, the solver rounds down as Python does.
_OPERATIONS: dict[str, Callable[..., z3.ExprRef]] = {
    "number": z3.Int,
    "text": z3.Int,
    "choice": z3.Bool,
    "not": z3.Not,
    "+": lambda one, other: one + other,
    "-": lambda one, other: one - other,
    "*": lambda one, other: one * other,
    "//": lambda one, other: one / other,
    "%": lambda one, other: one % other,
    "==": lambda one, other: one == other,
    "<": lambda one, other: one < other,
    "is durable": lambda text: z3.And(text >= 0, IS_DURABLE(text)),
    "rest": REST,
    "head": HEAD,
    "slash": SLASH,
    "tail": TAIL,
}
_built: dict[Term, z3.ExprRef] = {}


def build(term: Term) -> Any:
    """Return ``term`` for the solver."""
    found = _built.get(term)
    if found is None:
        if isinstance(term, tuple):
            found = _OPERATIONS[term[0]](
                *(part if isinstance(part, str) else build(part) for part in term[1:])
            )
        else:
            found = z3.IntVal(term)
        _built[term] = found
    return found


def equal(one: Term, other: Term) -> Condition:
    """Return the condition that two terms are equal; the same condition for both orders."""
    return ("==", *sorted((one, other), key=repr))
