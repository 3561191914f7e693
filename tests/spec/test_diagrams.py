"""The state diagram is the table: every row is on it, and nothing else."""

import re
from dataclasses import replace

import pytest

from diagrams.states import ABSENT, EVENTS, STATES, edges, situations, state_diagram, state_of
from idemproof.spec import transition as table
from idemproof.spec.record import COMPLETED, EXPIRED, INPROGRESS, Record
from idemproof.spec.transition import TABLE, Row

pytestmark = pytest.mark.once

WAY = re.compile(r"^    (\w+) --> (\w+) : ([^:;#]+)$")


def ways(event: str, target: str | None = None) -> set[tuple[str, str]]:
    """The states from which an event leads on, with the rows that decide it."""
    return {
        (edge.source, edge.clause)
        for edge in edges()
        if edge.event == event and target in (None, edge.target)
    }


def test_every_row_of_the_table_is_on_an_edge_with_its_event_and_outcome() -> None:
    drawn = {(edge.clause, edge.event, edge.outcome) for edge in edges() if edge.event != "time"}
    stated = {(row.clause, row.event.__name__, re.split(r"[, ]", row.outcome)[0]) for row in TABLE}
    assert drawn == stated


def test_rows_that_leave_the_record_unchanged_lead_back() -> None:
    unchanged = {row.clause for row in TABLE if row.then == "unchanged"}
    assert all(edge.source == edge.target for edge in edges() if edge.clause in unchanged)


@pytest.mark.parametrize("event", [type(event).__name__ for event in EVENTS])
def test_every_event_leads_somewhere_from_every_state(event: str) -> None:
    assert {source for source, _ in ways(event)} == set(STATES)


def test_a_claim_is_granted_without_a_live_record() -> None:
    assert ways("Claim", INPROGRESS) == {
        (ABSENT, "ROW-1"),
        (EXPIRED, "ROW-1"),
        (EXPIRED, "ROW-18"),
        (INPROGRESS, "ROW-2"),
        (INPROGRESS, "ROW-3"),
        (INPROGRESS, "ROW-4"),
        (INPROGRESS, "ROW-16"),
    }


def test_a_live_response_is_left_by_time_alone() -> None:
    leaving = [edge for edge in edges() if edge.source == COMPLETED != edge.target]
    assert [(edge.event, edge.target) for edge in leaving] == [("time", EXPIRED)]


def test_a_key_becomes_free_by_release_and_eviction_alone() -> None:
    freeing = {(edge.source, edge.clause) for edge in edges() if edge.target == ABSENT != edge.source}
    assert freeing == {(INPROGRESS, "ROW-10"), (EXPIRED, "ROW-10"), (EXPIRED, "ROW-14")}


def test_time_ends_what_is_live() -> None:
    assert ways("time") == ways("time", EXPIRED) == {(INPROGRESS, "TIME-2"), (COMPLETED, "TIME-2")}


def test_a_record_is_expired_from_its_deadline_on() -> None:
    record = Record("key", INPROGRESS, 60, 5_000, owner="me")
    assert [state_of(record, now) for now in (4_999, 5_000)] == [INPROGRESS, EXPIRED]
    assert state_of(None, 0) == ABSENT


def test_the_situations_are_all_different() -> None:
    found = list(situations())
    assert len(found) == len(set(found)) > 50


def test_claims_are_met_before_at_and_after_their_deadlines_and_never_outlived_by_their_leases() -> None:
    found = [record for record in situations() if record is not None]
    assert {record.idempotency_key for record in found} == {""}
    now, soon = 1_000_000, 1_005_000
    deadlines = {
        (r.in_progress_expiry_timestamp, r.expiry_timestamp) for r in found if r.status == INPROGRESS
    }
    assert deadlines == {(soon, 1_005), (now, 1_005), (None, 1_005), (now, 1_000), (None, 1_000)}
    assert {record.expiry_timestamp for record in found if record.status == COMPLETED} == {1_005, 1_000}


def test_time_produces_no_outcome() -> None:
    assert {edge.outcome for edge in edges() if edge.event == "time"} == {""}


def test_edges_are_in_the_order_of_the_states_and_of_the_table() -> None:
    states, clauses = list(STATES), [*(row.clause for row in TABLE), "TIME-2"]
    places = [
        (states.index(edge.source), states.index(edge.target), clauses.index(edge.clause)) for edge in edges()
    ]
    assert places == sorted(places)


def test_the_edges_follow_from_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    before = state_diagram()
    lax = [replace(row, guard=table._always) if row.clause == "ROW-14" else row for row in TABLE]
    monkeypatch.setattr(table, "TABLE", lax)
    assert state_diagram() != before
    assert (COMPLETED, ABSENT) in {(edge.source, edge.target) for edge in edges()}


def test_the_text_has_a_line_for_every_way() -> None:
    first, *lines = state_diagram().splitlines()
    assert first == "stateDiagram-v2"
    found = [match.groups() for line in lines if (match := WAY.match(line))]
    assert len(lines) == len(STATES) + 1 + len(found)
    assert {(source, target) for source, target, _ in found} == {(e.source, e.target) for e in edges()}
    labels = [label for _, _, text in found for label in text.split("<br/>")]
    assert len(labels) == len(edges())
    rows = {row.clause: row for row in TABLE}
    for label in labels:
        named = re.fullmatch(r"(\w+) (ROW-\d+), (\w+)", label)
        if named is None:
            assert label == "its deadline passes, TIME-2"
        else:
            row: Row = rows[named[2]]
            assert named[1] == row.event.__name__
