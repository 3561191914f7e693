"""The tests of every clause were reviewed since it changed; and the tool that checks this is exact."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idemproof.conformance.clauses import (
    Clause,
    Proof,
    clauses_of,
    proofs,
    proofs_of,
    protocol_text,
    snapshot_of,
)
from idemproof.spec.tables import BEGIN, END
from traceability import UPDATE, MarkError, complaint_of_marks, complaints, marks_below, marks_in

pytestmark = pytest.mark.once

TESTS = Path(__file__).resolve().parents[1]
PATHS = (TESTS, TESTS / "support", TESTS.parent / "tools")
CLAUSES = clauses_of(protocol_text())


# The current protocol, marks and snapshot.


def test_every_clause_is_tested_and_its_tests_were_reviewed() -> None:
    found = complaints(CLAUSES, marks_below(TESTS), proofs())
    assert found == [], "\n".join(found)


def test_all_clauses_are_binding_except_those_about_missing_guarantees() -> None:
    loose = {name for name, clause in CLAUSES.items() if not clause.binding}
    assert loose == {name for name in CLAUSES if name.startswith("OUT-")}
    assert {CLAUSES[name].keyword for name in loose} == {"MAY"}


def test_every_id_of_the_text_is_a_clause() -> None:
    kinds: dict[str, list[int]] = defaultdict(list)
    for name in CLAUSES:
        kind, number = name.split("-")
        kinds[kind].append(int(number))
    families = "REC TIME ROW INV CAS ENG WAIT REN TAKE DUR KEY RES FIN OBS OPS HTTP OUT"
    assert list(kinds) == families.split()
    for kind, numbers in kinds.items():
        # The rows are in the order in which they decide.
        assert sorted(numbers) == list(range(kind != "ROW", max(numbers) + 1))
        assert kind == "ROW" or numbers == sorted(numbers)


def test_pytest_finds_the_marks_that_were_read_from_the_source(request: pytest.FixtureRequest) -> None:
    read: dict[str, set[str]] = defaultdict(set)
    for clause, tests in marks_below(TESTS).items():
        for test in tests:
            read[test].add(clause)
    for item in request.session.items:
        test = item.nodeid.partition("[")[0]
        marked = {name for mark in item.iter_markers("clause") for name in mark.args}
        assert marked <= read[test], test
        if not hasattr(item, "callspec"):
            assert marked == read[test], test


# Reading clauses.

PROTOCOL = f"""# Title

- **A-1** One MUST do
  this.

## Section

- **A-2** Two MUST NOT do that.
- **A-3** Three MAY.

{BEGIN}
| row | event | when |
|---|---|---|
| R-1 | Event | else  (any) |
{END}
| R-2 | not | a row |
"""


def test_a_clause_has_id_heading_keyword_and_text() -> None:
    assert list(clauses_of(PROTOCOL).values()) == [
        Clause("A-1", "Title", "MUST", "One MUST do this."),
        Clause("A-2", "Section", "MUST NOT", "Two MUST NOT do that."),
        Clause("A-3", "Section", "MAY", "Three MAY."),
        Clause("R-1", "Section", "MUST", "Event | else (any)"),
    ]


def test_the_hash_of_a_clause_depends_on_its_words_but_not_on_wrapping() -> None:
    before = clauses_of(PROTOCOL)
    wrapped = clauses_of(PROTOCOL.replace("do\n  this.", "do this.").replace("else  (any)", "else (any)"))
    assert [c.fingerprint for c in wrapped.values()] == [c.fingerprint for c in before.values()]
    for name, old, new in (("A-1", "  this.", "  That."), ("R-1", "Event", "Other")):
        changed = clauses_of(PROTOCOL.replace(old, new))
        differ = {clause for clause in before if changed[clause].fingerprint != before[clause].fingerprint}
        assert differ == {name}


def test_the_hash_of_a_clause_is_sixteen_digits_of_sha_256() -> None:
    assert Clause("X-1", "", "MUST", "abc").fingerprint == "ba7816bf8f01cfea"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- **A-1** MUST.\n- **A-1** MAY.\n", "defines the clause A-1 twice"),
        ("- **A-1** must be.\n", "A-1 has none of the keywords"),
    ],
)
def test_an_invalid_protocol_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        clauses_of(text)


# Reading marks.

EVERY_FORM = """
import pytest
from pytest import mark, param

