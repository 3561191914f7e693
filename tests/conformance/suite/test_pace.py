"""A run ends in the time that its profile promises, and its report names what was not run.

No test waits: the layers move a clock that the suite reads.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import needs as measured
from idemproof import CompareAndSwapLayer, InMemoryPersistenceLayer, Record
from idemproof.cli.delivery import exit_code
from idemproof.conformance import Capabilities, Profile
from idemproof.conformance.suite.checks import TIERS, Broken, Case, Check
from idemproof.conformance.suite.html import page
from idemproof.conformance.suite.needs import NEEDS, Need
from idemproof.conformance.suite.pace import Asked, Limit, Pace
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.report import CheckResult, Report, Verdict
from idemproof.conformance.suite.run_log import RunLog
from idemproof.conformance.suite.runner import Session, checks, run
from idemproof.conformance.suite.wording import left_out, verdict_line

QUICK = PROFILES["quick"]
# A store that waits by another clock never seems to hang.
PATIENT = QUICK._replace(patience=1e6)
CLAIMS = Capabilities(processes=False, client_methods=("client.load", "client.swap"))
FAST, SLOW, SLOWER = 0.0002, 0.05, 0.3
PENDING = 32
"""How many requests may be pending when the time is over: they move the clock, but are left behind."""


class Clock:
    """A timer that layers move."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Client:
    """A client of a store in memory, whose requests take some seconds by the clock."""

    def __init__(self, clock: Clock, latency: Callable[[], float]) -> None:
        self.store = InMemoryPersistenceLayer()
        self.clock = clock
        self.latency = latency

    def load(self, key: str) -> Record | None:
        self.clock.seconds += self.latency()
        return self.store._load(key)

    def swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        self.clock.seconds += self.latency()
        return self.store._swap(key, expected, new, ttl_ms)


