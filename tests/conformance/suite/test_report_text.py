"""What a report shows first, once and in full; and that it loses nothing."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from idemproof import CompareAndSwapLayer, Record, conformance
from idemproof.conformance import check
from idemproof.conformance.suite.html import page
from idemproof.conformance.suite.report import CheckResult, Finding, Report
from idemproof.conformance.suite.report_text import (
    IN_FULL,
    grouped,
    seen_by,
    shape,
    summary,
    without_details,
)
from idemproof.conformance.suite.terminal import show
from idemproof.conformance.suite.trace import Line
from idemproof.spec.record import same_version

CLAIM = Record("key", "INPROGRESS", 2, 1000, owner="alice")
SUITE, SHOP = Path(conformance.__file__).parent, Path("shop", "layers.py")
STEP = Line(0, "client 1", "claims", CLAIM)


def finding(check: str, *clauses: str, why: str, **options: Any) -> Finding:
    return Finding(check, "contract", clauses, why, (STEP,), None)._replace(**options)


def report(*findings: Finding) -> Report:
    checks = [
        CheckResult(each.check, each.tier, each.clauses, "It asks.", "broken", None, (each,), 1, 0, 0.1)
        for each in findings
    ]
    return Report("Layer", "quick", 7, "1.0", tuple(checks))


def shown(made: Report, width: int = 80, command: str | None = "idemproof check a:b") -> str:
    out = io.StringIO()
    show(made, Console(file=out, width=width), command)
    return out.getvalue()


@pytest.mark.parametrize(
    ("one", "another"),
    [
        (
            "The layer raised KeyError: 'conformance-ab12-cd34#1' (line 3 of a.py, in f).",
            "The layer raised KeyError: 'conformance-ab12-ffff#22-case'. No interleaving is needed.",
        ),
        (
            "The layer raised Conflict: lost: Record(idempotency_key='k') (line 9 of a.py, in f).",
            "The layer raised Conflict: lost: None.",
        ),
        (
            "It answered nothing, but ('k', 'INPROGRESS', 19, 20, None, None, None, 'carol') is stored.",
            "It answered nothing, but ('j', 'COMPLETED', 21, None, '\"x\"', None, None, 'bob') is stored.",
        ),
        ("client 1 overwrote what alice stored.", "client 12 overwrote what bob stored."),
        (
            "The answers fit no order: client 1 claims; finally stored: nothing. Found by luck.",
            "The answers fit no order: client 2 evicts; finally stored: all. Found by luck.",
        ),
    ],
)
def test_findings_that_differ_only_in_keys_records_names_and_details_are_similar(
    one: str, another: str
) -> None:
    assert shape(one) == shape(another)
    (group,) = grouped([finding("a", "CAS-1", why=one), finding("b", "CAS-2", why=another)])
    assert group.clauses == ("CAS-1", "CAS-2")
    assert len(group.members) == 2


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("The layer raised KeyError: 'a'.", "The layer raised TypeError: 'a'."),
        ("The layer raised ValueError: no lease.", "The layer raised ValueError: no owner."),
        ("A claim was refused.", "A result was refused."),
        (
            "The answers fit no order: a. Found by luck.",
            "The answers fit no order: a. No interleaving is needed.",
        ),
    ],
)
def test_findings_with_different_causes_are_separate(one: str, another: str) -> None:
    assert len(grouped([finding("a", "CAS-1", why=one), finding("b", "CAS-1", why=another)])) == 2


def test_groups_are_sorted_by_severity_tier_and_length() -> None:
    made = [
        finding("raises", "CAS-7", why="The layer raised OSError.", lines=()),
        finding("late", "INV-1", why="Late.", tier="time"),
        finding("long", "CAS-1", why="Long.", lines=(STEP, STEP)),
        finding("short", "CAS-2", why="Short."),
        finding("again", "CAS-7", why="The layer raised OSError.", tier="exclusion"),
    ]
    assert [group.why for group in grouped(made)] == [
        "Short.",
        "Late.",
        "Long.",
        "The layer raised OSError.",
    ]


def test_an_error_is_reported_with_its_place_and_a_trace() -> None:
    where = f"The layer raised OSError: full (line 7 of {SHOP}, in swap)."
    in_the_suite = f"The layer raised OSError: full (line 9 of {SUITE}/tiers/contract.py, in put_claim)."
    reported = [
        finding("a", "CAS-7", why=in_the_suite, lines=()),
        finding("b", "CAS-7", why=where, lines=()),
        finding("c", "CAS-7", why="The layer raised OSError: full."),
    ]
    (group,) = grouped(reported)
    assert (group.why, group.lines) == (where, (STEP,))
    (group,) = grouped([reported[0], reported[2]])
    assert group.why == "The layer raised OSError: full."


def test_a_group_is_shown_in_full_if_it_breaks_a_new_clause() -> None:
    same = [finding(f"s{number}", "CAS-2", why=f"Same as {'i' * number}.") for number in range(3)]
    others = [finding(f"o{number}", f"CAS-{number + 3}", why=f"Other {'i' * number}.") for number in range(4)]
    reported = summary(grouped([*same, *others]))
    assert [group.clauses for group in reported.full] == [("CAS-2",), ("CAS-3",), ("CAS-4",)]
    assert len(reported.full) == IN_FULL
    assert [group.why for group in reported.brief] == ["Same as i.", "Same as ii.", "Other ii.", "Other iii."]
    assert reported.hidden == 4


def test_only_a_broken_contract_tier_is_named_as_the_cause_of_the_rest() -> None:
    contract, time = (finding(name, "CAS-1", why=f"{name}.", tier=name) for name in ("contract", "time"))
    faults = finding("faults", "CAS-1", why="Faults.", tier="faults")
    assert "fix it first" in str(summary(grouped([time, contract])).preface)
    assert summary(grouped([contract])).preface is None
    assert summary(grouped([time, faults])).preface is None
    assert summary([]) == ([], [], None, 0)


def test_many_checks_of_a_group_are_counted_and_few_are_named() -> None:
    def saw(count: int) -> str:
        tiers = ["contract", "contract", "time", "time", "time"]
        (group,) = grouped(
            [
                finding(f"c{number}", "CAS-1", why="So.", tier=tier)
                for number, tier in enumerate(tiers[:count])
            ]
        )
        return seen_by(group)

    assert saw(1) == "Found by c0 (contract)."
    assert saw(2) == "Found by c0 (contract); seen by 1 more check: c1 (contract)."
    assert saw(5) == "Found by c0 (contract); seen by 4 more checks: contract (1), time (3)."
    (group,) = grouped([finding("c", "CAS-1", why="So.")] * 3)
    assert seen_by(group) == "Found by c (contract); 3 findings."


def test_details_can_be_left_out() -> None:
    assert without_details("It fits no order: a, b. Found by: luck.") == "It fits no order. Found by: luck."
    assert without_details("It fits no order: a, b.") == "It fits no order."
    assert without_details("The layer raised OSError: disk full.") == "The layer raised OSError: disk full."


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_group_that_is_not_shown_in_full_has_at_most_three_lines(width: int) -> None:
    first = finding("a", "CAS-1", "CAS-2", "CAS-3", "CAS-4", why="First.")
    long = finding("b", "CAS-1", "CAS-2", "CAS-3", "CAS-4", why=f"Second {'and on ' * 99}.", tier="faults")
    said = shown(report(first, long), width)
    assert said.count("then stored") == 1
    assert max(map(len, said.splitlines())) <= width
    brief = said.split("ALSO BROKEN, after this:\n")[1].split("\n\n")[0].splitlines()
    heading = "  CAS-1, CAS-2, CAS-3 and 1 more (effect twice; faults, 1 check): Second"
    assert " ".join(said.split()).find(heading.strip()) > 0
    assert brief[0].startswith(heading[:50])
    assert brief[-1].endswith(" …")
    assert len(brief) == 3
    assert "1 more finding: --html FILE writes a page with all of them." in " ".join(said.split())
    assert "1 more finding: report.findings holds all of them." in shown(report(first, long), width, None)


def test_details_are_left_out_if_there_is_no_space() -> None:
    first = finding("a", "CAS-1", why="First.")
    long = finding("b", "CAS-1", why=f"It fits no order: {'and on ' * 99}. Found by luck.")
    brief = "  CAS-1 (wrong result; contract, 1 check): It fits no order. Found by luck.\n"
    assert brief in shown(report(first, long), 90)
    short = long._replace(why="It fits no order: a, b. Found by luck.")
    assert "It fits no order: a, b. Found by luck.\n" in shown(report(first, short), 90)


def test_nothing_is_hidden_if_all_is_shown_in_full() -> None:
    said = shown(report(finding("a", "CAS-1", why="First.")))
    assert "ALSO BROKEN" not in said
    assert "more finding" not in said


def test_the_page_and_the_json_lose_nothing() -> None:
    steps = [STEP._replace(what=f"claims the <b>{number}</b>th time") for number in range(4)]
    made = report(
        *(
            finding(f"c{number}", "CAS-1", why=f"Key {number} is lost.", lines=(step,) * (number + 1))
            for number, step in enumerate(steps)
        )
    )
    text = page(made)
    assert text.count("<section") == 1
    assert "3 more findings of the same kind" in text
    for number in range(4):
        assert f"Key {number} is lost." in text
        assert f"claims the &lt;b&gt;{number}&lt;/b&gt;th time" in text
    whole = [each for one in json.loads(made.as_json())["checks"] for each in one["findings"]]
    assert [each["why"] for each in whole] == [each.why for each in made.findings]


class WithoutReturn(CompareAndSwapLayer):
    """Forgets to return."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Record] = {}

    def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if same_version(self.rows.get(key), expected):
            if new is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = new
        return None


@pytest.mark.parametrize("width", [80, 120])
def test_a_forgotten_return_is_reported_on_the_first_screen(width: int) -> None:
    made = check(WithoutReturn, profile="quick", seed=7, tiers=["contract"])
    said = shown(made, width).splitlines()
    first = next(
        number for number, line in enumerate(said) if line.startswith("A swap that was done returned")
    )
    assert first < 20
    last = next(number for number, line in enumerate(said) if " more findings: " in line)
    assert last < 58
    assert sum("IdempotencyInconsistentStateError" in line for line in said) == 1
