"""TLC checks a second model of the protocol, whose table is translated from the specification."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import check_tla
from fault_report import ALL_FAULTS
from idemproof.spec import transition as rules
from idemproof.spec.events import Claim, Kept, Released
from server_process import missing
from tla import tlc
from tla.comparison import cases, compare
from tla.configurations import CONFIGURATIONS, INVARIANTS, Configuration
from tla.faults import REPORT, found, found_beginning_late, found_without_a_claim, found_without_a_question
from tla.model import Checked, check
from tla.module import table_module
from tla.recorded import Applied, Entry, OfBody, record
from tla.traces import Trace, follow, outcomes, rejection

pytestmark = pytest.mark.once

DOCS = Path(__file__).resolve().parents[2] / "docs"
RUNS = 30


@pytest.fixture(autouse=True, scope="module")
def _checker() -> None:
    try:
        tlc.command()
    except tlc.Unavailable as error:
        missing(str(error), "Debian's package default-jre-headless has Java.")


def counts_of(configuration: Configuration) -> tuple[int, int]:
    """Return the numbers of states and steps that the page gives."""
    (line,) = re.findall(
        rf"^\| `{configuration.name}`.*\| ([\d,]+) \| ([\d,]+) \| \w+ \|$", PAGE, re.MULTILINE
    )
    states, steps = (int(number.replace(",", "")) for number in line)
    return states, steps


PAGE = (DOCS / "tla.md").read_text(encoding="utf-8")


def assert_as_documented(checked: Checked) -> None:
    result = checked.result
    assert result.violated is None, result.output
    assert (result.distinct, result.generated) == counts_of(checked.configuration)


ALSO_NIGHTLY = ("late-request", "payloads", "milliseconds", "no-owner-tokens")
"""They are the largest of those in which every row decides."""


@pytest.mark.clause("INV-1", "INV-2", "INV-3", "INV-4", "INV-5", "INV-6", "INV-7", "INV-9", "ENG-3", "TIME-6")
@pytest.mark.clause("DUR-2", "INV-11", "TXN-1", "TXN-4", "TXN-6")
@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param(
            each,
            id=each.name,
            marks=[pytest.mark.nightly] * (each.nightly or each.name in ALSO_NIGHTLY),
        )
        for each in CONFIGURATIONS
    ],
)
def test_no_invariant_breaks(configuration: Configuration) -> None:
    assert_as_documented(check(configuration, counts_rows=False))


@pytest.mark.nightly
@pytest.mark.clause("ROW-0")
def test_every_row_decides() -> None:
    taken: dict[str, int] = {}
    for configuration in CONFIGURATIONS:
        if not configuration.nightly:
            taken = {row: taken.get(row, 0) + count for row, count in check(configuration).rows.items()}
    assert set(taken) == {row.clause for row in rules.TABLE}
    # A client completes within a transaction once (TXN-2).
    assert {row for row, count in taken.items() if not count} == {"ROW-21"}


def reported() -> dict[tuple[str, str], tuple[str, str, str]]:
    """Return what the page of faults says of each."""
    lines = [line for line in (DOCS / "tla" / REPORT).read_text(encoding="utf-8").splitlines() if "|" in line]
    each = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]
    return {(row, what): (clause, bounds, steps) for row, what, clause, bounds, steps in each}


def assert_found_as_reported(fault: Any) -> None:
    one = found(fault)
    steps = str(len(one.result.trace)) if one.result.violated else ""
    assert (one.clause, one.bounds, steps) == reported()[fault.row, fault.what]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("ROW-1", "a live claim can be taken over"),
        ("ROW-1", "a record can be claimed a millisecond before its deadline"),
        ("ROW-5", "a result is replayed only once"),
        ("ROW-10", "an invocation releases a claim that a newer one has resumed"),
        ("ROW-14", "any record is evicted"),
        ("ROW-22", "a completion within a transaction takes what is merely claimable"),
    ],
)
def test_a_fault_is_found(row: str, what: str) -> None:
    (fault,) = (each for each in ALL_FAULTS if (each.row, each.what) == (row, what))
    assert_found_as_reported(fault)


def test_a_client_that_begins_too_late_is_found() -> None:
    assert found_beginning_late().clause == "ENG-3"


@pytest.mark.clause("INV-10", "TAKE-3")
def test_a_client_that_takes_over_without_a_question_is_found() -> None:
    assert found_without_a_question().clause == "INV-10"


@pytest.mark.clause("INV-11", "TXN-6")
def test_a_client_that_commits_although_its_claim_is_lost_is_found() -> None:
    assert found_without_a_claim().clause == "INV-11"


@pytest.mark.nightly
@pytest.mark.parametrize("fault", ALL_FAULTS, ids=lambda fault: f"{fault.row}: {fault.what}")
def test_every_fault_is_found_as_reported(fault: Any) -> None:
    assert_found_as_reported(fault)


def test_the_faults_of_the_page_break_every_invariant_in_every_row() -> None:
    each = reported()
    assert {what for _, what in each} == {fault.what for fault in ALL_FAULTS} | {
        "a body begins although its lease is over"
    }
    broken = {clause for clause, *_ in each.values()}
    # No fault of the table breaks INV-10 before TAKE-2, or INV-11 before TXN-1: only clients do, see above.
    assert {name.replace("_", "-") for name in INVARIANTS} - {"INV-10", "INV-11"} <= broken
    rows = {row for (row, _), (clause, *_) in each.items() if clause in broken - {"**not found**"}}
    assert rows >= {row.clause for row in rules.TABLE} - {"ROW-21"}
    assert sum(clause == "**not found**" for clause, *_ in each.values()) < len(each) / 8


@pytest.mark.clause("ROW-0")
def test_the_translation_decides_every_case_as_the_table_does() -> None:
    each = list(cases())
    assert {case.row for case in each} == {row.clause for row in rules.TABLE}
    result = compare(each)
    assert result.violated is None, result.output
    assert result.distinct == len(each)


@pytest.mark.nightly
def test_a_translation_that_decides_otherwise_is_seen() -> None:
    text = table_module()
    wrong = text.replace("now >= DeadlineMs(record)", "now > DeadlineMs(record)")
    assert wrong != text
    assert compare([case for case in cases() if isinstance(case.event, Claim)], wrong).violated == "Same"


@pytest.fixture(scope="module")
def recorded() -> list[Trace]:
    return [record(seed) for seed in range(RUNS)]


@pytest.mark.clause("INV-1", "INV-5", "ENG-3")
def test_every_step_of_the_engine_is_a_step_of_the_model(recorded: list[Trace]) -> None:
    result = follow(recorded)
    assert result.violated is None, rejection(result, recorded)
    entries = sum(len(entries) for _, entries in recorded)
    assert result.distinct >= entries + len(recorded)
    assert {"Claimed", "InProgress", "Replay", "Completed", "Released", "LeaseLost", "Evicted"} <= set(
        outcomes(recorded)
    )


def doctored(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Yield copies that each have one entry altered, or one entry less."""
    for place, entry in enumerate(entries):
        before, rest = entries[:place], entries[place + 1 :]
        if isinstance(entry, OfBody):
            if entry.kind == "granted":
                yield [*before, *rest]
            continue
        other = Released() if isinstance(entry.outcome, Kept) else Kept()
        yield [*before, entry._replace(outcome=other), *rest]
        if entry.after is not None:
            owner = entry.after._replace(owner="owner-1" if entry.after.owner != "owner-1" else "owner-2")
            later = entry.after._replace(expiry_timestamp=entry.after.expiry_timestamp + 1)
            yield from ([*before, entry._replace(after=after), *rest] for after in (owner, later))
        if entry.after != entry.before and any(isinstance(each, Applied) for each in rest):
            yield [*before, *rest]


