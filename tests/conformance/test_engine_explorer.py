"""The search of the engine: what it counts, what it finds if something is wrong, and equal states."""

import random
from collections import defaultdict
from typing import Any

import pytest

from failing_requests import noting_failures
from idemproof.backends.logs import logger
from idemproof.conformance.search.choices import Choice
from idemproof.conformance.search.engine_explorer import Interleaving, search_engine
from idemproof.conformance.search.states import Keys, SearchState
from idemproof.conformance.search.steps import Steps
from idemproof.conformance.simulator import World
from idemproof.drivers.interrupts import Interrupts
from idemproof.reference.answers import Answers
from idemproof.reference.attempt import Attempt
from idemproof.reference.cache import LocalCache
from idemproof.reference.changes import GivenUp, Renewing
from idemproof.reference.engine import Engine
from idemproof.reference.observers import Report
from idemproof.reference.renewal import Renewal
from idemproof.spec.commands import Swap
from idemproof.spec.events import Claim, Completed, Outcome, Renew, Replay
from idemproof.spec.happenings import Began, Ended
from idemproof.spec.record import INPROGRESS, RESULT_UNAVAILABLE, Record, deadline_ms

pytestmark = pytest.mark.once

# What a search reports.


def test_the_result_names_the_bounds_that_kept_something_from_happening() -> None:
    assert search_engine(1, 0, 0, calls=1, ticks=0).bounds == (
        "complete within: 0 faults, 0 crashes, 1 calls, 0 ticks"
    )


def test_a_search_that_stops_says_so() -> None:
    result = search_engine(budget_states=50, crashes=0, calls=1, ticks=1)
    assert (result.complete, result.bounds) == (False, f"stopped at {result.states} states")
    assert 50 <= result.states < 60


def test_a_search_tells_how_far_it_is_and_leaves_the_log_as_it_was() -> None:
    seen: list[tuple[int, int]] = []
    search_engine(budget_states=1000, progress=lambda states, waiting: seen.append((states, waiting)))
    assert [states for states, _ in seen] == [1000]
    assert all(0 < waiting < states for states, waiting in seen)
    assert not logger.disabled


# What it finds if the engine or its layer is wrong.


class ReleasesAfterReturning(Engine):
    """The key is given back once the body has returned (ENG-5)."""

    def _complete(self, attempt: Attempt, text: str) -> Any:
        yield from self._release(attempt, ValueError())
        return (yield from super()._complete(attempt, text))


class ProlongsItsResult(Engine):
    """A completion is retried with a new expiry (ENG-6)."""

    def _complete(self, attempt: Attempt, text: str) -> Any:
        def forget() -> None:
            attempt.expiry = None

        return noting_failures(super()._complete(attempt, text), forget)


class AnswersItsOwnResult(Engine):
    """An attempt that is superseded answers with its own result (ENG-8)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answers = OwnAnswers(None, None, None)


class OwnAnswers(Answers):
    def instead_of(self, result: Any, record: Record) -> Any:
        return result


class TakesALostReplyForSuccess(Engine):
    """A completion that failed counts as stored (ENG-7)."""

    def _complete(self, attempt: Attempt, text: str) -> Any:
        steps = super()._complete(attempt, text)
        command = steps.send(None)
        try:
            answer = yield command
        except Exception:
            return Completed(command.new)
        while True:
            try:
                command = steps.send(answer)
            except StopIteration as done:
                return done.value
            answer = yield command


class GivesUpWithoutAMark(Engine):
    """What the store does not take is not marked as done (ENG-10)."""

    def _mark(self, attempt: Attempt, text: str, given_up: GivenUp) -> Any:
        return (yield from super()._mark(attempt, RESULT_UNAVAILABLE, given_up))


class TakesInterruptsForFailures(Engine):
    """An interrupt is retried as a failure of the store is (ENG-15)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._claiming._interrupts = NoInterrupts()


class NoInterrupts(Interrupts):
    def behind(self, error: BaseException) -> BaseException | None:
        return None


class RenewsWhatAnotherHolds(Engine):
    """A renewal takes any claim for its own (REN-1)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._renewing = TakesAnyClaim(self._config)


class TakesAnyClaim(Renewing):
    def acting(self, subject: Renewal, current: Record | None) -> Record | None:  # type: ignore[override]
        claimed = current is not None and current.status == INPROGRESS
        return current._replace(owner=subject.attempt.owner) if current and claimed else current


class RenewsForEver(Engine):
    """A lease is renewed beyond the longest run (REN-2)."""

    def renewal_of(self, attempt: Attempt) -> Renewal:
        renewal = super().renewal_of(attempt)
        renewal.until += 60_000
        return renewal


class CompletesUnderRenewal(Engine):
    """Renewal goes on while the attempt completes or releases (REN-3)."""

    def _end_renewal(self, attempt: Attempt) -> Any:
        yield from ()


class RenewsAfterTheEnd(Engine):
    """A renewal that met another record proposes again, though it was stopped (REN-4)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._renewing = IgnoresTheEnd(self._config)


