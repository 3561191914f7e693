"""The explorer finds every fault that is injected into the specification, and the page lists it."""

from pathlib import Path

import pytest

from fault_report import ALL_FAULTS, LATE, REPORT, found, found_beginning_late, searched
from idemproof.spec import transition as rules
from idemproof.spec.explorer import Explorer
from idemproof.spec.invariants import INVARIANTS
from injected_faults import FAULTS, Fault, injected
from takeover_faults import CLIENT_FAULTS, found_in_clients

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
HISTORIES_OF_CALLS = {"INV-8"}  # only the search of the engine counts requests


PAGE = (ROOT / "docs" / REPORT).read_text(encoding="utf-8")


@pytest.mark.parametrize("fault", ALL_FAULTS, ids=lambda fault: f"{fault.row}: {fault.what}")
def test_a_fault_is_found_and_the_page_says_how(fault: Fault) -> None:
    trace = found(fault)
    assert (trace is not None) == fault.coarse
    assert trace is None or trace.broken
    assert searched(fault.row, fault.what, trace) in PAGE


def test_the_page_has_each_fault_once_and_counts_them() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith(("| ROW-", "| ENG-"))]
    assert len(set(lines)) == len(lines) == len(ALL_FAULTS) + 1
    text = " ".join(PAGE.split())
    assert f"It finds {sum(fault.coarse for fault in ALL_FAULTS) + 1} of {len(lines)} faults." in text
    assert f"The [proof](proof.md) finds {len(lines)} of {len(lines)} faults." in text


def test_a_client_that_begins_too_late_is_found() -> None:
    trace = found_beginning_late()
    assert trace is not None
    assert trace.broken == ("ENG-3 begins_under_its_lease",)
    assert searched(*LATE, trace) in PAGE


def test_there_are_faults_in_every_row_and_against_every_invariant() -> None:
    # An attempt completes within a transaction once (TXN-2), so no client reaches ROW-21.
    assert {fault.row for fault in FAULTS} == {row.clause for row in rules.TABLE} - {"ROW-21"}
    each = (*map(found, FAULTS), found_beginning_late(), *map(found_in_clients, CLIENT_FAULTS))
    traces = [trace for trace in each if trace is not None]
    broken = {name.partition(" ")[0] for trace in traces for name in trace.broken}
    assert broken == {rule.clause for rule in INVARIANTS} - HISTORIES_OF_CALLS


def test_a_fault_may_move_its_row() -> None:
    moved = next(fault for fault in ALL_FAULTS if fault.before is not None)
    with injected(moved):
        clauses = [row.clause for row in rules.TABLE]
    assert clauses.index(moved.row) + 1 == clauses.index(str(moved.before))
    assert sorted(clauses) == sorted(row.clause for row in rules.TABLE)


def test_a_fault_is_removed_after_its_search() -> None:
    before = rules.TABLE
    with injected(FAULTS[0]):
        assert before != rules.TABLE
    assert before is rules.TABLE
    assert Explorer(2).search().counterexample is None