def test_a_doctored_run_is_rejected(recorded: list[Trace]) -> None:
    began, entries = max(recorded[:20], key=lambda trace: len(trace[1]))
    changed = [(began, each) for each in doctored(entries)]
    assert len(changed) > len(entries)
    assert follow(changed, rejected=True).violated is None
    assert follow([(began, entries)], rejected=True).violated == "IsRejected"


def test_the_entry_that_is_no_step_is_named(recorded: list[Trace]) -> None:
    began, entries = recorded[0]
    place = next(number for number, entry in enumerate(entries) if isinstance(entry, Applied))
    entry = entries[place]
    assert isinstance(entry, Applied)
    wrong = [*entries[:place], entry._replace(outcome=Released()), *entries[place + 1 :]]
    traces: list[Trace] = [recorded[1], (began, wrong)]
    message = rejection(follow(traces), traces)
    assert message.startswith(f"entry {place + 1} of run 2 is no step of the model: [")


def test_a_step_that_breaks_an_invariant_is_named() -> None:
    began = OfBody("granted", 0, "owner-1", 1000), OfBody("began", 0, "owner-1")
    other = OfBody("granted", 0, "owner-2", 1000), OfBody("began", 0, "owner-2")
    traces: list[Trace] = [(0, [*began, *other])]
    result = follow(traces)
    assert result.violated == "INV_1"
    assert rejection(result, traces).startswith("entry 4 of run 1 breaks INV_1: [kind")


def test_the_command_checks_what_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_tla.main(["recorded-runs", "--runs", "1"]) == 0
    text = capsys.readouterr().out
    assert "in 1 runs of the engine is a step of the model" in text
