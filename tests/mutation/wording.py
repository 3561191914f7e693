"""The one class of mutations that is explained as a class: what only changes words for people."""

import ast
import textwrap

RULE = (
    "A mutant counts as one of wording if the two syntax trees of its function differ only in string "
    "literals in the arguments of an exception's constructor or of `add_note`, or in the arguments of `tell` "
    "and of the logger's methods. Tests do not assert messages word by word. A wording mutant that a test "
    "does kill counts as killed."
)
"""How the page explains it."""


def is_wording(before: str, after: str) -> bool:
    """Tell whether two texts of one function differ only in what is said to people."""
    trees = [ast.parse(textwrap.dedent(text)) for text in (before, after)]
    made = set().union(*map(_names_of_exceptions, trees))
    blanked = [ast.dump(_Blank(made).visit(tree)) for tree in trees]
    return blanked[0] == blanked[1]


def _names_exception(node: ast.expr) -> bool:
    if isinstance(node, ast.IfExp):
        return _names_exception(node.body) and _names_exception(node.orelse)
    return isinstance(node, ast.Name) and node.id.endswith("Error")


def _names_of_exceptions(tree: ast.AST) -> set[str]:
    """Return the local names that stand for one exception class or another."""
    return {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _names_exception(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


class _Blank(ast.NodeTransformer):
    """Takes the words out of a function."""

    def __init__(self, exceptions: set[str]) -> None:
        self._exceptions = exceptions

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = node.func
        if isinstance(called, ast.Name):
            if called.id == "tell":
                return ast.Call(called, [], [])
            worded = called.id.endswith("Error") or called.id in self._exceptions
        else:
            worded = isinstance(called, ast.Attribute) and called.attr == "add_note"
            owner = called.value if isinstance(called, ast.Attribute) else None
            if isinstance(owner, ast.Name) and owner.id == "logger":
                return ast.Call(called, [], [])
        self.generic_visit(node)
        if worded:
            wordless = _Wordless()
            node.args = [wordless.visit(argument) for argument in node.args]
            for keyword in node.keywords:
                keyword.value = wordless.visit(keyword.value)
        return node


class _Wordless(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.JoinedStr(
            [self.visit(part) for part in node.values if isinstance(part, ast.FormattedValue)]
        )
