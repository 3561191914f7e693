"""The report in the terminal, at several widths, with colours and without."""

import io
from typing import Any

import pytest
from rich.console import Console

from idemproof import Record
from idemproof.conformance.suite.report import CheckResult, Finding, Report
from idemproof.conformance.suite.terminal import show
from idemproof.conformance.suite.trace import CLOCK, NOT_LOOKED_AT, STORE, Line
from idemproof.conformance.suite.trace_table import laid_out, lanes_of, moment, plain, wrapped

CLAIM = Record("key", "INPROGRESS", 2, 1000, owner="alice")
RESULT = Record("key", "COMPLETED", 2, response_data='"done"', owner="bob")
TRACE = (
    Line(0, "client 1", "claims, and gets it although another client was faster", CLAIM),
    Line(0, "client 2", "claims", CLAIM),
    Line(30_000, CLOCK, "30,000 ms pass", CLAIM),
    Line(30_000, STORE, "forgets", None),
    Line(30_500, "client 2", "completes", RESULT),
)
FINDING = Finding("a-check", "contract", ("CAS-4", "INV-1"), "Two [red]got the key.", TRACE, "Software 1.0")


def result(verdict: Any, *findings: Finding, **options: Any) -> CheckResult:
    made = CheckResult("a-check", "contract", ("CAS-4",), "It asks.", verdict, None, findings, 1200, 3, 0.5)
    return made._replace(**options)


def report(*checks: CheckResult, **options: Any) -> Report:
    return Report("Layer (two methods)", "quick", 7, "1.0", checks)._replace(**options)


def shown(made: Report, width: int = 80, *, colours: bool = False, **options: Any) -> str:
    out = io.StringIO()
    show(made, Console(file=out, width=width, force_terminal=colours, no_color=not colours), **options)
    return out.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_report_is_complete_at_any_width(width: int) -> None:
    said = shown(report(result("broken", FINDING)), width)
    assert max(map(len, said.splitlines())) <= min(width, 120)
    for sentence in (
        "Layer (two methods)",
        "profile quick, seed 7, idemproof 1.0",
        "BROKEN: INV-1, CAS-4",
        "Two [red]got the key.",
        "INV-1 Two bodies of one key MUST NOT run under live leases at the same time.",
        "CAS-4 `swap` MUST be atomic with respect to every other request for the key.",
        "Seen in: Software 1.0.",
        "Found by a-check (contract).",
        "BROKEN: 2 clauses (INV-1, CAS-4); 0 kept.",
        "To run it again: check(factory, profile='quick', seed=7)",
    ):
        assert sentence in words(said)
    assert "1,200" in said


def test_headings_and_figures_are_whole_at_sixty_columns() -> None:
    clauses = tuple(f"CAS-{number}" for number in range(1, 13))
    said = shown(report(result("broken", FINDING._replace(clauses=clauses), histories=123_456)), 60)
    for whole in ("histories", "schedules", "seconds", "123,456"):
        assert whole in said
    assert "…" not in said
    _, table, *_ = said.split("Clauses broken")[0].split("\n\n")
    assert len(table.strip().splitlines()) == 2
    assert f"BROKEN: {', '.join(clauses)} ─" in words(said)
    assert f"Clauses broken in contract: {', '.join(clauses)}." in words(said)


def test_code_is_broken_between_its_parts_and_names_between_their_words() -> None:
    code = "if same_version(self.rows.get(key), expected):"
    assert wrapped(code, 14) == ["if", "same_version(", "self.rows.get(", "key),", "expected):"]
    assert wrapped("many_words_in_one_name", 12) == ["many_words_", "in_one_name"]
    assert wrapped("x" * 7, 3) == ["xxx", "xxx", "x"]
    assert wrapped("", 3) == [""]


