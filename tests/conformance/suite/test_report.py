"""Reports: their verdicts, and the parts that all forms share."""

import json
from typing import Any

import pytest

from idemproof import Record
from idemproof.conformance.suite.report import CheckResult, Finding, Report
from idemproof.conformance.suite.trace import CLOCK, Line
from idemproof.conformance.suite.wording import (
    again,
    clause_text,
    clean,
    counted,
    found_by,
    groups_of,
    in_order,
    left_out,
    unasked,
    verdict_line,
)

CLAIM = Record("key", "INPROGRESS", 2, 1000, owner="alice")
TRACE = (Line(0, "client 1", "claims", CLAIM), Line(500, CLOCK, "500 ms pass", CLAIM))


def result(name: str, verdict: Any, *clauses: str, tier: str = "contract", **options: Any) -> CheckResult:
    made = CheckResult(name, tier, clauses, "It asks.", verdict, None, (), 2, 3, 0.5)
    return made._replace(**options)


def finding(check: str, *clauses: str, why: str = "It broke.", **options: Any) -> Finding:
    return Finding(check, "contract", clauses, why, TRACE, None)._replace(**options)


def broken(name: str, *clauses: str, **options: Any) -> CheckResult:
    return result(name, "broken", *clauses, findings=(finding(name, *clauses, **options),))


def report(*checks: CheckResult, **options: Any) -> Report:
    return Report("Layer", "quick", 7, "1.0", checks)._replace(**options)


def test_a_clause_is_broken_if_any_finding_breaks_it_and_kept_if_any_check_keeps_it() -> None:
    made = report(
        result("a", "kept", "CAS-1", "CAS-2"),
        broken("b", "CAS-2"),
        result("c", "not offered", "CAS-3", "CAS-1"),
        result("d", "not judged", "CAS-4"),
    )
    assert made.clauses == {
        "CAS-1": "kept",
        "CAS-2": "broken",
        "CAS-3": "not offered",
        "CAS-4": "not judged",
    }


def test_a_finding_may_break_another_clause_than_its_check_asks_about() -> None:
    other = finding("a", "INV-1")
    made = report(result("a", "broken", "CAS-1", findings=(other,)))
    assert made.clauses == {"CAS-1": "not judged", "INV-1": "broken"}


@pytest.mark.parametrize(
    ("verdicts", "tier", "keeps", "keeps_tier"),
    [
        (["kept", "kept"], "kept", True, True),
        (["kept", "not offered"], "kept", True, True),
        (["not offered"], "not offered", True, False),
        (["kept", "not judged"], "not judged", False, False),
        (["kept", "not judged", "broken"], "broken", False, False),
    ],
)
def test_a_tier_is_as_good_as_its_worst_check(
    verdicts: list[str], tier: str, keeps: bool, keeps_tier: bool
) -> None:
    made = report(*(result(str(number), each, "CAS-1") for number, each in enumerate(verdicts)))
    assert made.tiers["contract"] == tier
    assert made.keeps() is keeps
    assert made.keeps("contract") is keeps_tier
    assert not made._replace(finished=False).keeps()


def test_the_json_is_complete() -> None:
    made = json.loads(report(broken("b", "CAS-2")).as_json())
    assert (made["subject"], made["profile"], made["seed"], made["keeps"]) == ("Layer", "quick", 7, False)
    line = made["checks"][0]["findings"][0]["lines"][0]
    assert line["current"]["owner"] == "alice"
    assert line["who"] == "client 1"


# The shared parts.


def test_findings_of_a_check_are_reported_as_one_by_the_shortest_trace() -> None:
    short = finding("a", "CAS-2", lines=TRACE[:1], why="Short.")
    (group,) = groups_of([finding("a", "CAS-1"), short, finding("a", "CAS-1", lines=(), why="None.")])
    assert (group.why, group.lines, group.clauses, group.others) == (
        "Short.",
        TRACE[:1],
        ("CAS-1", "CAS-2"),
        2,
    )
    assert found_by(group) == "Found by a (contract); 3 findings."


def test_similar_findings_of_several_checks_are_one_group() -> None:
    same = [finding(name, "CAS-1", lines=(), why="It raised.") for name in "abc"]
    (group, other) = groups_of([*same, finding("d", "CAS-1", why="Other.", seen_in="Software 1.0")])
    assert found_by(group) == "Found by a (contract), b (contract), c (contract); 3 findings."
    assert other.seen_in == ("Software 1.0",)


