"""The judge finds each fault with its consequence, and accuses no correct service."""

import pytest

from broken_services import SERVICES
from broken_services.judging import NODE_FAULTS, judged, judged_in_node
from broken_services.ours import WINDOW_SECONDS, ours
from broken_services.serving import in_thread, target_for
from idemproof.conformance.http.runner import check_http
from idemproof.conformance.suite.kinds import HTTP_TIERS
from idemproof.conformance.suite.report import Report
from idemproof.http import PROFILES

pytestmark = pytest.mark.once

BROKEN = [name for name, kind in SERVICES.items() if kind.consequence is not None]
CORRECT = [name for name, kind in SERVICES.items() if kind.consequence is None]
SEED = 7
SEEDS = range(20)

OF_CI = (
    "no-scope",
    "two-forms",
    "no-payload-hash",
    "repeats-cookies",
    "locked-after-a-cut",
    "refuses-after-errors",
)
"""The broken services that CI judges, of each kind one. The nightly run judges all of them."""


def assert_found(name: str, seed: int) -> None:
    kind = SERVICES[name]
    assert kind.tier is not None
    assert kind.consequence is not None
    report = judged(kind, seed, (kind.tier,))
    assert kind.consequence in {each.consequence for each in report.findings}, report.as_json()
    assert all(each.commands and each.lines for each in report.findings)


def assert_not_accused(report: Report) -> None:
    assert [(each.check, each.why) for each in report.findings] == []
    undecided = ("not judged", "not run")
    assert [(each.name, each.why_not) for each in report.checks if each.verdict in undecided] == []


@pytest.mark.parametrize("name", OF_CI)
def test_a_fault_is_found_with_its_consequence(name: str) -> None:
    assert_found(name, SEED)


@pytest.mark.nightly
@pytest.mark.parametrize("name", BROKEN)
def test_every_fault_is_found_with_every_seed(name: str) -> None:
    for seed in SEEDS:
        assert_found(name, seed)


def test_a_correct_service_is_not_accused() -> None:
    report = judged(SERVICES["refuses"], SEED, ("keys", "repeats", "races"))
    assert_not_accused(report)
    assert set(report.tiers.values()) == {"kept"}


@pytest.mark.nightly
@pytest.mark.parametrize("name", CORRECT)
def test_no_correct_service_is_accused_with_any_seed(name: str) -> None:
    for seed in SEEDS:
        assert_not_accused(judged(SERVICES[name], seed))


def test_the_race_of_a_service_in_node_is_found() -> None:
    fault, (consequence, tier) = next(iter(NODE_FAULTS.items()))
    assert consequence in {each.consequence for each in judged_in_node(fault, SEED, (tier,)).findings}


@pytest.mark.nightly
@pytest.mark.parametrize("fault", NODE_FAULTS)
def test_every_fault_in_node_is_found(fault: str) -> None:
    consequence, tier = NODE_FAULTS[fault]
    for seed in SEEDS:
        assert consequence in {each.consequence for each in judged_in_node(fault, seed, (tier,)).findings}


@pytest.mark.nightly
def test_the_correct_service_in_node_is_not_accused() -> None:
    for seed in SEEDS:
        assert_not_accused(judged_in_node("none", seed))


@pytest.mark.parametrize("profile", [pytest.param(name, marks=pytest.mark.nightly) for name in PROFILES])
def test_our_middleware_keeps_every_profile(profile: str) -> None:
    assert_not_accused(judged_ours(profile, HTTP_TIERS))


def test_our_middleware_keeps_its_default_profile() -> None:
    assert_not_accused(judged_ours("ietf", ("repeats", "payloads", "scope", "errors")))


def judged_ours(profile: str, tiers: tuple[str, ...]) -> Report:
    with in_thread(ours(profile)) as url:
        return check_http(
            target_for(url, profile=profile, window_seconds=WINDOW_SECONDS), seed=SEED, tiers=tiers
        )
