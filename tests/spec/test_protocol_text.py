"""The normative text and the code describe the same protocol."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

import idemproof.backends
import idemproof.conformance
import idemproof.reference
import idemproof.spec
from idemproof.spec.invariants import INVARIANTS
from idemproof.spec.record import RESULT_UNAVAILABLE
from idemproof.spec.tables import with_table
from idemproof.spec.transition import TABLE

pytestmark = pytest.mark.once

TEXT = (files(idemproof.spec) / "protocol.md").read_text(encoding="utf-8")
CLAUSES = dict(re.findall(r"^- \*\*([A-Z]+-\d+)\*\* (.+)$", TEXT, re.MULTILINE))
ROWS = set(re.findall(r"^\| (ROW-\d+) \|", TEXT, re.MULTILINE))
MENTION = re.compile(r"\b(?:REC|TIME|ROW|INV|CAS|ENG|DUR|FIN|OBS|OPS|HTTP|OUT)-\d+\b")
SUBPACKAGES = (idemproof.spec, idemproof.backends, idemproof.reference, idemproof.conformance)


def test_the_table_in_the_text_is_drawn_from_the_code() -> None:
    assert with_table(TEXT) == TEXT
    assert {row.clause for row in TABLE} == ROWS


def test_every_id_is_given_once() -> None:
    ids = re.findall(r"^(?:- \*\*|\| )([A-Z]+-\d+)", TEXT, re.MULTILINE)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("clause", CLAUSES)
def test_each_clause_has_one_keyword(clause: str) -> None:
    assert len(re.findall(r"\b(?:MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)\b", CLAUSES[clause])) == 1


def test_every_invariant_of_the_text_has_a_predicate() -> None:
    stated = {clause for clause in CLAUSES if clause.startswith("INV-")}
    assert stated == {rule.clause for rule in INVARIANTS if rule.clause.startswith("INV-")}
    assert {rule.clause for rule in INVARIANTS} <= set(CLAUSES)


@pytest.mark.parametrize("package", SUBPACKAGES, ids=lambda package: package.__name__)
def test_code_mentions_only_clauses_that_exist(package: object) -> None:
    sources = [path for root in package.__path__ for path in Path(root).rglob("*.py")]  # type: ignore[attr-defined]
    assert sources
    mentioned = {clause for path in sources for clause in MENTION.findall(path.read_text(encoding="utf-8"))}
    assert mentioned <= set(CLAUSES) | ROWS


@pytest.mark.clause("REC-6")
def test_the_mark_of_an_unavailable_result_is_the_one_in_the_text() -> None:
    assert f"`{RESULT_UNAVAILABLE}`" in CLAUSES["REC-6"]
