"""The findings of the suite in layers of published packages, and the committed pages about them."""

import math
from contextlib import ExitStack
from pathlib import Path

import pytest

from broken_layers import field_notes
from broken_layers.published import SPECIMENS, Specimen
from idemproof.conformance import Profile, Report, check
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.report import CheckResult
from idemproof.conformance.suite.runner import Session, checks

pytestmark = pytest.mark.once

PAGES = Path(__file__).parents[3] / "docs" / "reports"
# Bounded by what may happen, not by time.
UNHURRIED = PROFILES["quick"]._replace(tour_seconds=600, race_seconds=600, total_seconds=math.inf)
BY_NAME = {specimen.name: specimen for specimen in SPECIMENS}


def judged(name: str, check_name: str) -> CheckResult:
    specimen = BY_NAME[name]
    (asked,) = (each for each in checks() if each.name == check_name)
    with ExitStack() as stack:
        session = Session(specimen.make(stack), UNHURRIED, 1, specimen.capabilities)
        stack.callback(session.close)
        return session.judge(asked)


def report_on(name: str, *tiers: str, profile: str | Profile = UNHURRIED) -> Report:
    specimen = BY_NAME[name]
    with ExitStack() as stack:
        factory = specimen.make(stack)
        return check(factory, profile=profile, seed=1, capabilities=specimen.capabilities, tiers=tiers)


@pytest.mark.filterwarnings("ignore:RedisCachePersistenceLayer will be removed:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "check_name", "clauses"),
    [
        # An attempt that outlived its lease overwrites its successor's result, or deletes it.
        ("powertools-redis", "calls-that-outlive-their-leases-change-nothing", {"INV-2", "INV-3"}),
        # Completing drops the payload hash.
        ("powertools-redis", "a-completion-keeps-the-payload-hash", {"CAS-8"}),
        # If the reply to a put is lost, its own caller is refused.
        ("powertools-dynamodb", "a-lost-request-or-reply-costs-a-retry-only", {"INV-6"}),
        ("powertools-redis", "a-lost-request-or-reply-costs-a-retry-only", {"INV-6"}),
        ("idemkit-redis", "a-lost-request-or-reply-costs-a-retry-only", {"INV-6"}),
        # A result is overwritten between GET and SET; a lock that is left behind blocks all callers.
        (
            "powertools-redis-races",
            "a-takeover-never-overwrites-a-result-stored-meanwhile",
            {"CAS-4", "INV-2"},
        ),
        ("powertools-redis", "a-death-between-two-calls-blocks-no-caller", {"CAS-7", "ROW-1"}),
    ],
)
def test_known_faults_are_found(name: str, check_name: str, clauses: set[str]) -> None:
    findings = judged(name, check_name).findings
    assert clauses <= {clause for each in findings for clause in each.clauses}
    assert all(each.lines for each in findings)


def test_a_fenced_layer_has_no_fencing_findings() -> None:
    tiers = ("contract", "exclusion", "fencing")
    assert report_on("idemkit-redis", *tiers, profile="quick").keeps(*tiers)


@pytest.mark.parametrize("specimen", SPECIMENS, ids=[specimen.name for specimen in SPECIMENS])
def test_every_specimen_has_its_page(specimen: Specimen) -> None:
    page = (PAGES / f"{specimen.name}.md").read_text(encoding="utf-8")
    assert f", of {specimen.package}, on {specimen.store}." in page
    assert f"]({specimen.name}.md)" in (PAGES / "README.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:RedisCachePersistenceLayer will be removed:DeprecationWarning")
def test_a_page_contains_the_findings() -> None:
    specimen = BY_NAME["powertools-redis"]
    committed = (PAGES / "powertools-redis.md").read_text(encoding="utf-8")
    page = field_notes.page(specimen, report_on(specimen.name, "contract"))
    first = page.split("## 1. ")[1].split("\n## ")[0]
    assert first.startswith("CAS-8")
    assert first in committed


@pytest.mark.nightly
@pytest.mark.parametrize("specimen", SPECIMENS, ids=[specimen.name for specimen in SPECIMENS])
def test_the_committed_page_gives_the_verdict(specimen: Specimen) -> None:
    page = field_notes.page(specimen, field_notes.judged(specimen))
    committed = (PAGES / f"{specimen.name}.md").read_text(encoding="utf-8")
    assert page.split("\n\n")[2] == committed.split("\n\n")[2]
