"""Interleavings: each schedule runs once, and schedules with fewer preemptions come first."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from idemproof.conformance.harness import scheduler
from idemproof.conformance.harness.scheduled_client import Client, current_client
from idemproof.conformance.harness.scheduler import Interleaving, ScheduleStep
from idemproof.conformance.harness.schedules import chooser, explore, round_robin, shortest

SECONDS = 60


@pytest.fixture(autouse=True)
def _tolerate_slow_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not treat a client as blocked elsewhere only because the machine is slow."""
    monkeypatch.setattr(scheduler, "OUTSIDE_SECONDS", 30)


Task = Callable[[Client], None]


def run_interleaving(
    tasks: Sequence[Task], choose: Any, patience: float = 60
) -> tuple[Interleaving, list[Any]]:
    reported: list[Any] = []
    interleaving = Interleaving(
        tasks, choose, patience, lambda client, what, *, reply: reported.append((client.number, what))
    )
    interleaving.run()
    return interleaving, reported


def task_of(letters: str) -> Task:
    def task(client: Client) -> None:
        for letter in letters:
            client.pause(letter, "call")

    return task


def runner_of(*words: str) -> Callable[[Any], tuple[Sequence[ScheduleStep], str]]:
    def interleaving(choose: Any) -> tuple[Sequence[ScheduleStep], str]:
        made, reported = run_interleaving([task_of(word) for word in words], choose)
        return made.steps, "".join(what for _, what in reported)

    return interleaving


def test_without_preemption_each_client_runs_to_its_end() -> None:
    _, reported = run_interleaving([task_of("abc"), task_of("xyz")], chooser(()))
    assert "".join(what for _, what in reported) == "abcxyz"


def test_exactly_one_client_runs_at_a_time() -> None:
    running, most = [0], [0]

    def task(client: Client) -> None:
        for _ in range(50):
            client.pause("step", "call")
            running[0] += 1
            most[0] = max(most[0], running[0])
            running[0] -= 1

    run_interleaving([task, task, task], round_robin)
    assert most == [1]


@pytest.mark.parametrize("reads_layer", [False, True])
def test_steps_need_no_switch_of_threads_unless_the_layer_is_read(reads_layer: bool) -> None:
    own: dict[str, Any] = {}
    reported: list[tuple[str, Any]] = []

    def task(client: Client) -> None:
        own[client.name] = threading.current_thread()
        for _ in range(3):
            client.pause("step", "call")

    def on_step(client: Client, _what: Any, *, reply: bool) -> None:
        reported.append((client.name, threading.current_thread()))

    Interleaving([task, task], round_robin, 60, on_step, reads_layer=reads_layer).run()
    assert len(reported) == 6
    here = threading.current_thread()
    assert {thread is (here if reads_layer else own[who]) for who, thread in reported} == {True}


@pytest.mark.parametrize(
    ("words", "bound"), [(("ab", "xy"), 4), (("abc", "xyz"), 6), (("a", "x", "u"), 3), (("ab", "x", "u"), 4)]
)
def test_with_enough_preemptions_every_interleaving_is_tried_once(words: tuple[str, ...], bound: int) -> None:
    found = Counter(
        run.result for run in explore(runner_of(*words), preemptions=bound, most=10_000, seconds=SECONDS)
    )
    owner = {letter: word for word in words for letter in word}
    letters = "".join(words)
    wanted = {
        "".join(order)
        for order in itertools.permutations(letters)
        if all([letter for letter in order if owner[letter] == word] == list(word) for word in words)
    }
    assert found == dict.fromkeys(wanted, 1)


def test_schedules_with_fewer_preemptions_come_first() -> None:
    tried = [
        run.schedule.preemptions
        for run in explore(runner_of("abc", "xyz"), preemptions=2, most=10_000, seconds=SECONDS)
    ]
    assert tried == sorted(tried)
    assert {0, 1, 2} == set(tried)


