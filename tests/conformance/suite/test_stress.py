"""Stress tests: recorded requests, evidence, and faults in runs and answers."""

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import stress_layers as layers
from idemproof import InMemoryPersistenceLayer, Record
from idemproof.conformance.harness.durable_writes import kept, written
from idemproof.conformance.harness.evidence import is_explained, lines_of, unexplained
from idemproof.conformance.harness.linearizability import (
    Delete,
    Get,
    Operation,
    Put,
    Refused,
    Update,
    linearization,
)
from idemproof.conformance.harness.recording import LOST, Recorder
from idemproof.conformance.harness.stress import (
    BodyError,
    Plan,
    Round,
    Run,
    faults_of_runs,
    kinds,
    result_of,
    stress,
)
from idemproof.conformance.suite.clock import BEGIN_MS, MovedClock
from idemproof.conformance.suite.subjects import LoopThread, Subject
from idemproof.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from idemproof.spec.commands import Load, Swap

pytestmark = pytest.mark.once

KEY = "order-1"
LEASE = BEGIN_MS + 3_600_000
ANN = Record(KEY, "INPROGRESS", LEASE // 1000, LEASE, owner="ann")
BOB = ANN._replace(owner="bob", expiry_timestamp=ANN.expiry_timestamp + 1)
CAT = ANN._replace(owner="cat", expiry_timestamp=ANN.expiry_timestamp + 2)


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _moved_clock() -> Iterator[None]:
    with MovedClock():
        yield


def swap(expected: Record | None, new: Record | None) -> Swap:
    return Swap(KEY, expected, new, 1)


def operation(start: int, end: int | None, request: Any, answer: Any = None, who: str = "ann") -> Operation:
    return Operation(who, start, end, BEGIN_MS, request, answer)


def clients(subject: Subject, count: int = 6) -> list[tuple[str, Subject]]:
    return [(f"client {number}", subject) for number in range(1, count + 1)]


@pytest.mark.parametrize("kind", kinds(swaps=True))
@pytest.mark.parametrize("seed", range(3))
def test_a_stress_test_of_a_correct_layer_is_linearizable(kind: Any, seed: int, loop: LoopThread) -> None:
    round_ = stress(Plan(kind, KEY, BEGIN_MS, seed), clients(Subject(InMemoryPersistenceLayer(), loop)))
    assert {each.who for each in round_.operations} == {f"client {number}" for number in range(1, 7)}
    assert all(linearization(each) is not None for each in round_.histories())
    assert not round_.mistakes
    assert not faults_of_runs(round_)
    results = [run.result for run in round_.runs if run.result is not None]
    assert {answer for _, answer in round_.answers} == set(results)
    assert results or kind != "calls"  # failing calls may all end with a refused attempt


def test_failing_bodies_fail_sometimes_and_are_retried(loop: LoopThread) -> None:
    subject = Subject(InMemoryPersistenceLayer(), loop)
    rounds = [
        stress(Plan("failing calls", f"order-{seed}", BEGIN_MS, seed), clients(subject, 1))
        for seed in range(8)
    ]
    results = [[run.result is not None for run in each.runs] for each in rounds]
    assert [True] in results
    assert [False, True] in results
    assert all(each in ([True], [False, True]) for each in results)


def test_clients_of_a_stress_test_overlap(loop: LoopThread) -> None:
    class WaitsForAllClients(layers.LockedRows):
        """Serves no client before all have arrived."""

        barrier, arrivals = threading.Barrier(6), itertools.count()

        def _swap(self, *args: Any) -> Record | None:
            if next(self.arrivals) < self.barrier.parties:
                self.barrier.wait(60)
            return super()._swap(*args)

    round_ = stress(Plan("swaps", KEY, BEGIN_MS, 1), clients(Subject(WaitsForAllClients(), loop)))
    assert not WaitsForAllClients.barrier.broken
    assert lines_of(round_.operations)[1].what.startswith("meanwhile")


def test_a_stress_test_begins_after_its_callback(loop: LoopThread) -> None:
    reported = []
    plan = Plan("methods", KEY, BEGIN_MS, 1)
    stress(plan, clients(Subject(InMemoryPersistenceLayer(), loop), 2), lambda: reported.append("begin"))
    assert reported == ["begin"]

    def fail() -> None:
        raise BodyError

    with pytest.raises(BodyError):
        stress(plan, clients(Subject(InMemoryPersistenceLayer(), loop), 2), fail)


def test_faults_in_runs_and_answers_are_found() -> None:
    one = Run("ann", 1, 3, "1")
    assert faults_of_runs(Round(runs=[one], answers=[("ann", "1"), ("bob", "1")])) == []
    two_bodies = faults_of_runs(Round(runs=[one, Run("bob", 2, 4, None)]))
    assert [fault.clauses for fault in two_bodies] == [("INV-1", "INV-5")]
    again = faults_of_runs(Round(runs=[one, Run("bob", 3, 4, "1")]))
    assert [fault.clauses for fault in again] == [("INV-5",)]
    after_a_failure = Round(runs=[Run("ann", 1, 3, None), Run("bob", 4, 5, "2")], answers=[("bob", "2")])
    assert faults_of_runs(after_a_failure) == []
    different_answers = faults_of_runs(Round(runs=[one], answers=[("bob", "2")]))
    assert [fault.clauses for fault in different_answers] == [("INV-4",)]


def test_every_answer_is_recorded(loop: LoopThread) -> None:
    recorder = Recorder(lambda: BEGIN_MS)
    subject = Subject(InMemoryPersistenceLayer(), loop)

    def ask(request: Any) -> Any:
        return recorder.ask(subject, "ann", request)

    assert ask(Get(KEY)) is None
    assert ask(Put(ANN)) is None
    assert ask(Put(BOB)).record.owner == "ann"
    assert ask(Update(result_of(BOB))) == Refused()
    assert ask(Update(result_of(ANN))) is None
    assert ask(Load(KEY)) == result_of(ANN)
    assert ask(Get(KEY)).owner == "ann"
    assert ask(Delete(ANN)) == Refused()
    assert ask(swap(None, BOB)) == result_of(ANN)
    assert [each.answer for each in recorder.operations] == [
        None,
        None,
        Refused(ANN),
        Refused(),
        None,
        result_of(ANN),
        result_of(ANN),
        Refused(),
        result_of(ANN),
    ]
    assert all(each.end is not None and each.end >= each.start for each in recorder.operations)
    assert linearization(recorder.operations) is not None


class FailingReads(layers.Rows):
    def __init__(self, fail: Callable[[], Any]) -> None:
        super().__init__()
        self.fail = fail

    def _load(self, key: str) -> Record | None:
        return self.fail()


def raising(failure: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise failure

    return fail


def changing_a_dictionary_in_a_loop() -> Any:
    rows = {1: 1}
    for row in rows:
        rows[row + 1] = row


def using_a_closed_connection() -> Any:
    connection = sqlite3.connect(":memory:")
    connection.close()
    connection.execute("SELECT 1")


@pytest.mark.parametrize(
    ("fail", "mistakes"),
    [
        (raising(OSError("away")), []),
        (raising(TimeoutError("slow")), []),
        (raising(sqlite3.OperationalError("locked")), []),
        (raising(RuntimeError("busy")), []),
        (lambda: {}["x"], [KeyError]),
        (changing_a_dictionary_in_a_loop, [RuntimeError]),
        (using_a_closed_connection, [sqlite3.ProgrammingError]),
    ],
)
def test_a_failed_request_has_no_answer(
    fail: Callable[[], Any], mistakes: list[type[Exception]], loop: LoopThread
) -> None:
    recorder = Recorder(lambda: BEGIN_MS)
    assert recorder.ask(Subject(FailingReads(fail), loop), "ann", Load(KEY)) is LOST
    assert [each.end for each in recorder.operations] == [None]
    assert [type(each) for each in recorder.mistakes] == mistakes


def test_a_malformed_record_is_no_answer(loop: LoopThread) -> None:
    layer = layers.Rows()
    layer.rows[KEY] = "what?"  # type: ignore[assignment]
    recorder = Recorder(lambda: BEGIN_MS)
    recorder.ask(Subject(layer, loop), "ann", Load(KEY))
    assert [each.end for each in recorder.operations] == [None]


def test_a_layer_with_four_methods_is_recorded_at_these_methods(loop: LoopThread) -> None:
    recorder = Recorder(lambda: BEGIN_MS)
    layer = recorder.layer(Subject(layers.FourMethods(), loop), "ann")
    assert layer._load(KEY) is None
    assert layer._swap(KEY, None, ANN, 1) == ANN
    assert layer._swap(KEY, ANN, result_of(ANN), 1) == result_of(ANN)
    assert [type(each.request) for each in recorder.operations] == [Get, Put, Update]
    layer = recorder.layer(Subject(layers.FourMethods(), loop), "bob")
    layer._swap(KEY, None, BOB, 1)
    assert layer._swap(KEY, BOB, None, 0) is None
    assert isinstance(recorder.operations[-1].request, Delete)
    with pytest.raises(IdempotencyItemNotFoundError):
        recorder.perform(Subject(layers.FourMethods(), loop), "ann", Get(KEY))
    filled = Subject(layers.FourMethods(), loop)
    filled.put(ANN)
    with pytest.raises(IdempotencyItemAlreadyExistsError):
        recorder.perform(filled, "ann", Put(BOB))


def test_evidence_contains_relevant_operations_only() -> None:
    history = [
        operation(0, 1, Load(KEY), None),
        operation(2, 5, swap(None, ANN), ANN),
        operation(3, 4, swap(None, BOB), BOB, "bob"),
        operation(6, 9, swap(None, CAT), ANN, "cat"),
        operation(7, 8, Load(KEY), ANN),
        operation(10, 11, swap(ANN, None), None),
    ]
    found = unexplained(history, swaps=True, fenced=True)
    assert found is not None
    assert [each.request for each in found] == [swap(None, ANN), swap(None, BOB)]
    assert linearization(found) is None
    lines = lines_of(found)
    assert [line.who for line in lines] == ["ann", "bob"]
    assert lines[0].what == "swaps nothing for INPROGRESS of ann, and succeeds"
    assert lines[1].what.startswith("meanwhile, swaps nothing for INPROGRESS of bob")


def test_evidence_shows_the_origin_of_each_record() -> None:
    history = [
        operation(0, 1, Put(ANN)),
        operation(2, 3, Get(KEY), ANN, "bob"),
        operation(4, 5, Put(CAT), Refused(ANN), "cat"),
        operation(6, 7, Get(KEY), None, "bob"),
    ]
    found = unexplained(history, swaps=True, fenced=True)
    assert found is not None
    assert Put(ANN) in [each.request for each in found]
    assert len(found) < len(history)
    assert [line.what for line in lines_of(history)] == [
        "puts INPROGRESS of ann, and succeeds",
        "reads, and finds INPROGRESS of ann",
        "puts INPROGRESS of cat, and is refused because of INPROGRESS of ann",
        "reads, and finds nothing",
    ]


def test_a_linearizable_history_has_no_evidence() -> None:
    history = [operation(0, 1, Put(ANN)), operation(2, None, Delete(ANN)), operation(3, 4, Get(KEY), None)]
    assert unexplained(history, swaps=True, fenced=True) is None
    assert is_explained(history, swaps=True, fenced=True)
    assert [line.what for line in lines_of(history)][1] == "deletes INPROGRESS of ann, and has no answer yet"
    assert lines_of([]) == []
    reported = lines_of(
        [operation(0, 1, Update(result_of(ANN)), Refused()), operation(2, 3, swap(BOB, ANN), BOB)]
    )
    assert reported[0].what == 'completes COMPLETED of ann: "ann", and is refused'
    assert reported[1].what.endswith("and gets back INPROGRESS of bob")


def test_a_history_that_takes_too_long_to_check_is_no_fault() -> None:
    lost = [operation(n, None, swap(None, ANN._replace(owner=f"client {n}"))) for n in range(18)]
    lost += [
        operation(100 + n, None, swap(ANN._replace(owner=f"client {n}"), ANN._replace(owner=f"client {m}")))
        for n in range(5)
        for m in range(5)
    ]
    history = [*lost, operation(200, 201, Load(KEY), BOB)]
    assert is_explained(history, swaps=True, fenced=True)
    assert unexplained(history, swaps=True, fenced=True) is None


def test_acknowledged_records_are_compared_in_the_fields_that_a_layer_stores(loop: LoopThread) -> None:
    claims = [Record(f"order-{n}", "INPROGRESS", ANN[2], LEASE, owner="ann") for n in range(3)]
    said = list(written(claims, Subject(InMemoryPersistenceLayer(), loop)))
    assert [(each.key, each.record) for each in said] == [
        ("order-0", claims[0]),
        ("order-1", claims[1]),
        ("order-1", result_of(claims[1])),
        ("order-2", claims[2]),
        ("order-2", None),
    ]
    assert kept(ANN._replace(response_data=""), ANN, swaps=True)
    assert not kept(ANN._replace(owner=None), ANN, swaps=True)
    assert kept(ANN._replace(owner=None), ANN, swaps=False)
    assert not kept(None, ANN, swaps=False)
    assert not kept(BOB, ANN, swaps=False)
