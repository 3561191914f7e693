"""Workers of HTTP servers die: nobody gets another's answer, and nothing happens twice under "refuse"."""

from pathlib import Path
from typing import Any

import pytest

import http_transaction_kills
from http_kills import PAGE, POLICIES, SERVERS, STORES, Report, killed
from pages import rows

pytestmark = pytest.mark.once

PER_KEY = 5
ORDERS = 40


def check(report: Report, policy: str) -> None:
    assert report.kills["SIGKILL after"] > 0
    assert report.kills["SIGTERM after"] > 0
    assert report.replays > 0
    assert (report.of_another, report.two_answers, report.unsettled) == (0, 0, 0), report
    if policy == "refuse":
        assert report.twice == 0, report
    else:
        assert report.twice > 0, report  # counted: OUT-4
        assert report.never == 0, report


@pytest.mark.clause("TAKE-2", "INV-4", "OUT-7")
def test_nothing_happens_twice_when_workers_die(postgres_server: Any, tmp_path: Path) -> None:
    refuse = killed(
        "uvicorn", "postgres", postgres_server, tmp_path, "refuse", orders=ORDERS, per_key=PER_KEY
    )
    check(refuse, "refuse")


@pytest.mark.clause("OUT-4")
def test_under_run_effects_are_repeated_and_answers_still_belong_to_their_callers(
    valkey_server: Any, tmp_path: Path
) -> None:
    check(killed("gunicorn", "valkey", valkey_server, tmp_path, "run", orders=ORDERS, per_key=PER_KEY), "run")


def check_transactions(report: Report, *, within: bool) -> None:
    for moment in ("before the commit", "after the commit"):
        assert report.kills[f"SIGKILL {moment}"] > 0
    assert report.replays > 0
    assert (report.of_another, report.two_answers, report.unsettled, report.never) == (0, 0, 0, 0), report
    if within:
        assert (report.twice, report.unanswered) == (0, 0), report
    else:
        assert report.twice > 0, report  # counted: OUT-4
        assert report.unanswered > 0, report


@pytest.mark.clause("INV-11", "TXN-1", "HTTP-27")
def test_no_effect_happens_twice_or_without_its_answer_if_views_complete_in_their_transactions(
    postgres_server: Any, tmp_path: Path
) -> None:
    kind = "uvicorn-transactions"
    report = http_transaction_kills.killed(
        kind, postgres_server, tmp_path, within=True, orders=10, per_key=5, clients=1
    )
    check_transactions(report, within=True)


def test_the_page_has_the_counts_of_runs_with_completion_in_the_transaction_and_without() -> None:
    ways = http_transaction_kills.WAYS
    shown = [row for row in rows(PAGE, "server") if row[1] in ways.values()]
    assert len(shown) == len(ways) * len(http_transaction_kills.SERVERS)
    for _, way, *counts in shown:
        of_another, twice, unanswered, never = map(int, counts[-4:])
        assert (of_another, never) == (0, 0)
        assert (twice > 0, unanswered > 0) == (way != ways[True],) * 2


@pytest.mark.nightly
@pytest.mark.parametrize("within", http_transaction_kills.WAYS)
@pytest.mark.parametrize("kind", http_transaction_kills.SERVERS)
@pytest.mark.clause("INV-11", "TXN-1", "HTTP-27", "OUT-4")
def test_no_effect_happens_twice_or_without_its_answer_in_many_deaths(
    kind: str, within: bool, postgres_server: Any, tmp_path: Path
) -> None:
    report = http_transaction_kills.killed(
        kind, postgres_server, tmp_path, within=within, orders=1500, seed=2
    )
    check_transactions(report, within=within)


@pytest.mark.nightly
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.clause("TAKE-2", "INV-4")
def test_nothing_happens_twice_in_many_deaths(
    kind: str, store: str, policy: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    running = request.getfixturevalue(f"{store}_server")
    check(killed(kind, store, running, tmp_path, policy, orders=1500, seed=2), policy)