class IgnoresTheEnd(Renewing):
    def event(self, subject: Any, now: int) -> Renew:
        return Renew(subject.attempt.owner, min(now + self._lease_ms, self.ends_at_most(subject, now)))


class TakesAFailureForALoss(Engine):
    """A renewal that fails counts as a lost claim (REN-5)."""

    def _try(self, renewal: Renewal, report: Report | None) -> Any:
        outcome, failure = yield from super()._try(renewal, report)
        renewal.lost = renewal.lost or failure is not None
        return outcome, failure


class TrustsItsCache(Engine):
    """What is cached is answered, though it is over (ENG-13)."""

    def _from_cache(
        self, cache: LocalCache, key: str, payload_hash: str | None, report: Report | None
    ) -> Outcome | None:
        record = cache.get(key)
        if record is not None and report is not None:
            report.decide(record, Claim(None, None, 0, payload_hash, key), 0)
        return None if record is None else Replay(record)


class OneTokenForAll(World):
    """Owner tokens are used again (ENG-1)."""

    def next_owner(self) -> str:
        return "owner"


class SwapsBlindly(World):
    """What stands is replaced, whatever was expected (CAS-2)."""

    def swap(self, command: Swap) -> Record | None:
        return super().swap(command._replace(expected=self.record))


class ComparesTheStatusAlone(World):
    """What stands is replaced if it has the status that was expected (CAS-2)."""

    def swap(self, command: Swap) -> Record | None:
        current, expected = self.record, command.expected
        if current is not None and expected is not None and current.status == expected.status:
            expected = current
        return super().swap(command._replace(expected=expected))


class LosesTheAnswer(World):
    """A refused swap is answered as if it had succeeded (CAS-3)."""

    def swap(self, command: Swap) -> Record | None:
        super().swap(command)
        return command.new


@pytest.mark.parametrize(
    ("wrong", "bounds", "clause", "length"),
    [
        (ReleasesAfterReturning, {"faults": 0, "crashes": 0}, "INV-5", 6),
        (ProlongsItsResult, {"clients": 1, "crashes": 0}, "ENG-6", 6),
        (AnswersItsOwnResult, {"faults": 0, "crashes": 0}, "INV-4", 11),
        (TakesALostReplyForSuccess, {"clients": 1, "crashes": 0}, "ENG-7", 4),
        (GivesUpWithoutAMark, {"clients": 1, "faults": 0, "crashes": 0, "outages": 1}, "ENG-10", 10),
        (TakesInterruptsForFailures, {"clients": 1, "faults": 0, "crashes": 0, "interrupts": 1}, "ENG-15", 4),
        (RenewsWhatAnotherHolds, {"faults": 0, "crashes": 0, "renews": True}, "INV-3", 10),
        (RenewsForEver, {"clients": 1, "faults": 0, "crashes": 0, "renews": True}, "REN-2", 5),
        (CompletesUnderRenewal, {"clients": 1, "faults": 0, "crashes": 0, "renews": True}, "REN-3", 3),
        (RenewsAfterTheEnd, {"clients": 1, "crashes": 0, "renews": True}, "REN-4", 9),
        (TakesAFailureForALoss, {"clients": 1, "crashes": 0, "renews": True}, "REN-5", 4),
        (TrustsItsCache, {"clients": 1, "faults": 0, "crashes": 0, "cached": True}, "ENG-7", 9),
        (OneTokenForAll, {"faults": 0, "crashes": 0}, "INV-1", 4),
        (SwapsBlindly, {"faults": 0, "crashes": 0}, "INV-3", 4),
        (ComparesTheStatusAlone, {"faults": 0, "crashes": 0}, "INV-3", 8),
        (LosesTheAnswer, {"faults": 0, "crashes": 0}, "INV-1", 4),
    ],
)
@pytest.mark.clause("REN-1", "REN-2", "REN-3", "REN-4", "REN-5")
def test_a_wrong_engine_or_layer_is_found(
    wrong: type[Engine] | type[World], bounds: dict[str, Any], clause: str, length: int
) -> None:
    searched = {"engine": wrong} if issubclass(wrong, Engine) else {"world": wrong}
    found = search_engine(**bounds, **searched).counterexample
    assert found is not None
    assert clause in [name.split()[0] for name in found.broken]
    assert len(found.timeline) == len(found.path) == length


