"""What is said of mutants is judged rightly, and speaks of the code as it is. tox -e mutation runs them."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "mutation"
PARTS = ("explanations", "mutants", "selections", "wording")


@pytest.fixture(scope="module")
def mutation() -> Iterator[Any]:
    """The modules of the runner."""
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in PARTS})
    sys.path.remove(str(FOLDER))
    for name in PARTS:
        del sys.modules[name]


RAISES = 'def f(key):\n    raise KeyError(f"no {key}. " "Retry.", 1)\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RAISES, RAISES.replace("Retry.", "XXRetry.XX")),
        ('error.add_note("late")', 'error.add_note("LATE")'),
        ('tell("claimed", key)', "tell(None, key)"),
        ('logger.warning("late", key)', 'logger.warning("late")'),
        ('kind = AError if x else BError\nkind("late")', 'kind = AError if x else BError\nkind("LATE")'),
    ],
)
def test_words_for_people_are_wording(mutation: Any, before: str, after: str) -> None:
    assert mutation.wording.is_wording(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RAISES, RAISES.replace("{key}", "{None}")),
        (RAISES, RAISES.replace("1", "2")),
        (RAISES, "def f(key):\n    raise KeyError(None, 1)\n"),
        (RAISES, RAISES.replace("raise ", "")),
        ('raise AError("late") from error', 'raise AError("late") from None'),
        ('if tell("claimed") and x: y', 'if tell("claimed") or x: y'),
        ('status == "COMPLETED"', 'status == "completed"'),
        ('kind = str\nkind("late")', 'kind = str\nkind("LATE")'),
        ('reported("late")', 'reported("LATE")'),
    ],
)
def test_nothing_else_is_wording(mutation: Any, before: str, after: str) -> None:
    assert not mutation.wording.is_wording(before, after)


def test_a_survivor_needs_a_reason_and_a_reason_a_survivor(mutation: Any) -> None:
    parts = mutation.explanations
    lives, gone = parts.Change("a.py: f", "x", "y"), parts.Change("a.py: f", "it's", "")
    elsewhere = parts.Change("b.py: f", "x", "y")
    tallies = [parts.Tally("a.py", 3, 1, [lives])]
    assert parts.complaints(tallies, {lives: "so", elsewhere: "so"}) == []
    unexplained, stale = parts.complaints(tallies, {gone: "so"})
    assert unexplained.startswith(
        "unexplained:\n[[survivor]]\nwhere = \"a.py: f\"\nremoved = 'x'\nadded = 'y'"
    )
    assert stale.startswith("explained, but it does not survive:\n")
    assert "removed = '''it's'''" in stale
    assert "| `a.py` | 3 | 1 | 1 | 1 |" in parts.report(tallies, {lives: "so"})
    assert "| `f` | `x` → `y` | so |" in parts.report(tallies, {lives: "so"})


@pytest.mark.parametrize("entry", ['where = "f"', 'where = "f"\nremoved = ""\nadded = ""\nreason = " "'])
def test_an_explanation_is_complete(mutation: Any, tmp_path: Path, entry: str) -> None:
    (tmp_path / "explained.toml").write_text(f"[[survivor]]\n{entry}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="a reason are needed"):
        mutation.explanations.explanations(tmp_path)


def test_nothing_is_explained_twice(mutation: Any, tmp_path: Path) -> None:
    entry = '[[survivor]]\nwhere = "f"\nremoved = ""\nadded = ""\nreason = "so"\n'
    for name in ("explained.toml", "explained-more.toml"):
        (tmp_path / name).write_text(entry, encoding="utf-8")
    with pytest.raises(ValueError, match="explained twice"):
        mutation.explanations.explanations(tmp_path)


def test_explanations_speak_of_lines_that_are_there(mutation: Any) -> None:
    for change in mutation.explanations.explanations():
        path, _, function = change.where.partition(": ")
        text = (ROOT / "idemproof" / path).read_text(encoding="utf-8")
        lines = [line.strip() for line in dict(mutation.mutants._functions(text))[function].lines]
        missing = [line for line in change.removed.splitlines() if line not in lines]
        assert missing == [], change.where


def test_the_report_has_every_module_and_every_reason(mutation: Any) -> None:
    parts = mutation.explanations
    text = (ROOT / parts.REPORT).read_text(encoding="utf-8")
    assert mutation.wording.RULE in text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    counts = {row[0].strip("`"): list(map(int, row[1:])) for row in rows if row[1].isdecimal()}
    total = counts.pop("all")
    assert list(counts) == [module.path for module in mutation.selections.MODULES]
    assert [each.path for each in mutation.selections.UNEXPLAINED if f"`{each.path}`" not in text] == []
    assert total == [sum(column) for column in zip(*counts.values(), strict=True)]
    assert all(mutants == sum(rest) for mutants, *rest in counts.values())
    reasons = parts.explanations()
    assert [reason for reason in reasons.values() if f"| {parts._cell(reason)} |" not in text] == []
    explained = [row for row in rows if len(row) == 3 and row[0] != "in"]
    assert len(explained) == len(reasons)


def test_the_tests_that_judge_are_there(mutation: Any) -> None:
    for module in (*mutation.selections.MODULES, *mutation.selections.UNEXPLAINED):
        assert (ROOT / "idemproof" / module.path).is_file()
        assert [path for path in (*module.quick, *module.wide) if not (ROOT / path).exists()] == []