def test_only_tiers_that_were_tested_are_counted() -> None:
    made = report(result("a", "kept", "CAS-1", "CAS-2"), broken("b", "CAS-2"))
    (contract,) = counted(made)
    assert contract == ("contract", "broken", ("CAS-1",), ("CAS-2",), 4, 6, 1.0)


def test_checks_that_were_left_out_are_listed_by_reason() -> None:
    made = report(
        result("a", "not offered", "CAS-1", why_not="it is not claimed"),
        result("b", "not offered", "CAS-1", why_not="it is not claimed"),
        result("c", "not judged", "CAS-1", why_not="interrupted"),
        result("d", "kept", "CAS-1"),
    )
    assert unasked(made) == {
        ("not offered", "it is not claimed"): ["a", "b"],
        ("not judged", "interrupted"): ["c"],
    }


def test_many_left_out_checks_are_counted_by_tier_and_few_are_named() -> None:
    many = [result(f"c{number}", "not judged", "CAS-1", why_not="it hangs") for number in range(4)]
    time = [
        result(f"t{number}", "not judged", "TIME-1", tier="time", why_not="it hangs") for number in range(2)
    ]
    kept = result("k", "kept", "CAS-1")
    (left,) = left_out(report(kept, *many, *time))
    assert left.summary == "contract (4 of 5 checks), time (all 2 checks)"
    assert left.names == ("c0", "c1", "c2", "c3", "t0", "t1")
    (few,) = left_out(report(kept, *many))
    assert few.summary == "c0, c1, c2, c3"


@pytest.mark.parametrize(
    ("checks", "options", "line"),
    [
        (
            [result("a", "kept", "CAS-1")],
            {},
            "KEPT: 1 clause; nothing that this layer offers is broken.",
        ),
        (
            [broken("a", "CAS-2", "INV-1"), result("b", "kept", "CAS-1")],
            {},
            "BROKEN: 2 clauses (INV-1, CAS-2); 1 kept. Worst consequence: effect twice.",
        ),
        (
            [result("a", "kept", "CAS-1")],
            {"finished": False},
            "INTERRUPTED: 1 clause kept so far, none broken.",
        ),
        (
            [broken("a", "CAS-2")],
            {"finished": False},
            "BROKEN: 1 clause (CAS-2); 0 kept. Worst consequence: effect twice. The run was interrupted.",
        ),
        (
            [result("a", "not offered", "CAS-1")],
            {},
            "NOTHING JUDGED: no clause was tested, or the layer offers none.",
        ),
        (
            [result("a", "kept", "CAS-1"), result("b", "not judged", "CAS-2", why_not="it failed")],
            {},
            "NOT ALL JUDGED: 1 clause kept, none broken; 1 check could not be judged.",
        ),
    ],
)
def test_the_verdict_is_one_line(checks: list[CheckResult], options: dict[str, Any], line: str) -> None:
    assert verdict_line(report(*checks, **options)) == line


def test_the_verdict_names_required_tiers() -> None:
    made = report(result("a", "kept", "CAS-1"))
    assert verdict_line(made, ["contract"]).endswith(" Required and kept: contract.")
    assert verdict_line(made, ["contract", "time"]).endswith(" Required, but: time is not judged.")
    offers_less = report(result("a", "not offered", "CAS-1"))
    assert verdict_line(offers_less, ["contract"]).endswith(" Required, but: contract is not offered.")


def test_the_report_contains_the_expression_that_repeats_the_run() -> None:
    assert again(report()) == "check(factory, profile='quick', seed=7)"


def test_clauses_are_quoted_and_rows_become_sentences() -> None:
    assert clause_text("INV-2") == "A live COMPLETED record MUST NOT change."
    assert clause_text("ROW-10") == (
        "Release, when held by the owner: the next record is absent; the outcome is Released."
    )
    assert clause_text("ROW-4").startswith("Claim, when INPROGRESS: the record is unchanged; the outcome is")
    assert clause_text("XYZ-1") == "A clause of a later version of the protocol."
    assert in_order({"XYZ-1", "CAS-1", "REC-1"}) == ("REC-1", "CAS-1", "XYZ-1")


def test_text_of_a_layer_cannot_control_a_terminal() -> None:
    assert clean("a\n  b\x1b[31m\u202e") == "a b\\x1b[31m\\u202e"
