"""Symbolic values stand for all values: each path has its own, and what would choose one value is refused."""

import ast
import copy
import operator
import pickle
from collections.abc import Callable
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest

import idemproof.spec
from idemproof.proof.cases import Symbols
from idemproof.proof.execution import Discarded, Execution, Unsupported
from idemproof.proof.symbols import Values
from idemproof.spec.record import DURABLE, ceil_seconds, execution_of

pytestmark = pytest.mark.once

SPECIFICATION = Path(idemproof.spec.__file__).parent


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    A = "a"


CONVERSIONS: tuple[Callable[[Any], Any], ...] = (
    hash, str, repr, bytes, int, float, complex, operator.index, iter, len, copy.copy, copy.deepcopy,
    pickle.dumps, lambda x: f"{x}", lambda x: f"{x:d}", lambda x: f"{x!r}", lambda x: {x}, lambda x: {x: 1},
    lambda x: x(), lambda x: 1 in x, lambda x: isinstance(x, str), lambda x: isinstance(x, int | None),
    lambda x: x.strip(),
    lambda x: getattr(x, "owner", None), lambda x: "%s" % x, lambda x: [1, 2][x], lambda x: x % "a",  # noqa: UP031
)  # fmt: skip
ON_NUMBERS: tuple[Callable[[Any], Any], ...] = (
    abs, round, range, chr, lambda x: x * x, lambda x: x & 1, lambda x: 1 | x, lambda x: x**2,
    lambda x: x / 2, lambda x: 2 / x, lambda x: x // -1000, lambda x: x // 0, lambda x: x // 2.0,
    lambda x: 5 // x, lambda x: x % -2, lambda x: divmod(x, 2), lambda x: x << 1, lambda x: x[0],
    lambda x: ~x, lambda x: x == True, lambda x: x < 0.5, lambda x: x + Level.LOW,  # noqa: E712
)  # fmt: skip
ON_TEXTS: tuple[Callable[[Any], Any], ...] = (
    lambda x: "a" + x, lambda x: x + "a", lambda x: x * 2, lambda x: x < "a", lambda x: x >= "a",
    lambda x: x[0], lambda x: x[:3], lambda x: x == Word.A, lambda x: x.startswith("a"),
    lambda x: x.rpartition("-"),
    lambda x: x == f"{DURABLE}a/b/c",
)  # fmt: skip


def paths(function: Callable[[Symbols], Any]) -> list[tuple[Any, Values]]:
    """Return what ``function`` returns on each path, and real values for the path."""
    execution = Execution()
    symbols = Symbols(execution)
    return [(found, Values(execution.model([]))) for found in execution.paths(lambda: function(symbols))]


@pytest.mark.parametrize("operation", [*CONVERSIONS, *ON_NUMBERS])
def test_what_would_choose_one_number_is_refused(operation: Callable[[Any], Any]) -> None:
    with pytest.raises(Unsupported):
        paths(lambda symbols: operation(symbols.number("x")))


@pytest.mark.parametrize("operation", [*CONVERSIONS, *ON_TEXTS])
def test_what_would_choose_one_text_is_refused(operation: Callable[[Any], Any]) -> None:
    with pytest.raises(Unsupported):
        paths(lambda symbols: operation(symbols.text("x")))


@pytest.mark.parametrize(
    "condition",
    [
        lambda a, b: a < b, lambda a, b: a <= b, lambda a, b: a > b, lambda a, b: a >= b, lambda a, b: a == b,
        lambda a, b: a != b, lambda a, b: a + 1 < b - 2, lambda a, b: 3 - a > b * 2, lambda a, b: 2 * a == -b,
        lambda a, b: a // 1000 < b, lambda a, b: a % 7 == b, lambda a, b: ceil_seconds(a) == b,
        lambda a, b: max(a, b) == a, lambda a, b: a in (1, b), lambda a, b: bool(a) and not b,
        lambda a, b: (a, None) == (b, None), lambda a, b: a == 5 or b == 6,
    ],
)  # fmt: skip
def test_a_condition_of_numbers_has_a_path_for_each_answer(condition: Callable[[Any, Any], bool]) -> None:
    def function(symbols: Symbols) -> Any:
        a, b = symbols.number("a"), symbols.number("b")
        return condition(a, b), a, b

    found = paths(function)
    assert {answer for (answer, *_), _ in found} == {True, False}
    for (answer, a, b), values in found:
        assert condition(values.real(a), values.real(b)) == answer


