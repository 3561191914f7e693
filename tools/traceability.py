"""Maps clauses to the tests that prove them, and detects clauses that changed after their tests' last review.

A test names the clauses that it would find broken: ``@pytest.mark.clause("ROW-7")`` on a function, a class
or a ``pytest.param``, or as the ``pytestmark`` of a module or class. The marks are read from the source of
the tests, because collecting the tests takes seconds. A mark that cannot be read exactly is an error.

The snapshot, ``idemproof/spec/traceability.json``, contains the state of the last review. It is regenerated
with the other generated files.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from idemproof.conformance.clauses import (
    PROTOCOL,
    SNAPSHOT,
    Clause,
    Proof,
    clauses_of,
    snapshot_of,
)

MARK = "clause"
UPDATE = "python tools/regenerate.py traceability"

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Scope = ast.Module | ast.ClassDef


class MarkError(ValueError):
    """A mark has a position or a form that cannot be read exactly."""


class _Test(NamedTuple):
    """A test function, and the clauses in its marks and in those of its class and module."""

    name: str
    clauses: frozenset[str]


# Reading the marks.


def marks_in(source: str, where: str) -> dict[str, frozenset[str]]:
    """Return the clauses that each test of a file is marked with, as pytest would find them.

    Parameters
    ----------
    source
        The text of the file.
    where
        The name of the file, with which the ids of its tests begin.

    Raises
    ------
    MarkError
        A mark is not on a test, or its ids are not string literals.
    """
    tree = ast.parse(source)
    read: set[ast.AST] = set()
    tests = {test.name: test.clauses for test in _tests_in(tree, where, frozenset(), read) if test.clauses}
    for node in ast.walk(tree):
        if _is_mark(node) and node not in read:
            raise MarkError(
                f"{where}, line {getattr(node, 'lineno', 0)}: a mark `{MARK}` must be a decorator of a test, "
                "in a `pytestmark`, or in the `marks` of a pytest.param of the test's own parametrize."
            )
    return tests


def marks_below(folder: Path) -> dict[str, set[str]]:
    """Return the tests of each clause that a test file in the folder names, even if there is no such clause.

    Parameters
    ----------
    folder
        The folder of the tests. Their ids begin with its name.
    """
    tests: dict[str, set[str]] = defaultdict(set)
    for path in sorted(folder.rglob("test_*.py")):
        where = path.relative_to(folder.parent).as_posix()
        for test, clauses in marks_in(path.read_text(encoding="utf-8"), where).items():
            for clause in clauses:
                tests[clause].add(test)
    return dict(tests)


def _tests_in(scope: _Scope, name: str, above: frozenset[str], read: set[ast.AST]) -> Iterator[_Test]:
    """Yield the tests of a module or class, by pytest's naming rules."""
    inherited = above | _pytestmark(scope, read)
    for node in scope.body:
        inner = f"{name}::{getattr(node, 'name', '')}"
        if isinstance(node, _Function) and node.name.startswith("test"):
            own = frozenset[str]().union(*(_decorator(item, name, read) for item in node.decorator_list))
            yield _Test(inner, inherited | own)
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            own = frozenset[str]().union(*(_listed(item, name, read) for item in node.decorator_list))
            yield from _tests_in(node, inner, inherited | own, read)


def _pytestmark(scope: _Scope, read: set[ast.AST]) -> frozenset[str]:
    """Read the last assignment of ``pytestmark`` in a module or class, which overrides earlier ones."""
    for node in reversed(scope.body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        named = any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in targets)
        if named and isinstance(node, ast.Assign | ast.AnnAssign) and value is not None:
            return _listed(value, getattr(scope, "name", "the module"), read)
    return frozenset()


