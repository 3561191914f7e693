"""The searches at the command line: the verdict, the counts, and the trace where something breaks."""

from typing import Any

import pytest

from command_lines import runner
from idemproof.cli.app import app
from idemproof.spec import explorer
from idemproof.spec.moves import Attempt


def run(*arguments: str, command: str = "explore") -> Any:
    return runner().invoke(app, [command, *arguments], env={"COLUMNS": "200"})


def test_a_search_shows_its_counts_and_that_nothing_breaks() -> None:
    done = run("--clients", "2", "--payload-hashes", "1")
    assert done.exit_code == 0
    assert "813 states, 5,074 steps, complete" in done.stdout
    assert "No invariant breaks" in done.stdout


def test_transactions_are_searched_in_the_table_and_in_the_engine() -> None:
    assert "states" in run("--clients", "1", "--transactions").stdout
    few = ("--clients", "1", "--faults", "0", "--seconds", "0")
    plain, within = (
        run(*few, *more, command="explore-engine").stdout for more in ((), ("--transactions", "postgresql"))
    )
    assert "No rule breaks" in within
    assert within.split(" states")[0] != plain.split(" states")[0]


@pytest.mark.parametrize(
    "wrong", [("oracle",), ("mysql", "--on-takeover", "ask"), ("mysql", "--outages", "1")]
)
def test_transactions_that_cannot_be_searched_are_refused(wrong: tuple[str, ...]) -> None:
    assert run("--transactions", *wrong, command="explore-engine").exit_code == 2


def test_a_search_that_was_stopped_says_so() -> None:
    done = run("--clients", "3", "--limit", "50")
    assert done.exit_code == 0
    assert "not complete" in done.stdout
    assert "in the states searched" in done.stdout


def test_a_broken_invariant_is_reported_as_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "broken_by_beginning", lambda *_: ("INV-1 one_live_run",))
    done = run("--clients", "2")
    assert done.exit_code == 1
    for word in ("INV-1 one_live_run", "client 1", "claims", "begins its body", "INPROGRESS"):
        assert word in done.stdout


def test_where_no_client_can_finish_the_way_there_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attempt, "_granted", lambda _: iter(()))
    done = run("--clients", "1", "--faults", "none")
    assert done.exit_code == 1
    assert "no client can finish" in done.stdout


@pytest.mark.parametrize("wrong", [("--faults", "fire"), ("--clients", "0"), ("--payload-hashes", "4")])
def test_what_cannot_be_searched_is_refused(wrong: tuple[str, str]) -> None:
    assert run(*wrong).exit_code == 2


def test_the_engine_is_searched_within_bounds_that_are_reported() -> None:
    done = run("--clients", "1", "--faults", "0", "--crashes", "0", command="explore-engine")
    assert done.exit_code == 0
    assert "complete within" in done.stdout
    assert "No rule breaks" in done.stdout


def test_a_broken_rule_of_the_engine_is_reported_as_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("spec.settle", "reference.engine"):
        monkeypatch.setattr(f"idemproof.{place}.live", lambda _record, _now: True)  # ENG-3
    done = run("--faults", "1", "--crashes", "0", command="explore-engine")
    assert done.exit_code == 1
    assert "ENG-3" in done.stdout
    assert "INPROGRESS" in done.stdout
