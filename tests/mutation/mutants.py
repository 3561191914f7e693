"""Mutants as mutmut made them: which there are, which its run let live, and what each of them changes."""

import ast
import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wording import is_wording

KILLED = {1, 3, 24, 36, 152, 255, -24, -11, -9}
"""The exit codes of a failed test, of a run that took too long, and of one that broke down."""


class Mutant(NamedTuple):
    """One mutation, named by what it changes and not by a number.

    Parameters
    ----------
    name
        What mutmut calls it.
    where
        The module, and the function's qualified name.
    removed, added
        The lines that it takes away and those that it puts there, stripped.
    source
        The module with the mutation.
    wording
        Whether only words for people are changed.
    """

    name: str
    where: str
    removed: str
    added: str
    source: str
    wording: bool


class Verdicts(NamedTuple):
    """What mutmut found: how many mutants there are, and those that it did not kill."""

    mutants: int
    living: list[Mutant]


def verdicts(place: Path, path: str, original: str) -> Verdicts:
    """Read what mutmut found.

    Parameters
    ----------
    place
        Where it ran.
    path
        Which module it mutated.
    original
        The text of that module.
    """
    mutated = place / "mutants" / "idemproof" / path
    codes: dict[str, int | None] = json.loads(Path(f"{mutated}.meta").read_text("utf-8"))["exit_code_by_key"]
    if len({code is None for code in codes.values()}) != 1:
        raise RuntimeError(f"mutmut did not come to an end: {codes}")
    generated = mutated.read_text(encoding="utf-8")
    functions = dict(_functions(generated))
    originals = dict(_functions(original))
    living = []
    for name, code in codes.items():
        if code not in KILLED:
            mangled = name.rpartition(".")[2]
            owner, called = _plain(mangled)
            qualified = f"{owner}.{called}" if owner else called
            prefix = f"{owner}." if owner else ""
            changed = functions[prefix + mangled].renamed(mangled, called)
            living.append(_mutant(name, path, qualified, original, originals[qualified], changed))
    return Verdicts(len(codes), living)


class _Function(NamedTuple):
    """The lines of a function, without its decorators."""

    first: int
    lines: list[str]

    def renamed(self, old: str, new: str) -> list[str]:
        return [self.lines[0].replace(old, new, 1), *self.lines[1:]]


def _functions(text: str) -> Iterator[tuple[str, _Function]]:
    """Yield the functions and methods of a module by their qualified names."""
    lines = text.splitlines()
    tree = ast.parse(text)
    classes = [(f"{node.name}.", node.body) for node in tree.body if isinstance(node, ast.ClassDef)]
    for prefix, body in [("", tree.body), *classes]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield prefix + node.name, _Function(node.lineno - 1, lines[node.lineno - 1 : node.end_lineno])


def _plain(mangled: str) -> tuple[str, str]:
    """Return the class, if any, and the function that a generated name was made from."""
    stem = mangled.rpartition("__mutmut_")[0]
    if stem.startswith("xǁ"):
        _, owner, called = stem.split("ǁ")
        return owner, called
    return "", stem.removeprefix("x_")


def _mutant(
    name: str, path: str, qualified: str, original: str, before: _Function, after: list[str]
) -> Mutant:
    lines = original.splitlines()
    lines[before.first : before.first + len(before.lines)] = after
    changes = [
        line
        for line in difflib.unified_diff(before.lines, after, lineterm="", n=0)
        if not line.startswith(("---", "+++", "@@"))
    ]
    removed, added = (
        "\n".join(text for line in changes if line[0] == sign and (text := line[1:].strip())) for sign in "-+"
    )
    wording = is_wording("\n".join(before.lines), "\n".join(after))
    return Mutant(name, f"{path}: {qualified}", removed, added, "\n".join(lines) + "\n", wording)
