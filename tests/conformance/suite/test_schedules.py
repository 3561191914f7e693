"""Interleavings: one at a time, none twice, those with the fewest preemptions first."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from idemproof.conformance.harness import scheduler
from idemproof.conformance.harness.scheduled_client import Client, racing
from idemproof.conformance.harness.scheduler import Interleaving, Step
from idemproof.conformance.harness.schedules import chooser, explore, shortest, taking_turns

SECONDS = 60


@pytest.fixture(autouse=True)
def _slow_is_not_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody be taken for one who waits elsewhere only because the machine is busy."""
    monkeypatch.setattr(scheduler, "OUTSIDE_SECONDS", 30)


Work = Callable[[Client], None]


def trace_of(works: Sequence[Work], choose: Any, patience: float = 60) -> tuple[Interleaving, list[Any]]:
    reported: list[Any] = []
    interleaving = Interleaving(
        works, choose, patience, lambda client, what, *, reply: reported.append((client.number, what))
    )
    interleaving.run()
    return interleaving, reported


def walker(letters: str) -> Work:
    def work(client: Client) -> None:
        for letter in letters:
            client.pause(letter, "call")

    return work


def player(*words: str) -> Callable[[Any], tuple[Sequence[Step], str]]:
    def interleaving(choose: Any) -> tuple[Sequence[Step], str]:
        made, reported = trace_of([walker(word) for word in words], choose)
        return made.steps, "".join(what for _, what in reported)

    return interleaving


def test_without_preemption_each_client_runs_to_its_end() -> None:
    _, reported = trace_of([walker("abc"), walker("xyz")], chooser(()))
    assert "".join(what for _, what in reported) == "abcxyz"


def test_exactly_one_client_runs_at_a_time() -> None:
    running, most = [0], [0]

    def work(client: Client) -> None:
        for _ in range(50):
            client.pause("step", "call")
            running[0] += 1
            most[0] = max(most[0], running[0])
            running[0] -= 1

    trace_of([work, work, work], taking_turns)
    assert most == [1]


@pytest.mark.parametrize("looks", [False, True])
def test_who_goes_on_has_made_the_step_before_in_its_own_thread_unless_somebody_looks(looks: bool) -> None:
    own: dict[str, Any] = {}
    reported: list[tuple[str, Any]] = []

    def work(client: Client) -> None:
        own[client.name] = threading.current_thread()
        for _ in range(3):
            client.pause("step", "call")

    def tell(client: Client, _what: Any, *, reply: bool) -> None:
        reported.append((client.name, threading.current_thread()))

    Interleaving([work, work], taking_turns, 60, tell, looks=looks).run()
    assert len(reported) == 6
    here = threading.current_thread()
    assert {thread is (here if looks else own[who]) for who, thread in reported} == {True}


@pytest.mark.parametrize(
    ("words", "bound"), [(("ab", "xy"), 4), (("abc", "xyz"), 6), (("a", "x", "u"), 3), (("ab", "x", "u"), 4)]
)
def test_with_enough_preemptions_every_interleaving_is_tried_once(words: tuple[str, ...], bound: int) -> None:
    found = Counter(
        played.result for played in explore(player(*words), preemptions=bound, most=10_000, seconds=SECONDS)
    )
    owner = {letter: word for word in words for letter in word}
    letters = "".join(words)
    wanted = {
        "".join(order)
        for order in itertools.permutations(letters)
        if all([letter for letter in order if owner[letter] == word] == list(word) for word in words)
    }
    assert found == dict.fromkeys(wanted, 1)


def test_schedules_come_by_the_number_of_their_preemptions() -> None:
    tried = [
        played.schedule.preemptions
        for played in explore(player("abc", "xyz"), preemptions=2, most=10_000, seconds=SECONDS)
    ]
    assert tried == sorted(tried)
    assert {0, 1, 2} == set(tried)


