"""The findings of the suite in layers of published packages, and the committed pages about them."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from broken_layers import field_notes
from broken_layers.wild import SPECIMENS, Specimen
from idemproof.conformance import Report, check
from idemproof.conformance.suite.profiles import PROFILES

pytestmark = pytest.mark.once

PAGES = Path(__file__).parents[3] / "docs" / "reports"
# Bounded by what may happen, not by time.
UNHURRIED = PROFILES["quick"]._replace(tour_seconds=600, race_seconds=600)
BY_NAME = {specimen.name: specimen for specimen in SPECIMENS}

Judge = Callable[[str, str], Report]


@pytest.fixture(scope="module")
def judged() -> Judge:
    """Return a cached function that judges one tier of a specimen."""
    known: dict[tuple[str, str], Report] = {}

    def judge(name: str, tier: str) -> Report:
        if (name, tier) not in known:
            specimen = BY_NAME[name]
            with ExitStack() as stack:
                known[name, tier] = check(
                    specimen.make(stack),
                    profile=UNHURRIED,
                    seed=1,
                    capabilities=specimen.capabilities,
                    tiers=[tier],
                )
        return known[name, tier]

    return judge


@pytest.mark.filterwarnings("ignore:RedisCachePersistenceLayer will be removed:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "tier", "check_name", "clauses"),
    [
        # An attempt that outlived its lease overwrites its successor's result, or deletes it.
        (
            "powertools-dynamodb",
            "fencing",
            "calls-that-outlive-their-leases-change-nothing",
            {"INV-2", "INV-3"},
        ),
        ("powertools-redis", "fencing", "calls-that-outlive-their-leases-change-nothing", {"INV-2", "INV-3"}),
        # Completing drops the payload hash.
        ("powertools-redis", "contract", "a-completion-keeps-the-payload-hash", {"CAS-8"}),
        # If the reply to a put is lost, its own caller is refused.
        ("powertools-dynamodb", "faults", "a-lost-request-or-reply-costs-a-retry-only", {"INV-6"}),
        ("powertools-redis", "faults", "a-lost-request-or-reply-costs-a-retry-only", {"INV-6"}),
        ("idemkit-redis", "faults", "a-lost-request-or-reply-costs-a-retry-only", {"INV-6"}),
        # A result is overwritten between GET and SET; a lock that is left behind blocks all callers.
        (
            "powertools-redis-races",
            "exclusion",
            "a-takeover-never-overwrites-a-result-stored-meanwhile",
            {"CAS-4", "INV-2"},
        ),
        ("powertools-redis", "faults", "a-death-between-two-calls-keeps-nobody-out", {"CAS-7", "ROW-1"}),
    ],
)
def test_known_faults_are_found(
    judged: Judge, name: str, tier: str, check_name: str, clauses: set[str]
) -> None:
    findings = [each for each in judged(name, tier).findings if each.check == check_name]
    assert clauses <= {clause for each in findings for clause in each.clauses}
    assert all(each.lines for each in findings)


@pytest.mark.parametrize("tier", ["contract", "exclusion", "fencing"])
def test_a_fenced_layer_has_no_fencing_findings(judged: Judge, tier: str) -> None:
    assert judged("idemkit-redis", tier).tiers[tier] == "kept"


@pytest.mark.parametrize("specimen", SPECIMENS, ids=[specimen.name for specimen in SPECIMENS])
def test_every_specimen_has_its_page(specimen: Specimen) -> None:
    page = (PAGES / f"{specimen.name}.md").read_text(encoding="utf-8")
    assert f", of {specimen.package}, on {specimen.store}." in page
    assert f"]({specimen.name}.md)" in (PAGES / "README.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:RedisCachePersistenceLayer will be removed:DeprecationWarning")
def test_a_page_contains_the_findings(judged: Judge) -> None:
    specimen = BY_NAME["powertools-redis"]
    committed = (PAGES / "powertools-redis.md").read_text(encoding="utf-8")
    page = field_notes.page(specimen, judged(specimen.name, "contract"))
    first = page.split("## 1. ")[1].split("\n## ")[0]
    assert first.startswith("CAS-8")
    assert first in committed


@pytest.mark.nightly
@pytest.mark.parametrize("specimen", SPECIMENS, ids=[specimen.name for specimen in SPECIMENS])
def test_the_committed_page_gives_the_verdict(specimen: Specimen) -> None:
    page = field_notes.page(specimen, field_notes.judged(specimen))
    committed = (PAGES / f"{specimen.name}.md").read_text(encoding="utf-8")
    assert page.split("\n\n")[2] == committed.split("\n\n")[2]
