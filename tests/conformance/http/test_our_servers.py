"""Our middlewares keep the clauses on their servers, and after a crash what their profile says."""

import pytest

from broken_services.judging import judged_on
from broken_services.our_servers import SERVERS
from idemproof.conformance.suite.kinds import HTTP_TIERS
from idemproof.conformance.suite.report import Report
from idemproof.http import PROFILES

pytestmark = pytest.mark.once

SEED = 7
POLICIES = {"ietf": "refuse", "stripe": "run", "acp": "refuse", "iceberg": "run"}
"""What happens to a request that a crash interrupted, by the profile."""
NOTES = {
    "refuse": "A key whose request was ended by SIGKILL stays refused with 409.",
    "run": "A request repeats its effect after SIGKILL in its midst; the target promises nothing else.",
}
KNOWN = ("kept", "not offered")


def assert_kept(report: Report) -> None:
    assert [(each.check, each.why) for each in report.findings] == []
    open_checks = [(each.name, each.why_not) for each in report.checks if each.verdict not in KNOWN]
    assert open_checks == []


def notes_about_kills(report: Report) -> list[str]:
    return [note for note in report.notes if "SIGKILL" in note]


@pytest.mark.clause("INV-5", "HTTP-14", "HTTP-24")
@pytest.mark.parametrize(("server", "profile"), [("uvicorn", "ietf"), ("gunicorn", "stripe")])
def test_a_crash_does_what_the_policy_says(server: str, profile: str) -> None:
    report = judged_on(server, profile, POLICIES[profile], SEED, ("crashes",), ("kill",))
    assert_kept(report)
    assert report.tiers == {"crashes": "kept"}
    assert notes_about_kills(report) == [NOTES[POLICIES[profile]]]


@pytest.mark.parametrize(("server", "profile"), [("gunicorn-flask", "acp"), ("gunicorn-django", "iceberg")])
def test_a_server_keeps_the_tiers_that_need_no_time(server: str, profile: str) -> None:
    report = judged_on(server, profile, POLICIES[profile], SEED, ("keys", "payloads", "scope", "errors"))
    assert_kept(report)
    assert set(report.tiers.values()) == {"kept"}


@pytest.mark.nightly
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("server", SERVERS)
def test_each_server_keeps_each_profile(server: str, profile: str) -> None:
    report = judged_on(server, profile, POLICIES[profile], SEED, HTTP_TIERS)
    assert_kept(report)
    assert set(report.tiers.values()) == {"kept"}
    assert notes_about_kills(report) == [NOTES[POLICIES[profile]]]