@pytest.mark.parametrize(
    ("places", "instead", "bounds", "clause", "length"),
    [
        # The reply that grants a lease may come after it (ENG-3).
        (
            ("idemproof.spec.settle.live", "idemproof.reference.engine.live"),
            lambda record, now: True,
            {"clients": 1, "faults": 1, "crashes": 0},
            "ENG-3",
            4,
        ),
        # A store that fails is asked again and again (INV-8).
        (
            ("idemproof.reference.changes.Claiming.tries",),
            1000,
            {"clients": 1, "faults": 0, "crashes": 0},
            "INV-8",
            1,
        ),
        # A claim is taken over a second before its deadline (TIME-2).
        (
            ("idemproof.spec.transition.claimable",),
            lambda record, now: record is None or now + 1000 >= deadline_ms(record),
            {"faults": 0, "crashes": 0},
            "INV-3",
            6,
        ),
        # A claim is not over at its deadline (TIME-2).
        (
            ("idemproof.spec.transition.claimable",),
            lambda record, now: record is None or now > deadline_ms(record),
            {"clients": 1, "faults": 0, "crashes": 0},
            "INV-9",
            2,
        ),
    ],
)
def test_a_wrong_rule_is_found(
    places: tuple[str, ...],
    instead: Any,
    bounds: dict[str, Any],
    clause: str,
    length: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place in places:
        monkeypatch.setattr(place, instead)
    found = search_engine(**bounds).counterexample
    assert found is not None
    assert clause in [name.split()[0] for name in found.broken]
    assert len(found.timeline) == length


def test_a_counterexample_tells_who_did_what_and_what_stood_then() -> None:
    found = search_engine(1, 1, 0, engine=TakesALostReplyForSuccess).counterexample
    assert found is not None
    assert [(line.after_ms, line.who, line.what) for line in found.timeline] == [
        (0, "client 1", "calls with payload a"),
        (0, "client 1", "answered: a claim"),
        (0, "client 1", "returns"),
        (0, "client 1", "refused: a completion, and the call returned: 'result 1'"),
    ]
    assert [line.current and line.current.owner for line in found.timeline] == [
        None,
        "owner-1",
        "owner-1",
        "owner-1",
    ]


# When two states are the same.


def wandering(
    seed: int, steps: Steps, length: int
) -> list[tuple[SearchState, Choice, SearchState, list[str]]]:
    """A walk through the states, drawn from a seed."""
    draw = random.Random(seed)
    state, walked = steps.first(2, 2, 1), []
    for _ in range(length):
        choice = draw.choice(list(steps.choices(state, set())))
        after, broken = steps.take(state, choice)
        walked.append((state, choice, after, broken))
        state = after
    return walked


OPTIONS: list[dict[str, bool]] = [{}, {"cached": True}, {"renews": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_states_with_the_same_key_have_the_same_futures(options: dict[str, bool]) -> None:
    keys = Keys()
    steps = Steps(keys, **options)
    alike: defaultdict[Any, list[SearchState]] = defaultdict(list)
    for seed in range(40):
        for _, _, state, _ in wandering(seed, steps, 40):
            same = alike[keys.of(state)]
            if len(same) < 3 and all(state != other for other in same):
                same.append(state)
    compared = 0
    for first, *others in alike.values():
        for other in others:
            assert futures(steps, keys, first) == futures(steps, keys, other)
            compared += 1
    assert compared > 100


def futures(steps: Steps, keys: Keys, state: SearchState) -> set[Any]:
    """What can happen next, what rules that breaks, and the key of what follows."""
    found = set()
    for choice in steps.choices(state, set()):
        after, broken = steps.take(state, choice)
        found.add((choice.what, tuple(broken), keys.of(after)))
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_going_back_to_a_state_is_as_having_stayed(options: dict[str, bool]) -> None:
    for seed in range(40):
        interleaving = Interleaving(2, **options)
        for _, choice, state, broken in wandering(seed, Steps(Keys(), **options), 40):
            assert interleaving.take(choice) == broken == []
            assert (interleaving.world.now, interleaving.world.record) == (state.now, state.record)
            assert interleaving.world.delayed == list(state.delayed)


def test_a_local_of_an_unknown_kind_is_not_left_out_silently() -> None:
    class Counts(Engine):
        def _claim(self, attempt: Attempt) -> Any:
            seen = {1.5}
            refusal = yield from super()._claim(attempt)
            seen.add(2.5)
            return refusal

    with pytest.raises(TypeError, match=r"^no rule compares values of type set"):
        search_engine(engine=Counts, budget_states=100)


def test_what_the_invariants_remember_is_part_of_the_state() -> None:
    keys = Keys()
    state = Steps(keys).first(2, 1, 1)
    began = Began("owner-1", state.now, state.now + 2000)
    crashed = Ended("owner-1", state.now, "crashed")
    histories = ((), (began,), (began, crashed), (began._replace(until=state.now + 1000), crashed))
    assert len({keys.of(state._replace(history=history)) for history in histories}) == 4
    for over in ((began._replace(until=state.now),), (began, Ended("owner-1", state.now, "raised"))):
        assert keys.of(state._replace(history=over)) == keys.of(state)
