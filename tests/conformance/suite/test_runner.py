"""Sessions: how a check runs, and its result."""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broken_layers.exhibits import CORRECT
from idemproof import (
    CompareAndSwapLayer,
    DataRecord,
    InMemoryPersistenceLayer,
    Record,
    SQLitePersistenceLayer,
)
from idemproof.conformance import Capabilities, Profile, check
from idemproof.conformance.suite.checks import TIERS, Broken, Case, Check, NotJudged, NotOffered
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.report import CheckResult, Report
from idemproof.conformance.suite.runner import Session, checks
from idemproof.spec.record import INPROGRESS, same_record, same_version

TINY = Profile("tiny", 2, 5, 5, 1, 0.2, 0.2, 1, 60)


class Shared(CompareAndSwapLayer):
    """Layers over one shared dictionary."""

    rows: dict[str, Record]

    def _load(self, key: str) -> Record | None:
        return self.rows.get(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        current = self.rows.get(key)
        if new is not None and same_record(current, new):
            return current
        if same_version(current, expected):
            if new is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = new
        return self.rows.get(key)


@pytest.fixture
def shared() -> Callable[[], Shared]:
    rows: dict[str, Record] = {}

    def factory() -> Shared:
        layer = Shared()
        layer.rows = rows
        return layer

    return factory


@pytest.fixture
def session() -> Iterator[Session]:
    opened = Session(InMemoryPersistenceLayer, TINY, 5)
    yield opened
    opened.close()


def asked(run: Callable[[Case], None], name: str = "a-check", **options: Any) -> Check:
    return Check(name, "contract", ("CAS-1",), "It asks.", run, **options)


def judged(session: Session, run: Callable[[Case], None], **options: Any) -> CheckResult:
    return session.judge(asked(run, **options))


def test_a_check_without_findings_is_kept_with_its_counts(session: Session) -> None:
    def run(case: Case) -> None:
        case.trace(case.new_key())
        case.schedules += 3

    result = judged(session, run)
    assert (result.verdict, result.findings, result.histories, result.schedules) == ("kept", (), 1, 3)


def test_findings_break_a_check_whether_it_goes_on_or_ends(session: Session) -> None:
    def run(case: Case) -> None:
        trace = case.trace(case.new_key())
        trace.log("client 1", "looks")
        case.found("first", trace, ["INV-1"])
        case.fail("second", trace)

    result = judged(session, run, seen_in="Software 1.0")
    assert result.verdict == "broken"
    assert [(each.why, each.clauses, each.seen_in) for each in result.findings] == [
        ("first", ("INV-1",), "Software 1.0"),
        ("second", ("CAS-1",), "Software 1.0"),
    ]


def test_a_check_may_report_that_it_is_not_offered_with_the_reason(session: Session) -> None:
    def run(_: Case) -> None:
        raise NotOffered("its client is unknown")

    result = judged(session, run)
    assert (result.verdict, result.why_not) == ("not offered", "its client is unknown")


def test_a_check_that_could_not_run_is_not_judged(session: Session) -> None:
    def run(_: Case) -> None:
        raise NotJudged("another process failed")

    result = judged(session, run)
    assert (result.verdict, result.why_not) == ("not judged", "another process failed")
    made = Report("Layer", "tiny", 5, "1.0", (result,))
    assert not made.keeps()
    assert not made.keeps("contract")


def test_findings_before_a_check_ends_early_are_reported(session: Session) -> None:
    def run(case: Case) -> None:
        case.found("It broke.")
        raise NotJudged("another process failed")

    result = judged(session, run)
    assert (result.verdict, result.why_not) == ("broken", None)


def test_an_error_in_a_check_is_not_a_finding(session: Session) -> None:
    def run(_: Case) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        judged(session, run)


@pytest.mark.parametrize(
    ("need", "claimed", "why"),
    [
        ("swaps", {}, None),
        ("shared", {}, "a second layer from the factory does not see the first one's records"),
        ("durable", {}, "it is not claimed (durable)"),
        ("threads", {"threads": False}, "it is not claimed (threads)"),
        ("threads", {}, None),
        ("processes", {}, None),
        ("processes", {"processes": False}, "it is not claimed (processes)"),
        ("fenced", {}, None),
        ("fenced", {"fenced": False}, "it is not claimed (fenced)"),
    ],
)
def test_a_check_runs_only_if_the_layer_claims_what_it_needs(
    need: str, claimed: dict[str, bool], why: str | None
) -> None:
    opened = Session(InMemoryPersistenceLayer, TINY, 5, Capabilities(**claimed))  # type: ignore[arg-type]
    ran: list[Case] = []
    result = judged(opened, ran.append, needs=(need,))
    opened.close()
    assert result.why_not == why
    assert result.verdict == ("kept" if why is None else "not offered")
    assert bool(ran) is (why is None)


def test_sharing_that_is_claimed_and_not_there_is_broken() -> None:
    tiers = ["concurrency"]
    claimed = check(
        InMemoryPersistenceLayer, profile=TINY, tiers=tiers, capabilities=Capabilities(processes=True)
    )
    [finding] = claimed.findings
    assert finding.why == (
        "The layer claims that other processes see its records (processes), but a second layer from the "
        "factory does not see the records of the first one."
    )
    assert finding.clauses == ("CAS-1", "CAS-4")
    assert not claimed.keeps()
    assert check(InMemoryPersistenceLayer, profile=TINY, tiers=tiers).keeps()


_ROWS: dict[str, Record] = {}
_SHARED = InMemoryPersistenceLayer()


def in_this_process_only() -> Shared:
    layer = Shared()
    layer.rows = _ROWS
    return layer


def one_object() -> InMemoryPersistenceLayer:
    return _SHARED


@pytest.mark.parametrize("factory", [in_this_process_only, one_object])
def test_sharing_that_is_claimed_and_ends_at_the_process_is_broken(factory: Any) -> None:
    claims = Capabilities(processes=True, threads=False)
    report = check(factory, profile=TINY, tiers=["concurrency"], capabilities=claims)
    [finding] = report.findings
    assert "in another process does not see the records of this process." in finding.why
    without = check(factory, profile=TINY, tiers=["concurrency"], capabilities=Capabilities(threads=False))
    assert not without.findings


def test_sharing_that_is_claimed_and_cannot_be_tested_is_not_judged(shared: Any) -> None:
    claims = Capabilities(processes=True, threads=False)
    report = check(shared, profile=TINY, tiers=["concurrency"], capabilities=claims)
    assert report.tiers == {"concurrency": "not judged"}


def test_sharing_that_is_claimed_is_tested(tmp_path: Path) -> None:
    factory = functools.partial(SQLitePersistenceLayer, str(tmp_path / "records"))
    claims = Capabilities(processes=True)
    report = check(factory, profile=TINY, tiers=["concurrency"], capabilities=claims)
    [shared] = [each for each in report.checks if each.name == "many-processes-may-share-a-store"]
    assert shared.verdict == "kept"


def test_four_methods_are_tested_for_fencing_if_they_claim_it() -> None:
    factory = CORRECT["by-four-methods"].make()
    assumed = check(factory, profile=TINY, tiers=["fencing"])
    assert assumed.tiers == {"fencing": "not offered"}
    assert {each.why_not for each in assumed.checks} == {
        "the four documented methods name no owner that a store could compare"
    }
    assert check(factory, profile="quick", tiers=["contract", "exclusion", "faults"]).keeps()
    # However slow the machine is, it searches until it finds something.
    unhurried = TINY._replace(tour_seconds=600)
    claimed = check(factory, profile=unhurried, tiers=["fencing"], capabilities=Capabilities(fenced=True))
    assert claimed.tiers == {"fencing": "broken"}


class ComparesDataRecords(Shared):
    """Its records are of the public class, whose status follows the clock."""

    def _load(self, key: str) -> Any:
        found = self.rows.get(key)
        return None if found is None else DataRecord.of(found)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Any:
        if same_version(self._load(key), expected):
            if new is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = new
        return self._load(key)


def test_a_layer_may_return_and_compare_data_records() -> None:
    rows: dict[str, Record] = {}

    def factory() -> Shared:
        layer = ComparesDataRecords()
        layer.rows = rows
        return layer

    report = check(factory, profile=TINY, tiers=TIERS[:5], capabilities=Capabilities(threads=False))
    assert not report.findings


class TakesEmptyOwnersLiterally(Shared):
    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        current = self.rows.get(key)
        if current is not None and expected is not None and current.owner != expected.owner:
            return current
        return super()._swap(key, expected, new, ttl_ms)


def test_an_empty_owner_that_no_request_contains_is_a_note() -> None:
    layer = TakesEmptyOwnersLiterally()
    layer.rows = {}
    report = check(lambda: layer, profile=TINY, tiers=["contract"])
    assert report.keeps("contract")
    assert "An owner of empty text is not the same as no owner for this layer (REC-4)." in report.notes[0]


def test_layers_that_see_each_other_are_two_workers_and_can_be_reopened(shared: Any) -> None:
    opened = Session(shared, TINY, 5)
    assert "two objects over one store" in opened.subject
    seen: list[Any] = []

    def run(case: Case) -> None:
        key = case.new_key()
        claim = Record(key, INPROGRESS, case.now // 1000 + 60, case.now + 60_000, owner="alice")
        case.workers[0].swap(key, None, claim, 60_000)
        assert case.restarted is not None
        seen.extend([case.workers[1].load(key), case.restarted().load(key)])

    assert judged(opened, run).verdict == "kept"
    opened.close()
    assert [each.owner for each in seen] == ["alice", "alice"]


def test_the_clock_is_moved_only_while_a_check_runs(session: Session) -> None:
    times: list[float] = []

    def run(case: Case) -> None:
        times.append(time.time())
        case.pass_time(60_000)

    before = time.time()
    judged(session, run)
    judged(session, run)
    assert times[0] > before + 3e6
    assert times[1] == times[0] + 60
    assert before <= time.time() < before + 3e6


def test_a_fixed_clock_is_not_moved() -> None:
    opened = Session(InMemoryPersistenceLayer, TINY, 5, Capabilities(movable_clock=False))
    times: list[float] = []
    judged(opened, lambda _: times.append(time.time()))
    opened.close()
    assert times[0] < time.time() + 1


def test_the_same_seed_gives_a_check_the_same_examples_whichever_checks_run() -> None:
    drawn: dict[str, list[int]] = {"one": [], "other": []}

    def draws(name: str) -> Check:
        return asked(lambda case: drawn[name].append(case.random.getrandbits(64)), name)

    for names in (["one", "other"], ["other"], ["other", "one"]):
        opened = Session(InMemoryPersistenceLayer, TINY, 5)
        for name in names:
            opened.judge(draws(name))
        opened.close()
    assert len(set(drawn["one"])) == len(set(drawn["other"])) == 1
    assert drawn["one"][0] != drawn["other"][0]


def test_the_same_seed_uses_other_keys_so_that_a_store_may_be_judged_twice(shared: Any) -> None:
    keys: list[str] = []
    for _ in range(2):
        opened = Session(shared, TINY, 5)
        judged(opened, lambda case: keys.append(case.new_key()))
        opened.close()
    assert len(set(keys)) == 2
    for _ in range(2):
        report = check(shared, profile=TINY, seed=5, tiers=["contract"])
        assert report.keeps("contract"), [finding.why for finding in report.findings]


def test_warnings_of_the_engine_do_not_reach_the_terminal(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(session, lambda _: logging.getLogger("idemproof").warning("superseded"))
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
    assert logging.getLogger("idemproof").propagate


def test_a_request_that_the_layer_refuses_is_a_finding_of_the_check_that_sent_it(session: Session) -> None:
    def run(case: Case) -> None:
        case.layer.load(b"no text")  # type: ignore[arg-type]
        raise Broken("It took a key of bytes.", case.clauses)

    assert judged(session, run).verdict == "broken"


def test_checks_are_in_the_order_of_the_tiers_and_have_unique_names() -> None:
    every = checks()
    # What closes layers runs last: it may close a client that other layers share.
    *others, last = every
    assert "closes" in last.needs
    assert [TIERS.index(each.tier) for each in others] == sorted(TIERS.index(each.tier) for each in others)
    assert len({each.name for each in every}) == len(every)
    assert [each.name for each in checks(["contract"])] == [
        each.name for each in every if each.tier == "contract"
    ]


def test_check_reports_its_arguments_and_its_progress() -> None:
    reported: list[tuple[str, int, int]] = []
    report = check(
        InMemoryPersistenceLayer,
        profile=TINY,
        tiers=["contract"],
        progress=lambda each, number, count: reported.append((each.name, number, count)),
    )
    assert report.profile == "tiny"
    assert 0 <= report.seed < 2**32
    names = [each.name for each in checks(["contract"])]
    assert reported == [(name, number, len(names)) for number, name in enumerate(names)]
    assert [each.name for each in report.checks] == names


def test_profiles_are_known_by_their_names() -> None:
    assert {name: profile.name for name, profile in PROFILES.items()} == {name: name for name in PROFILES}