def _decorator(node: ast.expr, where: str, read: set[ast.AST]) -> frozenset[str]:
    """Read a decorator of a test: a mark, or the marks of the cases of ``parametrize``."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.parametrize")):
        return _listed(node, where, read)
    values = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "argvalues")]
    cases = [case for value in values if isinstance(value, ast.List | ast.Tuple) for case in value.elts]
    return frozenset[str]().union(
        *(
            _listed(word.value, where, read)
            for case in cases
            if isinstance(case, ast.Call) and ast.unparse(case.func) in ("pytest.param", "param")
            for word in case.keywords
            if word.arg == "marks"
        )
    )


def _listed(node: ast.expr, where: str, read: set[ast.AST]) -> frozenset[str]:
    """Read the clauses of a mark, or of a list of marks; ignore other marks."""
    marks = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    found: set[str] = set()
    for mark in marks:
        if isinstance(mark, ast.Call) and _is_mark(mark.func):
            read.add(mark.func)
            ids = [item.value if isinstance(item, ast.Constant) else None for item in mark.args]
            literals = [item for item in ids if isinstance(item, str)]
            if mark.keywords or not ids or len(literals) < len(ids):
                raise MarkError(
                    f"{where}, line {mark.lineno}: a mark `{MARK}` needs at least one id, and its ids must "
                    "be string literals."
                )
            found.update(literals)
    return frozenset(found)


def _is_mark(node: ast.AST) -> bool:
    """Return whether ``node`` is ``pytest.mark.clause`` or ``mark.clause``."""
    if not (isinstance(node, ast.Attribute) and node.attr == MARK):
        return False
    of = node.value
    return (isinstance(of, ast.Attribute) and of.attr == "mark") or (
        isinstance(of, ast.Name) and of.id == "mark"
    )


def complaint_of_marks(marked: Iterable[tuple[str, tuple[Any, ...]]], known: Iterable[str]) -> str | None:
    """Return a sentence about marks that name no clause or an unknown one; None if there are no such marks.

    Parameters
    ----------
    marked
        Tests, each with the arguments of one mark.
    known
        The ids of all clauses.
    """
    ids = set(known)
    # By function, because a parametrised test would repeat the message hundreds of times.
    wrong = {
        (test.partition("[")[0], str(named))
        for test, arguments in marked
        for named in (arguments or ("nothing",))
        if named not in ids
    }
    if not wrong:
        return None
    listed = "; ".join(f"{test} names {named}" for test, named in sorted(wrong))
    return f"A mark `{MARK}` must name clauses of spec/{PROTOCOL}: {listed}."


# Comparing.


def complaints(
    clauses: Mapping[str, Clause], tests: Mapping[str, Iterable[str]], snapshot: Mapping[str, Proof]
) -> list[str]:
    """Compare the protocol, the marks and the snapshot; return a sentence for each difference.

    Parameters
    ----------
    clauses
        The clauses of the protocol.
    tests
        The tests of each clause that a mark names.
    snapshot
        The state of the last review.
    """
    found = [
        f"{_list(tests[name])} is marked with {name}, which is not a clause of spec/{PROTOCOL}."
        for name in sorted(set(tests) - set(clauses))
    ]
    if not snapshot:
        return [*found, f"There is no snapshot to compare with. Run {UPDATE}"]
    found += [
        f"The snapshot contains {name}, which is no longer a clause. Run {UPDATE}"
        for name in sorted(set(snapshot) - set(clauses))
    ]
    for name, clause in clauses.items():
        marked, seen = tuple(sorted(tests.get(name, ()))), snapshot.get(name)
        if clause.binding and not marked:
            found.append(
                f"{name} says {clause.keyword}, but no test is marked with it. "
                f'Mark a test that fails if it is broken with @pytest.mark.{MARK}("{name}").'
            )
        if seen is None:
            found.append(
                f"{name} is not in the snapshot. Review its tests ({_list(marked)}), then run {UPDATE}"
            )
            continue
        if seen.fingerprint != clause.fingerprint:
            found.append(
                f"The text of {name} has changed since the last review of its tests. "
                f"Review these tests: {_list(marked)}; then run {UPDATE}"
            )
        if seen.tests != marked:
            found.append(
                f"The tests of {name} differ from the snapshot "
                f"(new: {_list(set(marked) - set(seen.tests))}; "
                f"removed: {_list(set(seen.tests) - set(marked))}). Run {UPDATE}"
            )
    return found


def _list(tests: Iterable[str]) -> str:
    return ", ".join(sorted(tests)) or "none"


def files(root: Path) -> dict[str, str]:
    """Return the snapshot of a checkout by its file name.

    Raises
    ------
    ValueError
        A clause or a mark cannot be read.
    """
    protocol = root / "idemproof" / "spec" / PROTOCOL
    clauses = clauses_of(protocol.read_text(encoding="utf-8"))
    return {SNAPSHOT: snapshot_of(clauses.values(), marks_below(root / "tests"))}