def test_a_bounded_exploration_tries_the_same_schedules_each_time() -> None:
    runs = [
        [
            run.result
            for run in explore(runner_of("abcdef", "uvwxyz"), preemptions=2, most=30, seconds=SECONDS)
        ]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 30
    assert len(set(runs[0])) == 30


def test_without_time_no_schedule_runs() -> None:
    assert list(explore(runner_of("ab", "xy"), preemptions=2, most=100, seconds=-1)) == []


def test_a_failing_schedule_is_shortened_and_can_be_replayed() -> None:
    def fails(result: str) -> bool:
        return result.index("x") < result.index("c")

    interleaving = runner_of("abc", "xyz")
    longest = max(
        (
            each
            for each in explore(interleaving, preemptions=4, most=10_000, seconds=SECONDS)
            if fails(each.result)
        ),
        key=lambda each: each.schedule.preemptions,
    )
    short = shortest(longest, interleaving, fails)
    assert fails(short.result)
    assert short.schedule.preemptions < longest.schedule.preemptions
    assert interleaving(chooser([step.chosen for step in short.steps]))[1] == short.result


def test_a_waiting_client_goes_on_when_its_condition_holds() -> None:
    door: list[Any] = []

    def waits(client: Client) -> None:
        client.pause("comes", "call")
        assert client.wait("waits", lambda: bool(door), forever=True)
        client.pause("enters", "call")

    def opens(client: Client) -> None:
        client.pause("knocks", "call")
        client.pause("opens", "call")
        door.append("open")

    _, reported = run_interleaving([waits, opens], chooser(()))
    assert [what for _, what in reported] == ["comes", "knocks", "opens", "waits", "enters"]


def test_wait_returns_false_if_no_other_client_can_run() -> None:
    results: list[Any] = []

    def task(client: Client) -> None:
        client.pause("begins", "call")
        results.append(client.wait("is polite"))

    run_interleaving([task], chooser(()))
    assert results == [False]


def test_clients_that_wait_for_each_other_hang_and_are_freed() -> None:
    left: list[Any] = []

    def task(client: Client) -> None:
        client.pause("begins", "call")
        try:
            client.wait("waits", lambda: False, forever=True)
        finally:
            left.append(client.number)

    interleaving, _ = run_interleaving([task, task], chooser(()))
    assert "each waited for another" in interleaving.hung
    assert not interleaving.blocked
    assert sorted(left) == [0, 1]


def test_a_client_that_waits_for_an_outsider_gets_time() -> None:
    door: list[Any] = []
    opened = threading.Timer(0.05, door.append, [True])

    def task(client: Client) -> None:
        client.pause("begins", "call")
        client.wait("waits", lambda: bool(door), forever=True, holder=lambda: "an outsider")

    opened.start()
    interleaving = Interleaving([task, task], chooser(()), patience=30)
    interleaving.run()
    opened.join()
    assert interleaving.hung is None
    assert not interleaving.given_up


def test_a_client_that_waits_too_long_for_an_outsider_hangs() -> None:
    def task(client: Client) -> None:
        client.pause("begins", "call")
        client.wait("waits", lambda: False, forever=True, holder=lambda: "an outsider")

    interleaving = Interleaving([task], chooser(()), patience=0.05)
    interleaving.run()
    assert interleaving.hung == "client 1 waited for a lock that was never released"
    assert interleaving.blocked


def test_a_deadlock_of_clients_is_found_at_once() -> None:
    def task(other: int) -> Task:
        def run(client: Client) -> None:
            client.pause("begins", "call")
            client.wait("waits", lambda: False, forever=True, holder=lambda: interleaving.clients[other])

        return run

    interleaving = Interleaving([task(1), task(0)], chooser(()), patience=600)
    interleaving.run()
    assert "each waited for another" in interleaving.hung


def test_a_lock_outside_the_scheduler_does_not_stop_other_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "OUTSIDE_SECONDS", 0.05)
    lock = threading.Lock()

    def task(client: Client) -> None:
        client.pause("begins", "call")
        with lock:
            client.pause("inside", "call")

    interleaving, reported = run_interleaving([task, task], chooser((0, 1)))
    assert interleaving.hung is None
    assert {client.state for client in interleaving.clients} == {"done"}
    assert sorted(reported) == [(0, "begins"), (0, "inside"), (1, "begins"), (1, "inside")]