def test_what_is_tried_within_a_bound_is_the_same_each_time() -> None:
    runs = [
        [
            played.result
            for played in explore(player("abcdef", "uvwxyz"), preemptions=2, most=30, seconds=SECONDS)
        ]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 30
    assert len(set(runs[0])) == 30


def test_no_time_is_no_schedule() -> None:
    assert list(explore(player("ab", "xy"), preemptions=2, most=100, seconds=-1)) == []


def test_a_failing_schedule_is_made_short_and_can_be_played_again() -> None:
    def fails(result: str) -> bool:
        return result.index("x") < result.index("c")

    interleaving = player("abc", "xyz")
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


def test_who_waits_for_something_goes_on_only_when_it_has_come() -> None:
    door: list[Any] = []

    def waits(client: Client) -> None:
        client.pause("comes", "call")
        assert client.wait("waits", lambda: bool(door), forever=True)
        client.pause("enters", "call")

    def opens(client: Client) -> None:
        client.pause("knocks", "call")
        client.pause("opens", "call")
        door.append("open")

    _, reported = trace_of([waits, opens], chooser(()))
    assert [what for _, what in reported] == ["comes", "knocks", "opens", "waits", "enters"]


def test_who_lets_others_go_first_is_reported_when_there_is_nobody() -> None:
    said: list[Any] = []

    def work(client: Client) -> None:
        client.pause("begins", "call")
        said.append(client.wait("is polite"))

    trace_of([work], chooser(()))
    assert said == [False]


def test_those_who_wait_for_each_other_hang_and_are_freed() -> None:
    left: list[Any] = []

    def work(client: Client) -> None:
        client.pause("begins", "call")
        try:
            client.wait("waits", lambda: False, forever=True)
        finally:
            left.append(client.number)

    interleaving, _ = trace_of([work, work], chooser(()))
    assert "each waited for another" in interleaving.hung
    assert not interleaving.blocked
    assert sorted(left) == [0, 1]


def test_who_waits_for_what_no_client_has_is_given_time() -> None:
    door: list[Any] = []
    opened = threading.Timer(0.05, door.append, [True])

    def work(client: Client) -> None:
        client.pause("begins", "call")
        client.wait("waits", lambda: bool(door), forever=True, holder=lambda: "a stranger")

    opened.start()
    interleaving = Interleaving([work, work], chooser(()), patience=30)
    interleaving.run()
    opened.join()
    assert interleaving.hung is None
    assert not interleaving.given_up


def test_who_waits_for_what_a_stranger_never_gives_back_hangs_in_the_end() -> None:
    def work(client: Client) -> None:
        client.pause("begins", "call")
        client.wait("waits", lambda: False, forever=True, holder=lambda: "a stranger")

    interleaving = Interleaving([work], chooser(()), patience=0.05)
    interleaving.run()
    assert interleaving.hung == "client 1 waited for a lock that was never released"
    assert interleaving.blocked


def test_clients_that_have_what_the_others_wait_for_hang_at_once() -> None:
    def work(other: int) -> Work:
        def run(client: Client) -> None:
            client.pause("begins", "call")
            client.wait("waits", lambda: False, forever=True, holder=lambda: interleaving.clients[other])

        return run

    interleaving = Interleaving([work(1), work(0)], chooser(()), patience=600)
    interleaving.run()
    assert "each waited for another" in interleaving.hung


def test_a_lock_outside_of_our_control_stops_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "OUTSIDE_SECONDS", 0.05)
    lock = threading.Lock()

    def work(client: Client) -> None:
        client.pause("begins", "call")
        with lock:
            client.pause("inside", "call")

    interleaving, reported = trace_of([work, work], chooser((0, 1)))
    assert interleaving.hung is None
    assert {client.state for client in interleaving.clients} == {"done"}
    assert sorted(reported) == [(0, "begins"), (0, "inside"), (1, "begins"), (1, "inside")]


def test_who_pauses_just_when_it_would_be_left_alone_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "OUTSIDE_SECONDS", 0.01)
    over, paused = threading.Event(), threading.Event()

    class Late(Interleaving):
        def pauses(self, client: Client) -> None:
            super().pauses(client)
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

    def work(client: Client) -> None:
        client.pause("begins", "call")
        over.wait(SECONDS)
        client.pause("late", "call")

    interleaving = Late([work], chooser(()), patience=5, looks=True)
    usual = interleaving._changed.wait
    monkeypatch.setattr(interleaving._changed, "wait", wait)
    interleaving.run()
    assert over.is_set()
    assert interleaving.hung is None


def test_what_a_client_leaves_behind_neither_waits_nor_brings_it_back() -> None:
    interleaving, _ = trace_of([walker("ab")], chooser(()))
    client = interleaving.clients[0]
    late = threading.Thread(target=client.pause, args=("late", "call"), daemon=True)
    late.start()
    late.join(SECONDS)
    assert not late.is_alive()
    assert client.state == "done"


def test_nothing_is_kept_of_what_a_client_called() -> None:
    def work(client: Client) -> None:
        client.pause("begins", "call")
        client.calling = "a connection"

    interleaving, _ = trace_of([work], chooser(()))
    assert interleaving.clients[0].calling is None


def test_locks_outside_of_our_control_that_deadlock_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "OUTSIDE_SECONDS", 0.05)
    locks = threading.Lock(), threading.Lock()

    def work(number: int) -> Work:
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

    def choose(able: tuple[int, ...], _: int | None) -> int:
        return next((number for number in able if not locks[number].locked()), able[0])

    ended: list[Any] = []
    interleaving = Interleaving([work(0), work(1)], choose, patience=0.3)
    interleaving.run()
    ended.append(True)
    assert "went on no more" in interleaving.hung
    assert interleaving.blocked


def test_who_waits_actively_lets_the_others_go_in_the_end() -> None:
    flag: list[Any] = []

    def spins(client: Client) -> None:
        while not flag:
            client.pause("looks", "call")

    def sets(client: Client) -> None:
        client.pause("sets", "call")
        flag.append(True)

    interleaving, _ = trace_of([spins, sets], chooser(()))
    assert flag
    assert not interleaving.given_up


def test_a_play_without_end_is_given_up() -> None:
    def work(client: Client) -> None:
        while True:
            client.pause("again", "call")

    interleaving, _ = trace_of([work], chooser(()))
    assert interleaving.given_up
    assert interleaving.hung is None


def test_what_fails_in_a_client_fails_the_play() -> None:
    def work(client: Client) -> None:
        client.pause("begins", "call")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trace_of([work], chooser(()))


@pytest.mark.parametrize("looks", [False, True])
def test_what_fails_between_two_steps_fails_the_play_and_not_a_client(looks: bool) -> None:
    caught: list[BaseException] = []

    def work(client: Client) -> None:
        client.pause("begins", "call")
        try:
            client.pause("goes on", "call")
        except Exception as error:
            caught.append(error)

    def tell(_client: Client, what: Any, *, reply: bool) -> None:
        raise KeyError(what)

    with pytest.raises(KeyError, match="begins"):
        Interleaving([work], chooser(()), 60, tell, looks=looks).run()
    assert caught == []


def test_a_client_is_known_in_its_own_thread_only() -> None:
    known: list[bool] = []

    def work(client: Client) -> None:
        known.append(racing() is client)
        client.pause("begins", "call")

    trace_of([work], chooser(()))
    assert known == [True]
    assert racing() is None