other = pytest.mark.parametrize("m", [1])
pytestmark = pytest.mark.usefixtures()
pytestmark = [pytest.mark.clause("A-1"), pytest.mark.usefixtures()]

def helper(): pass
def test_plain(): pass

@pytest.mark.clause("A-2", "A-3")
@pytest.mark.usefixtures()
def test_function(): pass

@other
@mark.clause("A-4")
@mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.clause("A-5")),
                        param(3, marks=[mark.clause("A-6"), mark.xfail()])])
def test_cases(n, m): pass

@pytest.mark.parametrize(argnames="n", argvalues=(pytest.param(1, marks=(mark.clause("A-7"),)),))
async def test_by_keyword(n): pass

@pytest.mark.clause("B-1")
class TestGroup:
    pytestmark = pytest.mark.clause("B-2")

    @pytest.mark.clause("B-3")
    def test_method(self): pass

    class TestInner:
        pytestmark: list = [pytest.mark.clause("B-4")]
        def test_deep(self): pass

class Helper:
    def test_not_collected(self): pass
"""

REPORTING = """
import json
def pytest_configure(config):
    config.addinivalue_line("markers", "clause(*ids): clauses")
def pytest_collection_modifyitems(items):
    found = {}
    for item in items:
        ids = {name for mark in item.iter_markers("clause") for name in mark.args}
        found.setdefault(item.nodeid.partition("[")[0], set()).update(ids)
    print("FOUND" + json.dumps({test: sorted(ids) for test, ids in found.items()}))