def test_a_client_that_pauses_just_in_time_is_not_left_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "OUTSIDE_SECONDS", 0.01)
    over, paused = threading.Event(), threading.Event()

    class Late(Interleaving):
        def on_pause(self, client: Client) -> None:
            super().on_pause(client)
            if client.what == "late":
                paused.set()

    def wait(seconds: float) -> bool:
        notified = usual(seconds)
        if not notified and not over.is_set():  # now the client pauses, before this thread has the lock again
            over.set()
            interleaving._changed.release()
            assert paused.wait(SECONDS)
            interleaving._changed.acquire()
        return notified

    def task(client: Client) -> None:
        client.pause("begins", "call")
        over.wait(SECONDS)
        client.pause("late", "call")

    interleaving = Late([task], chooser(()), patience=5, reads_layer=True)
    usual = interleaving._changed.wait
    monkeypatch.setattr(interleaving._changed, "wait", wait)
    interleaving.run()
    assert over.is_set()
    assert interleaving.hung is None


def test_late_work_of_a_finished_client_neither_waits_nor_revives_it() -> None:
    interleaving, _ = run_interleaving([task_of("ab")], chooser(()))
    client = interleaving.clients[0]
    late = threading.Thread(target=client.pause, args=("late", "call"), daemon=True)
    late.start()
    late.join(SECONDS)
    assert not late.is_alive()
    assert client.state == "done"


def test_a_finished_client_drops_its_reference_to_the_called_object() -> None:
    def task(client: Client) -> None:
        client.pause("begins", "call")
        client.calling = "a connection"

    interleaving, _ = run_interleaving([task], chooser(()))
    assert interleaving.clients[0].calling is None


def test_a_deadlock_outside_the_scheduler_ends_the_interleaving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "OUTSIDE_SECONDS", 0.05)
    locks = threading.Lock(), threading.Lock()

    def task(number: int) -> Task:
        first, second = locks[number], locks[1 - number]

        def run(client: Client) -> None:
            client.pause("begins", "call")
            with first:
                client.pause("has one", "call")
                while not second.acquire(timeout=0.05):
                    if ended:
                        return
                second.release()

        return run

    def choose(runnable: tuple[int, ...], _: int | None) -> int:
        return next((number for number in runnable if not locks[number].locked()), runnable[0])

    ended: list[Any] = []
    interleaving = Interleaving([task(0), task(1)], choose, patience=0.3)
    interleaving.run()
    ended.append(True)
    assert "made no more progress" in interleaving.hung
    assert interleaving.blocked


def test_a_client_that_polls_lets_the_others_run_in_the_end() -> None:
    flag: list[Any] = []

    def spins(client: Client) -> None:
        while not flag:
            client.pause("looks", "call")

    def sets(client: Client) -> None:
        client.pause("sets", "call")
        flag.append(True)

    interleaving, _ = run_interleaving([spins, sets], chooser(()))
    assert flag
    assert not interleaving.given_up


def test_an_endless_interleaving_is_given_up() -> None:
    def task(client: Client) -> None:
        while True:
            client.pause("again", "call")

    interleaving, _ = run_interleaving([task], chooser(()))
    assert interleaving.given_up
    assert interleaving.hung is None


def test_an_error_in_a_client_is_raised_by_the_interleaving() -> None:
    def task(client: Client) -> None:
        client.pause("begins", "call")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_interleaving([task], chooser(()))


@pytest.mark.parametrize("reads_layer", [False, True])
def test_an_error_between_two_steps_is_raised_by_the_interleaving_and_not_in_a_client(
    reads_layer: bool,
) -> None:
    caught: list[BaseException] = []

    def task(client: Client) -> None:
        client.pause("begins", "call")
        try:
            client.pause("goes on", "call")
        except Exception as error:
            caught.append(error)

    def on_step(_client: Client, what: Any, *, reply: bool) -> None:
        raise KeyError(what)

    with pytest.raises(KeyError, match="begins"):
        Interleaving([task], chooser(()), 60, on_step, reads_layer=reads_layer).run()
    assert caught == []


def test_a_client_is_known_in_its_own_thread_only() -> None:
    known: list[bool] = []

    def task(client: Client) -> None:
        known.append(current_client() is client)
        client.pause("begins", "call")

    run_interleaving([task], chooser(()))
    assert known == [True]
    assert current_client() is None
