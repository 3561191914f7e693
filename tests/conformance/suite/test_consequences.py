"""What a user suffers from each fault: the table of consequences, and the order of reports."""

import json
from pathlib import Path

import pytest

from idemproof.conformance.clauses import clauses_of, protocol_text
from idemproof.conformance.suite.consequences import (
    _OF_CLAUSE,
    CONSEQUENCES,
    LOST,
    REFUSED,
    TWICE,
    WRONG,
    Consequence,
    consequence_of,
)
from idemproof.conformance.suite.report import CheckResult, Finding, Report
from idemproof.conformance.suite.report_text import grouped
from idemproof.conformance.suite.runner import checks
from idemproof.conformance.suite.wording import verdict_line

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "conformance.md"


def finding(*clauses: str, why: str = "It is wrong.", tier: str = "contract") -> Finding:
    return Finding(f"check-of-{clauses[0]}", tier, clauses, why, (), None)


def test_every_clause_that_a_check_can_break_has_a_consequence() -> None:
    asked = {clause for each in checks() for clause in each.clauses}
    assert asked <= _OF_CLAUSE.keys()
    assert _OF_CLAUSE.keys() <= clauses_of(protocol_text()).keys()


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        (("CAS-4",), TWICE),
        (("INV-4", "INV-2"), WRONG),
        (("CAS-6", "INV-7"), LOST),
        (("REC-1", "INV-1"), TWICE),
        (("KEY-1",), REFUSED),
    ],
)
def test_a_finding_has_the_most_severe_consequence_of_its_clauses(
    clauses: tuple[str, ...], expected: Consequence
) -> None:
    assert finding(*clauses).consequence == expected


def test_an_error_is_a_wrong_refusal_whatever_clause_it_breaks() -> None:
    assert finding("CAS-3", why="The layer raised OSError: full.").consequence == REFUSED
    assert consequence_of(["CAS-3"], raised=True) == REFUSED


def test_reports_begin_with_the_most_severe_finding_and_name_its_consequence() -> None:
    mild, severe = finding("REC-3"), finding("INV-1", why="Two bodies ran.", tier="faults")
    assert [each.consequence for each in grouped([mild, severe])] == [TWICE, REFUSED]
    result = CheckResult("a", "contract", ("REC-3",), "", "broken", None, (mild, severe), 1, 0, 0.1)
    report = Report("Layer", "quick", 1, "1.0", (result,))
    assert "Worst consequence: effect twice." in verdict_line(report)
    plain = json.loads(report.as_json())["checks"][0]["findings"]
    assert [each["severity"] for each in plain] == ["wrong refusal", "effect twice"]
    assert plain[1]["consequence"] == TWICE.says


def test_the_documentation_lists_the_consequences_in_order() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8").lower()
    rows = [f"| {each.name} | {each.says.rstrip('.').lower()} |" for each in CONSEQUENCES]
    assert "\n".join(rows) in text
