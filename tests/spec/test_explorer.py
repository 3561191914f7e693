"""The search is complete, covers every row, and finds the known numbers of states and steps."""

from typing import Any

import pytest

from idemproof.spec.explorer import Explorer, Result
from idemproof.spec.moves import FAULTS, Attempt
from idemproof.spec.states import Client, State, canonical
from idemproof.spec.takeover import POLICIES
from idemproof.spec.transition import TABLE

pytestmark = pytest.mark.once


def search(clients: int, payload_hashes: int, late_requests: int) -> Result:
    return Explorer(clients, payload_hashes, late_requests=late_requests).search()


def test_every_row_that_can_change_anything_decides_a_step() -> None:
    seen = search(2, 2, 0).rows | Explorer(2, invocations=2).search().rows
    seen |= {row for policy in POLICIES for row in Explorer(1, policy=policy).search().rows}
    seen |= Explorer(1, transactions=True).search().rows | Explorer(2, transactions=True).search().rows
    # Nothing is forgotten, so there is no step; no client of the model sends a completion within again.
    assert {row.clause for row in TABLE} - seen == {"ROW-15", "ROW-21"}


@pytest.mark.parametrize("options", [{"policy": "ask"}, {"invocations": 1}])
def test_transactions_are_searched_with_the_policy_run_alone(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="transactions need the policy run"):
        Explorer(2, transactions=True, **options)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_adds_states(fault: str) -> None:
    without = tuple(name for name in FAULTS if name != fault)
    fewer, all_of_them = (Explorer(2, faults=faults).search() for faults in (without, FAULTS))
    assert fewer.complete
    assert fewer.edges < all_of_them.edges


def test_a_limit_ends_the_search_and_is_reported() -> None:
    result = Explorer(3).search(limit=100)
    assert not result.complete
    assert 100 <= result.states < 200


def test_a_trace_to_a_state_where_no_client_can_finish_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    granted = Attempt._granted
    # A worker that hangs for ever, alone, once it has claimed with one of two payloads.
    monkeypatch.setattr(
        Attempt,
        "_granted",
        lambda attempt: granted(attempt) if attempt._client.payload_hash == "a" else iter(()),
    )
    result = Explorer(1, 2, faults=()).search()
    assert result.stuck is not None
    assert [line.what for line in result.stuck.lines] == ["calls with payload b"]
    assert {line.who for line in result.stuck.lines} == {"client 1"}


def test_a_trace_keeps_the_names_of_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "idemproof.spec.explorer.broken_by_beginning",
        lambda state, _: ("two run",) if sum(c.phase == "running" for c in state.clients) else (),
    )
    trace = Explorer(3, faults=()).search().counterexample
    assert trace is not None
    began = [line.who for line in trace.lines if line.what == "begins its body"]
    assert len(began) == len(set(began)) == 2
    assert {line.who for line in trace.lines} == {"", *began}


@pytest.mark.parametrize(
    ("wrong", "reported"),
    [
        ({"clients": 0}, "client"),
        ({"payload_hashes": 0}, "payload_hashes"),
        ({"payload_hashes": 4}, "payload_hashes"),
        ({"clients": 2, "invocations": 3}, "invocations"),
        ({"invocations": -1}, "invocations"),
        ({"faults": ("lost", "fire")}, "fire"),
    ],
)
def test_what_cannot_be_searched_is_refused(wrong: dict[str, object], reported: str) -> None:
    with pytest.raises(ValueError, match=reported):
        Explorer(**wrong)  # type: ignore[arg-type]


def test_clients_are_interchangeable() -> None:
    one, other = Client("running", lease=2), Client("claiming")
    assert canonical(State(None, (one, other))) == canonical(State(None, (other, one)))