"""


def collect(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "--rootdir", str(folder), *options, "tests"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "support"), str(TESTS.parent / "tools")]),
        },
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a file of a checkout, and return the checkout."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_every_form_of_a_mark_is_read_as_pytest_reads_it(write: Callable[[str, str], Path]) -> None:
    write("tests/conftest.py", REPORTING)
    done = collect(write("tests/test_forms.py", EVERY_FORM))
    assert done.returncode == 0, done.stdout
    (reported,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    read = {test: sorted(ids) for test, ids in marks_in(EVERY_FORM, "tests/test_forms.py").items()}
    assert read == json.loads(reported.removeprefix("FOUND"))
    assert {name for ids in read.values() for name in ids} == {
        *(f"A-{number}" for number in range(1, 8)),
        *(f"B-{number}" for number in range(1, 5)),
    }


@pytest.mark.parametrize(
    "source",
    [
        "once = pytest.mark.clause('A-1')",
        "@pytest.mark.clause('A-1')\ndef helper(): pass",
        "@pytest.mark.clause('A-1')\nclass Helper: pass",
        "class Helper:\n    @pytest.mark.clause('A-1')\n    def test_it(self): pass",
        "if True:\n    @pytest.mark.clause('A-1')\n    def test_it(): pass",
        "CASES = [pytest.param(1, marks=pytest.mark.clause('A-1'))]",
        "@pytest.mark.clause\ndef test_it(): pass",
        "pytestmark = pytest.mark.clause('A-1')\npytestmark = []",
        "@pytest.mark.clause(*IDS)\ndef test_it(): pass",
        "@pytest.mark.clause(7)\ndef test_it(): pass",
        "@pytest.mark.clause()\ndef test_it(): pass",
        "@pytest.mark.clause('A-1', why='b')\ndef test_it(): pass",
        "@pytest.mark.parametrize('n', [param(1, marks=pytest.mark.clause(ID))])\ndef test_it(n): pass",
    ],
)
def test_a_mark_that_cannot_be_read_exactly_is_refused(source: str) -> None:
    with pytest.raises(MarkError, match=r"line \d+: .*mark `clause`"):
        marks_in(source, "test_it.py")


def test_marks_are_gathered_by_clause_over_all_test_files(write: Callable[[str, str], Path]) -> None:
    test = "import pytest\n@pytest.mark.clause('{}', 'A-9')\ndef test_it(): pass\n"
    write("tests/test_one.py", test.format("A-1"))
    write("tests/helper.py", test.format("A-2"))
    root = write("tests/test_two.py", test.format("A-3"))
    assert marks_below(root / "tests") == {
        "A-1": {"tests/test_one.py::test_it"},
        "A-3": {"tests/test_two.py::test_it"},
        "A-9": {"tests/test_one.py::test_it", "tests/test_two.py::test_it"},
    }


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ("'ROW-7', 'ROW-77'", "tests/test_it.py::test_it names ROW-77."),
        ("", "tests/test_it.py::test_it names nothing."),
    ],
)
def test_an_unknown_id_is_an_error_at_collection(
    write: Callable[[str, str], Path], marks: str, said: str
) -> None:
    case = f"@pytest.mark.parametrize('n', [1, 2])\n@pytest.mark.clause({marks})\ndef test_it(n): pass\n"
    done = collect(write("tests/test_it.py", f"import pytest\n{case}"), "-p", "conftest")
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout
    wrong = f"A mark `clause` must name clauses of spec/protocol.md: {said}"
    assert done.stdout.splitlines().count(wrong) == 1


def test_each_function_with_an_unknown_id_is_named_once() -> None:
    marked: list[tuple[str, tuple[Any, ...]]] = [("t::a[1]", ("X-1",)), ("t::a[2]", ("X-1",)), ("t::b", (7,))]
    said = complaint_of_marks(marked, ["A-1"])
    assert str(said).endswith("t::a names X-1; t::b names 7.")
    assert complaint_of_marks([("t::a", ("A-1",))], ["A-1"]) is None


# Comparing.

THREE = clauses_of("- **A-1** One MUST.\n- **A-2** Two MUST NOT.\n- **A-3** Three MAY.\n")
TESTED = {"A-1": {"t::one", "t::both"}, "A-2": {"t::both"}}
SEEN = proofs_of(snapshot_of(THREE.values(), TESTED))


def test_there_is_no_complaint_if_all_agree() -> None:
    assert complaints(THREE, TESTED, SEEN) == []


@pytest.mark.parametrize(
    ("tests", "seen", "expected"),
    [
        (
            {**TESTED, "A-7": {"t::x"}},
            SEEN,
            ["t::x is marked with A-7, which is not a clause"],
        ),
        (
            {"A-1": TESTED["A-1"]},
            SEEN,
            ["A-2 says MUST NOT, but no test is marked with it", "(new: none; removed: t::both)"],
        ),
        (
            {**TESTED, "A-2": {"t::both", "t::new"}},
            SEEN,
            ["tests of A-2 differ", "(new: t::new; removed: none)"],
        ),
        (
            TESTED,
            {**SEEN, "A-1": SEEN["A-1"]._replace(fingerprint="0" * 16)},
            ["The text of A-1 has changed", "Review these tests: t::both, t::one; then run", UPDATE],
        ),
        (TESTED, {**SEEN, "A-9": SEEN["A-1"]}, ["snapshot contains A-9, which is no longer a clause"]),
        (
            TESTED,
            {name: SEEN[name] for name in ("A-1", "A-2")},
            ["A-3 is not in the snapshot. Review its tests (none)"],
        ),
        (TESTED, {}, ["There is no snapshot to compare with"]),
    ],
    ids=["unknown", "untested", "another test", "changed", "gone", "new", "no snapshot"],
)
def test_a_difference_is_reported_with_the_next_step(
    tests: dict[str, set[str]], seen: dict[str, Proof], expected: list[str]
) -> None:
    found = "\n".join(complaints(THREE, tests, seen))
    for part in expected:
        assert part in found


def test_a_may_needs_no_test_but_its_changes_are_found() -> None:
    changed = clauses_of("- **A-1** One MUST.\n- **A-2** Two MUST NOT.\n- **A-3** Three MAY be.\n")
    (found,) = complaints(changed, TESTED, SEEN)
    assert found.startswith("The text of A-3 has changed")
