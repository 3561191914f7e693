"""The recorded flows show what their titles say."""

import re

import pytest

from diagrams.flows import record_flows
from diagrams.recorder import CLIENT, STORE, Flow, Jump, Message, Note, Stored
from idemproof.spec.transition import TABLE

FLOWS = {flow.name: flow for flow in record_flows()}

each_flow = pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)


def requests(flow: Flow, lane: str | None = None) -> list[str]:
    """Return the events and rows of the requests to the store."""
    return [
        step.text.partition(":")[0]
        for step in flow.steps
        if isinstance(step, Message) and step.target == STORE and lane in (None, step.source)
    ]


def reported(flow: Flow) -> list[tuple[str, str]]:
    return [
        (step.source, step.text) for step in flow.steps if isinstance(step, Message) and step.target == CLIENT
    ]


def notes(flow: Flow, kind: str, lane: str | None = None) -> list[str]:
    return [
        step.text
        for step in flow.steps
        if isinstance(step, Note) and step.kind == kind and lane in (None, step.lane)
    ]


def stood(flow: Flow) -> list[str]:
    return [step.state for step in flow.steps if isinstance(step, Stored)]


def of_call(flow: Flow, number: int) -> Flow:
    """Return the steps of each call."""
    starts = [
        index for index, step in enumerate(flow.steps) if isinstance(step, Message) and step.source == CLIENT
    ]
    return flow._replace(steps=flow.steps[starts[number] : [*starts, None][number + 1]])


def test_every_flow_of_the_documentation_is_there() -> None:
    assert list(FLOWS) == [
        "successful",
        "cached",
        "response-hook",
        "expired",
        "concurrent",
        "waiting",
        "exception",
        "timeout",
        "optional-key",
        "orphan-race",
    ]


def test_a_repeat_is_answered_with_one_request() -> None:
    flow = FLOWS["successful"]
    first, second = of_call(flow, 0), of_call(flow, 1)
    assert requests(first) == ["Claim, ROW-1", "Complete, ROW-7"]
    assert requests(second) == ["Claim, ROW-1"]
    assert notes(second, "decision") == ["ROW-5: Replay"]
    assert notes(second, "body") == []
    assert [text for _, text in reported(flow)] == ['returns "charged"'] * 2
    assert stood(flow) == ["INPROGRESS", "COMPLETED", "COMPLETED"]


def test_the_cache_sends_no_request() -> None:
    first, second = of_call(FLOWS["cached"], 0), of_call(FLOWS["cached"], 1)
    assert requests(first) == ["Claim, ROW-1", "Complete, ROW-7"]
    assert (requests(second), stood(second), notes(second, "body")) == ([], [], [])
    assert notes(second, "remark") == ["no request to the store, and no run"]
    assert reported(second) == reported(first)


def test_the_hook_changes_only_the_replay() -> None:
    first, second = of_call(FLOWS["response-hook"], 0), of_call(FLOWS["response-hook"], 1)
    assert notes(first, "remark") == []
    assert notes(second, "remark") == ['the response hook gets {"paid": 1}']
    assert [text for _, text in reported(first)] == ['returns {"paid": 1}']
    assert [text for _, text in reported(second)] == ['returns {"paid": 1, "replayed": true}']


def test_after_the_window_the_body_runs_again() -> None:
    flow = FLOWS["expired"]
    assert [step.text for step in flow.steps if isinstance(step, Jump)] == [
        "60 s pass, time is 60 s, COMPLETED becomes EXPIRED"
    ]
    assert stood(flow) == ["INPROGRESS", "COMPLETED", "EXPIRED", "INPROGRESS", "COMPLETED"]
    assert notes(flow, "body").count("the body runs") == 2
    assert [text for _, text in reported(flow)] == ['returns "charged"', 'returns "charged again"']


