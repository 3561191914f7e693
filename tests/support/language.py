"""Finds words that ``tests/docs/words.toml`` keeps out of what users read.

At the root of a checkout, ``python tests/support/language.py`` lists them; with ``--prune`` it removes the
exceptions that are no longer needed from ``tests/docs/words-exceptions.toml``. It never adds one.
"""

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
WORDS = ROOT / "tests" / "docs" / "words.toml"
EXCEPTIONS = ROOT / "tests" / "docs" / "words-exceptions.toml"

_LEFT_OUT = {"tests", "build", "dist", "site", "node_modules"}
"""Folders at the root that no user reads."""

_QUOTES_THEM = PurePosixPath("docs", "contributing", "style.md")

_NOT_PROSE = re.compile(
    r"^[^\S\n]*(?P<fence>`{3,}).*?^[^\S\n]*(?P=fence)[^\S\n]*$"  # fenced code
    r"|<!--.*?-->|</?\w[^>\n]*>"  # HTML
    r"|(?P<ticks>`+)(?:(?!\n\s*\n).)+?(?P=ticks)"  # code in a paragraph
    r"|(?<=\])\([^)\n]*\)"  # the target of a link
    r"|\b\w+(?:-\w+)+\b",  # names such as says-yes-to-everybody
    re.MULTILINE | re.DOTALL,
)


class Hit(NamedTuple):
    """A word that should not be there."""

    path: str
    line: int
    pattern: str
    found: str


def words() -> dict[str, str]:
    """Return the patterns, each with what to write instead."""
    return dict(tomllib.loads(WORDS.read_text(encoding="utf-8"))["words"])


def exceptions() -> dict[str, list[str]]:
    """Return the patterns that files may still have, by the last parts of the files' paths."""
    return dict(tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8"))["exceptions"])


def hits(root: Path, patterns: Iterable[str]) -> list[Hit]:
    """Return the words in Markdown files, and in docstrings and texts of Python files."""
    compiled = [
        (pattern, re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", 0 if _has_capital(pattern) else re.IGNORECASE))
        for pattern in patterns
    ]
    return [
        Hit(path.relative_to(root).as_posix(), number, pattern, match[0])
        for path in _files(root)
        for number, text in _prose(path)
        for pattern, expression in compiled
        for match in expression.finditer(text)
    ]


def excused(hit: Hit, allowed: Mapping[str, Iterable[str]]) -> str | None:
    """Return which exception allows the word; None if it is not allowed."""
    for suffix, patterns in allowed.items():
        if hit.pattern in patterns and _is_at(hit.path, suffix):
            return suffix
    return None


def unneeded(found: Iterable[Hit], allowed: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """Return the exceptions without a hit, each as a path and a pattern."""
    needed = {(excused(hit, allowed), hit.pattern) for hit in found}
    return [
        (suffix, pattern)
        for suffix, patterns in allowed.items()
        for pattern in patterns
        if (suffix, pattern) not in needed
    ]


def _is_at(path: str, suffix: str) -> bool:
    """Tell if a path ends with ``suffix``, which may have moved into another folder if it names one."""
    if "/" not in suffix:
        return path == suffix
    parts = PurePosixPath(suffix).parts
    return PurePosixPath(path).parts[-len(parts) :] == parts


def _has_capital(pattern: str) -> bool:
    return any(character.isupper() for character in pattern)


def _files(root: Path) -> Iterator[Path]:
    for path in sorted((*root.rglob("*.md"), *root.rglob("*.py"))):
        where = PurePosixPath(path.relative_to(root).as_posix())
        hidden = any(part.startswith(".") for part in where.parts)
        if where.parts[0] not in _LEFT_OUT and not hidden and where != _QUOTES_THEM:
            yield path


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each piece of prose in a file, with the number of its line."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from enumerate(_without_code(source).splitlines(), 1)
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield from enumerate(_without_code(node.value).splitlines(), node.lineno)


def _without_code(text: str) -> str:
    """Return a text in which everything that is not prose is blank; lines keep their numbers."""
    return _NOT_PROSE.sub(lambda match: "\n" * match[0].count("\n") or "-", text)


def _prune() -> None:
    stale = set(unneeded(hits(ROOT, words()), exceptions()))
    lines = ["[exceptions]"]
    for suffix, patterns in exceptions().items():
        kept = [pattern for pattern in patterns if (suffix, pattern) not in stale]
        if kept:
            lines.append(f"'{suffix}' = [{', '.join(repr(pattern) for pattern in kept)}]")
    head, _, _ = EXCEPTIONS.read_text(encoding="utf-8").partition("[exceptions]")
    EXCEPTIONS.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """List the words, or prune the exceptions; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prune", action="store_true", help="remove exceptions that are not needed")
    if parser.parse_args().prune:
        _prune()
    allowed, instead = exceptions(), words()
    wrong = [hit for hit in hits(ROOT, instead) if excused(hit, allowed) is None]
    for hit in wrong:
        sys.stdout.write(f"{hit.path}:{hit.line}: {hit.found!r}; write: {instead[hit.pattern]}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