def test_without_colours_there_is_no_escape_sequence() -> None:
    assert "\x1b" not in shown(report(result("broken", FINDING)))
    coloured = shown(report(result("broken", FINDING)), colours=True)
    assert "\x1b[33mINPROGRESS of alice" in coloured
    assert "\x1b[32mCOMPLETED of bob" in coloured


def test_left_out_checks_and_notes_are_shown() -> None:
    made = report(
        result("kept"),
        result("not offered", name="b-check", why_not="it is not claimed (durable)"),
        notes=("It printed\nsomething.",),
    )
    said = words(shown(made, command="idemproof check shop:layer --seed 7"))
    assert "Not offered, because it is not claimed (durable): b-check" in said
    assert "Note: It printed something." in said
    assert "KEPT: 1 clause" in said
    assert "To run it again: idemproof check shop:layer --seed 7" in said


def test_a_finding_without_a_trace_quotes_few_clauses() -> None:
    clauses = ("CAS-1", "CAS-2", "CAS-3", "CAS-4", "CAS-5")
    said = shown(report(result("broken", FINDING._replace(clauses=clauses, lines=()))))
    assert "  CAS-1 " in said
    assert "  CAS-5 " not in said
    assert "BROKEN: CAS-1, CAS-2, CAS-3, CAS-4, CAS-5 " in said


# The trace.


def test_a_trace_has_a_column_for_each_client_and_time_downward() -> None:
    assert plain(TRACE, 80).splitlines() == [
        "time      │ client 1            │ client 2            │ then stored",
        "──────────┼─────────────────────┼─────────────────────┼─────────────────────────",
        "     0 ms │ claims, and gets it │                     │ INPROGRESS of alice",
        "          │ although another    │                     │",
        "          │ client was faster   │                     │",
        "     0 ms │                     │ claims              │ INPROGRESS of alice",
        "     30 s │ ───────────── 30,000 ms pass ──────────── │ INPROGRESS of alice",
        "     30 s │ ─────────── the store forgets ─────────── │ nothing",
        '30,500 ms │                     │ completes           │ COMPLETED of bob: "done"',
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
@pytest.mark.parametrize("clients", [1, 2, 3, 7])
def test_a_trace_of_many_clients_is_wrapped_and_not_cut(clients: int, width: int) -> None:
    said = "swaps in aVeryLongNameThatHasNoPlaceToBreakItAnywhere, twice"
    lines = [Line(number, f"client {number + 1}", said, RESULT) for number in range(clients)]
    rows = plain(lines, width).splitlines()
    assert max(map(len, rows)) <= width
    for letter in "wVLNTHPBIA":
        assert sum(row.count(letter) for row in rows[2:]) >= clients * said.count(letter)


def test_a_trace_without_looks_has_no_column_for_the_store() -> None:
    lines = [line._replace(current=NOT_LOOKED_AT) for line in TRACE]
    assert "stored" not in plain(lines)
    assert "not looked at" in plain([*lines, TRACE[0]])
    assert plain([]) == ""


def test_a_trace_may_contain_only_the_clock_and_the_store() -> None:
    assert "the store forgets" in plain(TRACE[2:4], 60)


def test_clients_are_in_the_order_of_their_numbers() -> None:
    lines = [Line(0, f"client {number}", "looks", None) for number in (10, 2, 1)]
    assert lanes_of(lines) == ["client 1", "client 2", "client 10"]


def test_a_stored_record_is_coloured_by_its_status() -> None:
    lines = [
        Line(0, "client 1", "looks", current)
        for current in (None, CLAIM, RESULT, "unreadable: OSError()", NOT_LOOKED_AT)
    ]
    kinds = [row[-1].kind for row in laid_out(lines, 100)][2:]
    assert kinds == ["ABSENT", "INPROGRESS", "COMPLETED", "crash", "quiet"]


def test_moments_are_short() -> None:
    assert [moment(ms) for ms in (0, 999, 1000, 1001, 3_600_000)] == [
        "0 ms",
        "999 ms",
        "1 s",
        "1,001 ms",
        "3,600 s",
    ]