def test_a_second_caller_gets_an_error_about_the_first() -> None:
    flow = FLOWS["concurrent"]
    assert reported(flow) == [
        ("Worker 2", "raises IdempotencyAlreadyInProgressError, retry after 7 s"),
        ("Worker 1", 'returns "charged"'),
    ]
    assert notes(flow, "decision", "Worker 2") == ["ROW-4: InProgress"]
    assert notes(flow, "body", "Worker 2") == []


def test_an_exception_releases_and_the_next_call_runs() -> None:
    flow = FLOWS["exception"]
    assert requests(flow, "Worker 1") == ["Claim, ROW-1", "Release, ROW-10"]
    assert stood(flow) == ["INPROGRESS", "ABSENT", "INPROGRESS", "COMPLETED"]
    assert reported(flow) == [("Worker 1", "raises ConnectionError"), ("Worker 2", 'returns "charged"')]


def test_a_dead_workers_claim_is_taken_over_after_its_lease() -> None:
    flow = FLOWS["timeout"]
    assert notes(flow, "crash") == ["the worker dies"]
    assert reported(flow) == [
        ("Worker 2", "raises IdempotencyAlreadyInProgressError, retry after 6 s"),
        ("Worker 3", 'returns "charged"'),
    ]
    assert notes(flow, "decision", "Worker 3") == ["ROW-1: Claimed, may take over"]
    assert len(requests(flow, "Worker 3")) == 3


def test_without_a_key_nothing_is_stored() -> None:
    flow = FLOWS["optional-key"]
    assert (requests(flow), stood(flow)) == ([], [])
    assert (
        notes(flow, "remark", "Worker 1") == ["IdempotencyWarning is issued", "no request to the store"] * 2
    )
    assert notes(flow, "body", "Worker 1").count("the body runs") == 2
    assert notes(flow, "body", "Worker 2") == []
    assert reported(flow)[-1] == ("Worker 2", "raises IdempotencyKeyError")


def test_one_of_two_takeovers_wins_and_the_old_owner_is_superseded() -> None:
    flow = FLOWS["orphan-race"]
    over = "ROW-1: Claimed, may take over"
    assert notes(flow, "decision", "Worker 2") == [over]
    assert notes(flow, "decision", "Worker 3") == [over, "ROW-4: InProgress"]
    assert notes(flow, "decision", "Worker 1") == ["ROW-8: Superseded"]
    assert notes(flow, "body", "Worker 3") == []
    assert reported(flow) == [
        ("Worker 3", "raises IdempotencyAlreadyInProgressError, retry after 10 s"),
        ("Worker 2", 'returns "charged"'),
        ("Worker 1", 'returns "charged"'),
    ]
    last = [step for step in flow.steps if isinstance(step, Stored)][-1]
    assert last == Stored("COMPLETED", ("of owner-2", 'response "charged"', "until 70 s"))


@each_flow
def test_every_request_is_answered_and_the_stored_record_is_shown(flow: Flow) -> None:
    asked = [
        index for index, step in enumerate(flow.steps) if isinstance(step, Message) and step.target == STORE
    ]
    for index in asked:
        request, current, answer = flow.steps[index : index + 3]
        assert isinstance(request, Message)
        assert isinstance(current, Stored)
        assert isinstance(answer, Message)
        assert answer.reply
        assert (answer.source, answer.target) == (STORE, request.source)


@each_flow
def test_every_call_is_answered_unless_its_worker_died(flow: Flow) -> None:
    calls = [step.target for step in flow.steps if isinstance(step, Message) and step.source == CLIENT]
    dead = [step.lane for step in flow.steps if isinstance(step, Note) and step.kind == "crash"]
    assert sorted([lane for lane, _ in reported(flow)] + dead) == sorted(calls)


@each_flow
def test_the_flows_name_rows_that_exist(flow: Flow) -> None:
    named = set(re.findall(r"ROW-\d+", str(flow.steps)))
    assert named <= {row.clause for row in TABLE}
    assert named or not requests(flow)


def test_recording_again_gives_the_same() -> None:
    assert record_flows() == list(FLOWS.values())
