"""The reports of a search: its counts, its progress, and its traces step by step."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from idemproof.spec.explorer import HASHES, PROGRESS_EVERY, Explorer, Result, Trace, TraceLine
from idemproof.spec.moves import FAULTS, Attempt, Move
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from idemproof.spec.states import GONE, RUNNING, Client, State, broken_by_beginning
from idemproof.spec.transition import TABLE, _always

pytestmark = pytest.mark.once

CLAIMED = Record("", INPROGRESS, 3, 2000, None, "a", "held")
LATER = CLAIMED._replace(expiry_timestamp=2, in_progress_expiry_timestamp=1000)
OVER = CLAIMED._replace(expiry_timestamp=1, in_progress_expiry_timestamp=0)
ABANDONED = CLAIMED._replace(owner="gone")

ROWS_OF_ONE = frozenset(("ROW-1", "ROW-5", "ROW-7"))


def _never(*_: Any) -> bool:
    return False


def search_with(
    monkeypatch: pytest.MonkeyPatch, forbidden: Callable[[State, int], bool], explorer: Explorer
) -> Trace:
    """Return the trace to a body that begins in a state that the test forbids."""
    monkeypatch.setattr(
        "idemproof.spec.explorer.broken_by_beginning",
        lambda state, place: ("forbidden",) if forbidden(state, place) else (),
    )
    result = explorer.search()
    assert (result.complete, result.stuck) == (False, None)
    assert "" not in result.rows
    assert 0 < result.states <= result.edges
    assert result.counterexample is not None
    return result.counterexample


# Counts.


@pytest.mark.parametrize(
    ("bounds", "states", "edges", "more_rows"),
    [
        ((1, 1, ()), 32, 64, ()),
        ((1, 2, ()), 73, 157, ("ROW-3",)),
        ((1, 3, ()), 124, 280, ("ROW-3",)),
        ((2, 1, ()), 238, 702, ("ROW-4", "ROW-8", "ROW-9")),
        ((2, 1, ("evict",)), 271, 881, ("ROW-4", "ROW-8", "ROW-9", "ROW-14")),
        ((1, 1, (), 1), 302, 880, ("ROW-2", "ROW-4", "ROW-6", "ROW-8", "ROW-9")),
    ],
)
def test_a_complete_search_counts_every_state_and_step(
    bounds: tuple[Any, ...], states: int, edges: int, more_rows: tuple[str, ...]
) -> None:
    found = Explorer(*bounds).search()
    assert found == Result(states, edges, True, ROWS_OF_ONE | frozenset(more_rows), None, None)


def test_unless_reported_otherwise_two_clients_of_one_payload_have_every_fault_in_time() -> None:
    assert Explorer().search() == Explorer(2, 1, FAULTS, 0).search()


@pytest.mark.parametrize(("limit", "states", "edges"), [(1, 1, 0), (2, 2, 2), (5, 5, 7)])
def test_a_search_stops_at_its_limit(limit: int, states: int, edges: int) -> None:
    result = Explorer(2).search(limit=limit)
    assert (result.states, result.edges, result.complete) == (states, edges, False)
    assert (result.counterexample, result.stuck) == (None, None)


def test_what_was_decided_before_the_limit_is_reported() -> None:
    assert Explorer(2).search(limit=5).rows == {"ROW-1"}


def test_progress_is_reported_at_each_full_thousand_and_nowhere_else() -> None:
    reported: list[tuple[int, int]] = []
    states = Explorer(2, 3).search(lambda met, waiting: reported.append((met, waiting))).states
    assert reported
    assert {met % 1000 for met, _ in reported} == {0}
    assert all(0 < waiting < met <= states for met, waiting in reported)
    assert PROGRESS_EVERY == 1000


@pytest.mark.parametrize(
    ("wrong", "reported"),
    [
        ({"clients": 0}, "clients must be 1 or more, and payload_hashes 1 to 3"),
        ({"payload_hashes": 4}, "clients must be 1 or more, and payload_hashes 1 to 3"),
        (
            {"faults": ("thunder", "lost", "fire")},
            "there is no fault fire, thunder; use lost, crash, raise, renew, evict",
        ),
    ],
)
def test_what_cannot_be_searched_is_reported_with_what_can(wrong: dict[str, object], reported: str) -> None:
    with pytest.raises(ValueError) as raised:
        Explorer(**wrong)  # type: ignore[arg-type]
    assert str(raised.value) == reported


@pytest.mark.parametrize("hashes", [1, 2, 3])
def test_calls_have_the_given_number_of_payloads(monkeypatch: pytest.MonkeyPatch, hashes: int) -> None:
    seen: set[str] = set()

    def begins(state: State, place: int) -> tuple[str, ...]:
        seen.add(state.clients[place].payload_hash)
        return ()

    monkeypatch.setattr("idemproof.spec.explorer.broken_by_beginning", begins)
    Explorer(1, hashes, faults=()).search()
    assert seen == set(HASHES[:hashes])


def test_a_search_that_is_repeated_finds_the_same() -> None:
    explorer = Explorer(2, faults=())
    assert explorer.search() == explorer.search()


# Traces.


@pytest.mark.clause("ENG-3")
def test_a_trace_has_each_step_with_its_client_and_the_stored_record(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = search_with(
        monkeypatch,
        lambda state, place: any(client.phase == RUNNING for client in state.clients),
        Explorer(2, faults=()),
    )
    assert trace == Trace(
        ("forbidden",),
        (
            TraceLine("calls", "client 1", None),
            TraceLine("claims", "client 1", CLAIMED),
            TraceLine("a second passes", "", LATER),
            TraceLine("begins its body", "client 1", LATER),
            TraceLine("a second passes", "", OVER),
            TraceLine("calls", "client 2", OVER),
            TraceLine("claims", "client 2", CLAIMED),
            TraceLine("begins its body", "client 2", CLAIMED),
        ),
    )


def test_a_trace_says_which_payload_each_client_has(monkeypatch: pytest.MonkeyPatch) -> None:
    lax = [replace(row, guard=_never) if row.clause == "ROW-3" else row for row in TABLE]
    monkeypatch.setattr("idemproof.spec.transition.TABLE", lax)
    trace = Explorer(2, payload_hashes=2, faults=()).search().counterexample
    assert trace is not None
    assert trace.broken == ("INV-4 answer_is_the_record",)
    payloads = {
        line.what.removeprefix("calls with payload ") for line in trace.lines if "payload" in line.what
    }
    assert payloads == {"a", "b"}


def test_a_trace_ends_with_the_step_that_breaks_something_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = Attempt._running

    def running(attempt: Attempt) -> Iterator[Move]:
        for move in returns(attempt):
            yield move._replace(broken=("it returned",)) if move.what == "returns" else move

    monkeypatch.setattr(Attempt, "_running", running)
    trace = Explorer(1, faults=()).search().counterexample
    assert trace is not None
    assert trace.broken == ("it returned",)
    assert [line.what for line in trace.lines] == ["calls", "claims", "begins its body", "returns"]


def test_what_a_move_and_a_beginning_break_is_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    granted = Attempt._granted

    def beginning(attempt: Attempt) -> Iterator[Move]:
        for move in granted(attempt):
            yield move._replace(broken=("its move",))

    monkeypatch.setattr(Attempt, "_granted", beginning)
    trace = search_with(monkeypatch, lambda state, place: True, Explorer(1, faults=()))
    assert trace.broken == ("its move", "forbidden")


def test_the_store_forgets_what_is_over_if_it_may() -> None:
    over = State(OVER._replace(expiry_timestamp=0), (Client(),))
    may = [edge for edge in Explorer(1, faults=("evict",))._edges(over) if edge.what == "the store forgets"]
    assert [edge.after for edge in may] == [State(None, (Client(),))]
    assert [(edge.client, edge.faultless, edge.finishes, edge.row) for edge in may] == [
        (None, True, False, "ROW-14")
    ]
    assert "the store forgets" not in {edge.what for edge in Explorer(1, faults=())._edges(over)}
    live = State(CLAIMED, (Client(),))
    assert "the store forgets" not in {edge.what for edge in Explorer(1)._edges(live)}


def test_forgetting_too_soon_ends_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    lax = [replace(row, guard=_always) if row.clause == "ROW-14" else row for row in TABLE]
    monkeypatch.setattr("idemproof.spec.transition.TABLE", lax)
    trace = Explorer(1, faults=("evict",)).search().counterexample
    assert trace is not None
    assert trace.broken == ("INV-3 others_are_untouched", "INV-7 eviction_owes_nothing")
    assert [(line.what, line.who) for line in trace.lines] == [
        ("calls", "client 1"),
        ("claims", "client 1"),
        ("the store forgets", ""),
    ]


def test_an_attempt_whose_client_goes_on_has_a_name_in_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    arrives = Attempt._arrives

    def arriving(attempt: Attempt, kind: str, lease: int, expiry: int) -> Move:
        move = arrives(attempt, kind, lease, expiry)
        return move._replace(broken=("it arrived",)) if attempt._client.phase == GONE else move

    monkeypatch.setattr(Attempt, "_arrives", arriving)
    trace = Explorer(1, faults=(), late_requests=1).search().counterexample
    assert trace is not None
    assert [(line.what, line.who) for line in trace.lines] == [
        ("calls", "client 1"),
        ("claims", "client 1"),
        ("begins its body", "client 1"),
        ("returns", "client 1"),
        ("sends a late complete", "client 1"),
        ("gets Completed", "client 1"),
        ("has its late complete arrive", "an earlier attempt"),
    ]


def test_the_first_state_where_no_client_can_finish_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attempt, "_running", lambda attempt: iter(()))
    monkeypatch.setattr(Attempt, "_granted", lambda attempt: iter(()))
    result = Explorer(1, faults=()).search()
    assert (result.complete, result.counterexample) == (True, None)
    assert result.stuck == Trace(("INV-9",), ())


def test_a_beginning_is_judged_by_the_state_before_it() -> None:
    running = Client(RUNNING, "a", 1)
    stress = State(ABANDONED, (Client("granted", "a", 1, owns=True), running))
    broken = [edge.broken for edge in Explorer(2)._edges(stress) if edge.what == "begins its body"]
    assert broken == [broken_by_beginning(stress, 0)] == [("INV-1 one_live_run", "INV-5 rerun_has_a_reason")]


def test_of_equal_clients_one_moves() -> None:
    pair = State(None, (Client(), Client(), Client("claiming", "a"), Client("claiming", "a")))
    movers = [edge.client for edge in Explorer(4, faults=())._edges(pair)]
    assert sorted(set(movers), key=str) == [0, 2, None]


def test_no_more_requests_are_late_than_allowed() -> None:
    waiting = Client("claiming", "a", late=("claim", 2, 3))
    for allowed, more in ((0, False), (1, False), (2, True)):
        edges = Explorer(2, faults=(), late_requests=allowed)._edges(
            State(None, (waiting, Client("releasing", "a")))
        )
        assert any(edge.what == "sends a late release" for edge in edges) is more


def test_a_stored_result_is_answered_and_that_finishes() -> None:
    stored = Record("", COMPLETED, 3, None, "gone", "a", "gone")
    edges = list(Explorer(1, faults=())._edges(State(stored, (Client("claiming", "a"),))))
    assert [(edge.what, edge.faultless, edge.finishes, edge.row, edge.broken) for edge in edges] == [
        ("a second passes", True, False, "", ()),
        ("gets Replay", True, True, "ROW-5", ()),
    ]
