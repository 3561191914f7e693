"""``idemproof spec``: the clauses and their tests, read from what is installed."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import Result

from command_lines import runner
from idemproof.cli.app import app
from idemproof.conformance.clauses import clauses_of, proofs, protocol_text
from idemproof.spec.invariants import INVARIANTS
from idemproof.spec.transition import TABLE

CLAUSES = clauses_of(protocol_text())


def spec(*arguments: str, columns: int = 80) -> Result:
    return runner().invoke(app, ["spec", *arguments], env={"COLUMNS": str(columns), "NO_COLOR": "1"})


def one(clause: str) -> tuple[str, str]:
    """What is shown of one clause, on one line, and of its tests."""
    shown = spec(clause)
    assert shown.exit_code == 0, shown.output
    said, _, tests = shown.stdout.partition("\nTests: ")
    return " ".join(said.split()), tests


LINE = re.compile(r"^\W+([A-Z]+-\d+) +\W ([A-Z ]+?) +\W (.+?) +\W +(\d+) \W$", re.MULTILINE)


def test_all_clauses_are_listed_with_keyword_text_and_number_of_tests() -> None:
    shown = spec()
    assert shown.exit_code == 0
    lines = {name: (keyword, text, int(tests)) for name, keyword, text, tests in LINE.findall(shown.stdout)}
    assert list(lines) == list(CLAUSES)
    for name, (keyword, text, tests) in lines.items():
        assert keyword == CLAUSES[name].keyword
        assert CLAUSES[name].text.startswith(text.rstrip("\u2026. "))
        assert len(text) > 20
        assert tests == len(proofs()[name].tests)


def test_sections_are_shown_in_the_order_of_the_text() -> None:
    shown = spec().stdout
    headings = list(dict.fromkeys(clause.heading for clause in CLAUSES.values()))
    titles = [line.strip() for line in shown.splitlines() if line.strip() in headings]
    assert titles == headings
    assert len(headings) == 18


def test_the_list_fits_eighty_columns() -> None:
    assert max(map(len, spec().stdout.splitlines())) <= 80


@pytest.mark.parametrize("clause", ["REC-5", "TIME-1", "ROW-0", "INV-6", "CAS-2", "ENG-14", "OUT-4"])
def test_a_clause_is_shown_whole_with_keyword_section_and_tests(clause: str) -> None:
    said, tests = one(clause)
    known = CLAUSES[clause]
    assert said.startswith(f"{clause} ({known.keyword}), in: {known.heading} {known.text}")
    assert tests.splitlines() == [str(len(proofs()[clause].tests)), *proofs()[clause].tests]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.clause)
def test_a_row_is_shown_with_its_rule(row: object) -> None:
    rule = next(rule for rule in TABLE if rule is row)
    said, tests = one(rule.clause)
    assert f"event {rule.event.__name__} when {rule.when} next {rule.then} outcome {rule.outcome}" in said
    assert f"code {rule.guard.__name__}, {rule.step.__name__} of" in said
    assert "tests/spec/test_rows.py::test_row" in tests.splitlines()


@pytest.mark.parametrize("clause", ["INV-2", "INV-4", "INV-8", "ENG-3", "TIME-6"])
def test_an_invariant_is_shown_with_its_predicates(clause: str) -> None:
    said, _ = one(clause)
    predicates = [rule for rule in INVARIANTS if rule.clause == clause]
    assert said.count("Predicate ") == len(predicates) > 0
    for rule in predicates:
        assert f"Predicate {rule.predicate.__name__} on a {rule.of}:" in said
        assert " ".join(str(inspect.getdoc(rule.predicate)).split()) in said


def test_a_tests_id_stays_on_one_line_to_be_copied() -> None:
    shown = spec("ENG-12", columns=40)
    assert set(proofs()["ENG-12"].tests) <= set(shown.stdout.splitlines())


@pytest.mark.parametrize("asked", ["row-7", " ROW-7", "Row-7 "])
def test_an_id_may_be_written_small(asked: str) -> None:
    assert spec(asked).stdout == spec("ROW-7").stdout


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("NOPE", None),
        ("", None),
        ("ROW-44", "ROW-4"),
        ("inv11", "INV-1"),
        ("EGN-4", "ENG-4"),
        ("[bold]", None),
    ],
)
def test_an_unknown_id_is_refused_with_the_nearest(asked: str, nearest: str | None) -> None:
    shown = spec(asked)
    assert (shown.exit_code, shown.stdout) == (2, "")
    begin = f"There is no clause {asked!r}. The nearest are "
    assert shown.stderr.startswith(begin)
    assert shown.stderr.endswith(".\n")
    ids = shown.stderr.removeprefix(begin).removesuffix(".\n").split(", ")
    assert len(ids) == 3
    assert set(ids) <= set(CLAUSES)
    assert nearest is None or nearest in ids


def test_it_runs_as_a_command_from_anywhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "idemproof", "spec", "CAS-5"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert CLAUSES["CAS-5"].text in " ".join(done.stdout.split())
