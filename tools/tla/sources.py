"""Finds the syntax trees of functions in their source files."""

import ast
from functools import cache
from pathlib import Path
from types import FunctionType


class Untranslatable(ValueError):  # noqa: N818 - it reads as what is wrong
    """Something outside of the translated subset."""


def source_of(function: FunctionType) -> ast.FunctionDef | ast.Lambda:
    """Return the syntax tree of a function or a lambda."""
    code = function.__code__
    found = [
        node
        for node in ast.walk(_tree(code.co_filename))
        if isinstance(node, ast.FunctionDef | ast.Lambda)
        and node.lineno == code.co_firstlineno
        and getattr(node, "name", "<lambda>") == code.co_name
    ]
    if len(found) > 1:  # lambdas in one line: the one that its instructions are in
        places = [place for place in code.co_positions() if None not in place and place[2:] != (0, 0)]
        found = [
            node
            for node in found
            if isinstance(node, ast.Lambda)
            and all(_within(node.body, line, column) for line, _, column, _ in places)
        ]
    if len(found) != 1:
        raise Untranslatable(f"The source of {function.__qualname__} is not unique in its line.")
    return found[0]


def _within(node: ast.expr, line: int | None, column: int | None) -> bool:
    end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
    return (node.lineno, node.col_offset) <= (line or 0, column or 0) <= end


@cache
def _tree(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text(encoding="utf-8"))