def test_numbers_and_texts_equal_nothing_of_another_type() -> None:
    found = paths(
        lambda symbols: [
            one == other
            for one in (symbols.number("a"), symbols.text("a"))
            for other in (None, symbols.text("b"), "b", 5, symbols.number("b"))
        ]
    )
    assert all(answers[:3] == [False] * 3 and answers[5] is False for answers, _ in found)
    assert all(answers[8:] == [False] * 2 for answers, _ in found)
    assert {answers[3] for answers, _ in found} == {answers[7] for answers, _ in found} == {True, False}


def test_texts_may_equal_each_other_and_the_texts_of_the_specification() -> None:
    def function(symbols: Symbols) -> Any:
        one, other = symbols.text("one"), symbols.text("other")
        return (one == other, one == "a", other == "a", bool(one)), (one, other)

    found = paths(function)
    assert len({answers for (answers, _), _ in found}) == len(found) == 8
    for (answers, texts), values in found:
        one, other = map(values.real, texts)
        assert (one == other, one == "a", other == "a", bool(one)) == answers


def test_all_kinds_of_owner_tokens_are_executed() -> None:
    def function(symbols: Symbols) -> Any:
        one, other = symbols.text("one"), symbols.text("other")
        mine, theirs = execution_of(one), execution_of(other)
        return (mine is None, theirs is None, mine == theirs, one == other), one, other

    found = paths(function)
    kinds = {answers for (answers, *_), _ in found}
    assert kinds == {
        (True, True, True, True),
        (True, True, True, False),
        (True, False, False, False),
        (False, True, False, False),
        (False, False, True, True),
        (False, False, True, False),
        (False, False, False, False),
    }
    for (answers, one, other), values in found:
        mine, theirs = execution_of(values.real(one)), execution_of(values.real(other))
        assert (
            mine is None,
            theirs is None,
            mine == theirs,
            values.real(one) == values.real(other),
        ) == answers


def test_a_discarded_path_is_not_returned_and_paths_nest() -> None:
    execution = Execution()
    number = Symbols(execution).number("x")

    def positive() -> str:
        if number <= 0:
            raise Discarded
        return "positive"

    def size() -> str:
        return "small" if number < 10 else "large"

    for _ in range(2):  # what was decided is forgotten afterwards
        found = [(outer, inner) for outer in execution.paths(positive) for inner in execution.paths(size)]
        assert sorted(found) == [("positive", "large"), ("positive", "small")]
        assert len(list(execution.paths(lambda: number > 0))) == 2


def test_a_function_that_decides_otherwise_when_executed_again_is_refused() -> None:
    execution = Execution()
    numbers = iter([Symbols(execution).number(name) for name in "abcd"])
    with pytest.raises(Unsupported, match="did not decide the same"):
        list(execution.paths(lambda: next(numbers) > 0 and next(numbers) > 0))


IDENTITIES = {
    "row.event is kind",
    "row.event is type(event)",
    "current is expected",
    "stored is written",
    "type(outcome) is not type(step.outcome)",
    "step.after is step.before",
    "step.after is not step.before",
}
"""Comparisons by identity of classes and of whole records, which are real in the proof too."""


@pytest.mark.parametrize("module", ["transition", "invariants", "inductive", "record"])
def test_no_values_are_compared_by_identity_or_by_their_type(module: str) -> None:
    tree = ast.parse((SPECIFICATION / f"{module}.py").read_text(encoding="utf-8"))
    readers = ("checked", "_whole", "_text")  # they read what a store returned
    functions = [
        node for node in tree.body if not isinstance(node, ast.FunctionDef) or node.name not in readers
    ]
    found = {
        ast.unparse(node)
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Compare)
        and any(isinstance(each, ast.Is | ast.IsNot) for each in node.ops)
        and not (isinstance(node.comparators[0], ast.Constant) and node.comparators[0].value is None)
    }
    assert found <= IDENTITIES