class Slow(CompareAndSwapLayer):
    def __init__(self, client: Client) -> None:
        self.client = client

    def _load(self, key: str) -> Record | None:
        return self.client.load(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return self.client.swap(key, expected, new, ttl_ms)


class Overwrites(Slow):
    """It stores every record that it gets, and confirms it."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return self.client.swap(key, self.client.load(key), new, ttl_ms)


def judged(
    latency: float | Callable[[], float],
    *,
    layer: Callable[[Client], Slow] = Slow,
    profile: Profile = PATIENT,
    tiers: Sequence[str] = TIERS,
    opening: float = 0.0,
    claims: Capabilities = CLAIMS,
) -> tuple[Report, float]:
    """Judge a layer whose requests take ``latency``; return the report, and how long the run took."""
    clock = Clock()
    client = Client(clock, latency if callable(latency) else lambda: latency)

    def factory() -> Slow:
        clock.seconds += opening
        return layer(client)

    wanted = checks(tiers)
    log = RunLog(wanted, "the layer", profile.name, 1)
    run(factory, profile, 1, claims, wanted, log.add, Pace(profile, now=clock))
    return log.report(), clock.seconds - 1000


def counted(report: Report) -> dict[Verdict, int]:
    verdicts = [each.verdict for each in report.checks]
    return {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}


@pytest.mark.once
def test_on_a_fast_store_every_check_runs_in_full() -> None:
    report, _ = judged(FAST)
    assert {"not run", "broken", "not judged"}.isdisjoint(counted(report))
    assert not any(each.shortened for each in report.checks)
    assert report.keeps()
    assert verdict_line(report).startswith("KEPT: ")


@pytest.mark.once
@pytest.mark.parametrize("latency", [0.02, SLOW, SLOWER, 1.0])
def test_a_slow_store_does_not_make_a_run_longer_than_promised(latency: float) -> None:
    report, took = judged(latency)
    assert took <= QUICK.total_seconds + PENDING * latency
    found = counted(report)
    assert found["not run"] > 0
    assert found["kept"] > 0
    assert report.finished
    assert not report.keeps()
    assert verdict_line(report).startswith("NOT ALL RUN: ")


def slows_down(after: int, latency: float = SLOWER) -> Callable[[], float]:
    requests = itertools.count()
    return lambda: latency if next(requests) > after else FAST


@pytest.mark.once
@pytest.mark.parametrize("after", [3, 300, 5000])
def test_a_store_that_slows_down_in_the_middle_does_not_either(after: int) -> None:
    report, took = judged(slows_down(after))
    assert took <= QUICK.total_seconds + PENDING * SLOWER
    assert counted(report)["not run"] > 0


@pytest.mark.once
def test_nor_does_a_store_that_is_slow_now_and_then() -> None:
    requests = itertools.count(1)
    report, took = judged(lambda: 2.0 if next(requests) % 20 == 0 else FAST)
    assert took <= QUICK.total_seconds + 4.0
    assert counted(report)["not run"] > 0


@pytest.mark.once
def test_nor_does_a_store_that_is_slow_for_requests_at_once() -> None:
    workers: set[int] = set()

    def latency() -> float:
        workers.add(threading.get_ident())
        return FAST if len(workers) == 1 else 1.0

    report, took = judged(latency)
    assert took <= QUICK.total_seconds + PENDING * 1.0
    assert counted(report)["not run"] > 0
    assert report.tiers["contract"] == "kept"


@pytest.mark.once
def test_nor_does_a_factory_that_is_slow() -> None:
    report, took = judged(FAST, opening=5.0)
    assert took <= QUICK.total_seconds
    assert counted(report)["kept"] > counted(report).get("not run", 0)


@pytest.mark.once
def test_a_slow_first_request_does_not_make_a_store_slow() -> None:
    first = iter([2.0])
    report, _ = judged(lambda: next(first, FAST))
    assert "not run" not in counted(report)
    assert not any(each.shortened for each in report.checks)


@pytest.mark.once
@pytest.mark.parametrize("latency", [SLOW, SLOWER])
def test_a_slow_store_that_is_broken_is_found_by_the_checks_that_run(latency: float) -> None:
    report, took = judged(latency, layer=Overwrites)
    assert took <= QUICK.total_seconds + PENDING * latency
    assert "CAS-2" in {clause for each in report.findings for clause in each.clauses}
    assert exit_code(report, []) == 1
    assert verdict_line(report).startswith("BROKEN: ")
    assert " not run" in verdict_line(report)


def test_a_tier_alone_gets_all_the_time() -> None:
    together, _ = judged(SLOW)
    alone, took = judged(SLOW, tiers=["fencing"])
    assert {each.verdict for each in together.checks if each.tier == "fencing"} == {"not run"}
    assert alone.tiers == {"fencing": "kept"}
    assert took <= QUICK.total_seconds


def test_a_profile_without_a_promise_runs_everything() -> None:
    endless = PATIENT._replace(total_seconds=float("inf"), tour_seconds=1, race_seconds=1)
    report, took = judged(SLOWER, profile=endless, tiers=["contract"])
    assert set(counted(report)) == {"kept"}
    assert took > QUICK.total_seconds


def test_only_thorough_promises_nothing() -> None:
    assert [each.total_seconds for each in PROFILES.values()] == [60, 300, float("inf")]


# One check at a time.


def asked(run_check: Callable[[Case], None], name: str = "a-check") -> Check:
    return Check(name, "contract", ("CAS-1",), "It asks.", run_check)


def session_of(latency: float | Callable[[], float], wanted: Sequence[Check] = ()) -> tuple[Session, Clock]:
    clock = Clock()
    client = Client(clock, latency if callable(latency) else lambda: latency)
    pace = Pace(PATIENT, now=clock)
    return Session(lambda: Slow(client), PATIENT, 1, CLAIMS, wanted, pace), clock


def test_a_check_that_does_not_end_is_stopped_and_is_not_run() -> None:
    session, clock = session_of(SLOW)

    def never_ends(case: Case) -> None:
        while True:
            case.layer.load("a key")

    stopped = session.judge(asked(never_ends))
    later = session.judge(asked(lambda _: None, "another"))
    session.close()
    assert (stopped.verdict, later.verdict) == ("not run", "not run")
    assert "in the middle" in str(stopped.why_not)
    assert "a request takes 50 ms" in str(later.why_not)
    assert clock.seconds - 1000 < 1000


def test_what_a_stopped_check_has_found_counts() -> None:
    session, _ = session_of(SLOW)

    def finds_and_goes_on(case: Case) -> None:
        case.found("It is broken.")
        while True:
            case.layer.load("a key")

    result = session.judge(asked(finds_and_goes_on))
    session.close()
    assert result.verdict == "broken"


def test_what_a_stopped_check_was_still_shortening_counts() -> None:
    session, _ = session_of(SLOWER)
    walk = next(each for each in checks() if each.name == "a-death-costs-a-lease-only")

    def finds(case: Case) -> None:
        case.suspected = Broken("It is broken.", ["INV-1"])
        while True:
            case.layer.load("a key")

    result = session.judge(walk._replace(run=finds))
    session.close()
    assert [each.clauses for each in result.findings] == [("INV-1",)]


def test_a_check_that_waits_for_something_else_is_left_behind() -> None:
    session, clock = session_of(SLOW)
    end = threading.Event()

    def waits(case: Case) -> None:
        case.layer.load("a key")
        clock.seconds += 70
        end.wait(60)

    left_behind = session.judge(asked(waits))
    later = session.judge(asked(lambda _: None, "another"))
    session.close()
    end.set()
    assert (left_behind.verdict, later.verdict) == ("not run", "not run")
    assert "was over" in str(later.why_not)


def test_time_that_the_store_does_not_take_ends_nothing() -> None:
    """A loaded machine makes no check vanish."""
    session, clock = session_of(FAST)

    def computes(case: Case) -> None:
        case.layer.load("a key")
        clock.seconds += 19

    verdicts = [session.judge(asked(computes, str(number))).verdict for number in range(10)]
    session.close()
    assert verdicts == ["kept"] * 10
    assert clock.seconds - 1000 > 3 * QUICK.total_seconds


def test_time_between_two_checks_does_not_count() -> None:
    session, clock = session_of(SLOW)
    verdicts = []
    for number in range(5):
        verdicts.append(
            session.judge(asked(lambda case: case.layer.load("a key") and None, str(number))).verdict
        )
        clock.seconds += 100
    session.close()
    assert verdicts == ["kept"] * 5


def test_a_store_that_fails_while_it_is_measured_is_judged_as_any_other() -> None:
    def latency() -> float:
        raise OSError("no route to host")

    report, took = judged(latency, tiers=["contract", "exclusion"])
    assert [each.verdict for each in report.checks][:2] == ["broken", "not judged"]
    assert took <= QUICK.total_seconds


def test_a_store_that_fails_for_requests_at_once_is_judged_as_any_other() -> None:
    worker: list[int] = []

    def latency() -> float:
        worker.append(threading.get_ident())
        if worker[-1] != worker[0]:
            raise OSError("too many connections")
        return FAST

    report, _ = judged(latency, tiers=["contract", "exclusion"])
    assert report.tiers["contract"] == "kept"
    assert "not run" not in counted(report)


def test_a_layer_cannot_change_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    pace, limit = Pace(QUICK), Limit(until=1e-9)
    assert pace.now() > 0
    assert limit.over


# The plan.


def known(*names: str) -> list[Asked]:
    tier_of = {each.name: each.tier for each in checks()}
    return [Asked(name, tier_of.get(name, "contract")) for name in names]


def slow_pace(latency: float, seconds: float) -> Pace:
    pace = Pace(QUICK._replace(total_seconds=seconds), now=Clock())
    for _ in range(50):
        pace.note(latency)
    return pace


def test_the_least_valuable_checks_are_left_out_first() -> None:
    everything = known(*NEEDS)
    kept = [
        each.name
        for each in everything
        if slow_pace(SLOW, 30).share(each, [other for other in everything if other != each]).why_not is None
    ]
    assert 0 < len(kept) < len(NEEDS)
    # A cheap check may still fit where a more valuable one does not.
    dropped = [name for name in NEEDS if name not in kept]
    for name in dropped:
        ranks = list(NEEDS)
        later = [each for each in kept if ranks.index(each) > ranks.index(name)]
        assert all(NEEDS[each].least <= NEEDS[name].least for each in later)


def test_what_is_planned_fits_into_the_time() -> None:
    everything = known(*NEEDS)
    shares = [
        slow_pace(SLOW, 30).share(each, [other for other in everything if other != each])
        for each in everything
    ]
    assert sum(each.seconds or 0.0 for each in shares) <= 30


def test_a_plan_that_fits_shortens_nothing() -> None:
    (one,) = known("a-claim-comes-back-as-it-was-put")
    assert slow_pace(SLOW, 60).share(one, []) == (None, None)


def test_races_that_wait_for_each_other_make_a_store_slow() -> None:
    everything = known(*NEEDS)
    pace = Pace(QUICK, now=Clock())
    race, others = everything[0], everything[1:]
    pace.note_races(0.3, schedules=14)
    pace.note_at_once(FAST)
    assert pace.share(race, others) == (None, None)
    pace.note_races(6.0, schedules=14)
    pace.note_at_once(FAST)  # reads alone do not wait
    assert pace.share(race, others).seconds is not None


@pytest.mark.nightly
def test_the_needs_are_those_of_the_checks() -> None:
    assert set(NEEDS) == {each.name for each in checks()}, "run: python tools/regenerate.py needs"
    found = measured.needs()
    # A check that sends none here is not offered here: its need is measured by hand.
    assert all(need.least for need in found.values())
    for name, need in found.items():
        of_threads = need.at_once or name == "many-requests-at-once-are-all-answered"
        for counted_now, planned in zip(need[:3], NEEDS[name][:3], strict=True):
            tolerance = 0.5 if of_threads else 0.1
            assert abs(counted_now - planned) <= 10 + tolerance * planned, name


# What the report says.


def result(name: str, verdict: Verdict, *, shortened: bool = False, tier: str = "contract") -> CheckResult:
    why = None if verdict == "kept" else "a request takes 50 ms"
    return CheckResult(name, tier, ("CAS-1", "CAS-2"), "It asks.", verdict, why, (), 1, 0, 0.1, shortened)


def report_of(*results: CheckResult) -> Report:
    return Report("Layer", "quick", 5, "1.0", results)


PARTLY = report_of(
    result("ran", "kept"), result("left-out", "not run"), result("fencing", "kept", tier="fencing")
)


def test_a_check_that_was_not_run_is_not_kept() -> None:
    assert PARTLY.tiers == {"contract": "not run", "fencing": "kept"}
    assert PARTLY.clauses == {"CAS-1": "not run", "CAS-2": "not run"}
    assert not PARTLY.keeps()
    assert not PARTLY.keeps("contract")
    assert PARTLY.keeps("fencing")


def test_the_verdict_claims_no_more_than_was_run() -> None:
    assert verdict_line(PARTLY) == (
        "NOT ALL RUN: 0 clauses kept, none broken. Of 3 checks, 1 not run, because the store is slow."
    )
    shortened = report_of(result("ran", "kept", shortened=True))
    assert verdict_line(shortened) == (
        "KEPT: 2 clauses; nothing that this layer offers is broken. Of 1 checks, 1 shortened, because the "
        "store is slow."
    )
    assert verdict_line(PARTLY, ["contract"]).endswith("Required, but: contract is not run.")


def test_each_form_of_the_report_names_it_with_the_reason() -> None:
    (entry,) = left_out(PARTLY)
    assert (entry.verdict, entry.why, entry.names) == ("not run", "a request takes 50 ms", ("left-out",))
    assert '"verdict": "not run"' in PARTLY.as_json()
    shown = page(PARTLY)
    assert "left-out" in shown
    assert "a request takes 50 ms" in shown
    assert "The profile thorough" in shown


@pytest.mark.parametrize(
    ("report", "required", "code"),
    [
        (PARTLY, [], 0),
        (PARTLY, ["fencing"], 0),
        (PARTLY, ["contract"], 3),
        (report_of(result("a", "not run"), result("b", "not run")), [], 3),
        (report_of(result("a", "kept"), result("b", "not run"), result("c", "not judged")), [], 3),
        (report_of(result("a", "broken"), result("b", "not run")), [], 1),
    ],
)
def test_the_exit_code_is_0_if_only_time_was_missing(report: Report, required: list[str], code: int) -> None:
    assert exit_code(report, required) == code


def test_a_shortened_check_tries_some_examples_and_says_so() -> None:
    clock = Clock()
    tried: list[int] = []

    def case(limit: Limit | None) -> Case:
        layer: Any = None
        return Case([layer], layer, CLAIMS, QUICK, 1, ("CAS-1",), allotted=limit, is_shortened=bool(limit))

    short = case(Limit(until=clock() - 1, now=clock))
    tried += short.some(range(100), least=3)
    assert len(tried) == 3
    assert short.cut_short
    usual = case(None)
    assert list(usual.some(range(100), least=3)) == list(range(100))
    assert not usual.cut_short


def test_needs_have_an_order() -> None:
    assert all(need.least <= need.fixed <= need.full for need in NEEDS.values())
    assert isinstance(next(iter(NEEDS.values())), Need)
