"""The benchmarks run, and report every scenario. How fast anything is, no test says."""

import contextlib
import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from server_process import missing

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks" / "README.md"
FIGURES = PAGE.with_name("figures.json")


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Harness:
    """The modules of the benchmarks, which find each other as scripts do."""

    def __getattr__(self, name: str) -> Any:
        return importlib.import_module(name)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield Harness()
    for path in BENCHMARKS.glob("*.py"):
        sys.modules.pop(path.stem, None)


LOCAL = ("memory, 200", "memory, d", "SQLite, n", "growing")
"""The beginnings of some scenarios that start no server and no other process."""


class Smoke:
    """What one small run of the scenarios has printed and written."""

    def __init__(self, folder: Path, chosen: Sequence[str] | None) -> None:
        shutil.copy(PAGE, folder)
        self.names = [
            name
            for name in run("--list").splitlines()
            if chosen is None or any(name.startswith(beginning) for beginning in chosen)
        ]
        self.is_whole = chosen is None
        self.printed = run(
            "--smoke", "--report", str(folder), *([] if chosen is None else ["--only", *chosen])
        )
        self.page = (folder / "README.md").read_text("utf-8")
        self.data = json.loads((folder / "figures.json").read_text("utf-8"))
        self.pictures = {path.name: path.read_text("utf-8") for path in folder.glob("*.svg")}


@pytest.fixture(
    scope="module",
    params=[pytest.param(LOCAL, id="local"), pytest.param(None, id="all", marks=pytest.mark.nightly)],
)
def smoke(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    smoke = Smoke(tmp_path_factory.mktemp("benchmarks"), request.param)
    for name, lack in smoke.data["lacking"].items():
        missing(name, lack)
    return smoke


@pytest.mark.once
def test_every_scenario_is_printed_and_written(smoke: Smoke) -> None:
    assert len(smoke.names) > (20 if smoke.is_whole else 4)
    assert list(smoke.data["scenarios"]) == smoke.names
    for name in smoke.names:
        assert f"\n{name} (1 round" in smoke.printed
        assert f"\n### {name}\n" in smoke.page


@pytest.mark.once
def test_we_answer_rightly(smoke: Smoke) -> None:
    faults = [
        (scenario, case, name, figure["wrong"])
        for scenario, found in smoke.data["scenarios"].items()
        for case, of_case in found["cases"].items()
        for name, figure in of_case.items()
        if figure["wrong"] is not None and name not in ("Powertools", "idemkit", "fastapi-idempotency")
    ]
    assert faults == []


@pytest.mark.once
def test_every_target_finds_its_figures(smoke: Smoke) -> None:
    assert len(smoke.data["targets"]) == 24
    for target in smoke.data["targets"]:
        measured = "met", "not met"
        assert target["verdict"] in (measured if smoke.is_whole else (*measured, "not measured"))
        assert target["says"] in smoke.printed
        assert target["says"] in smoke.page


def test_the_page_begins_with_what_its_figures_say(harness: Harness) -> None:
    measured = {
        target["says"]: target["measured"] for target in json.loads(FIGURES.read_text("utf-8"))["targets"]
    }
    assert {says for targets in harness.report.IN_WORDS for says in targets} <= measured.keys()
    assert harness.report.lead(measured, []) in PAGE.read_text("utf-8")


@pytest.mark.once
def test_the_figures_go_into_the_page_and_leave_the_rest(smoke: Smoke) -> None:
    begin, end = "<!-- figures: written by benchmarks/run.py -->", "<!-- end of figures -->"
    lead = re.compile("(<!-- lead: written by benchmarks/run.py -->).*(<!-- end of lead -->)", re.DOTALL)
    committed, written = (lead.sub(r"\1\2", page) for page in (PAGE.read_text("utf-8"), smoke.page))
    assert written.partition(begin)[0] == committed.partition(begin)[0]
    assert written.partition(end)[2] == committed.partition(end)[2]
    assert smoke.page.count(begin) == smoke.page.count(end) == 1
    assert lead.search(smoke.page)
    assert sorted(smoke.pictures) == ["beside-bare.svg", "beside-powertools.svg"]
    for name, picture in smoke.pictures.items():
        assert f"]({name})" in smoke.page
        assert "idemproof" in picture


def scenario(harness: Harness, contestants: Any, **more: Any) -> Any:
    parts = {"name": "made up", "reference": "first", "size": harness.measuring.Size(4, 3)}
    return harness.measuring.Scenario(contestants=lambda *_: contestants, **{**parts, **more})


def measured(harness: Harness, made: Any) -> Any:
    with contextlib.ExitStack() as stack:
        return harness.measuring.measured(made, made.size, harness.stores.Places(stack))


def test_another_contestant_begins_each_round_and_all_get_the_same_payloads(harness: Harness) -> None:
    rounds: list[tuple[str, list[Any]]] = []

    def contestant(name: str) -> Any:
        def one_round(payloads: Sequence[Any]) -> list[Any]:
            rounds.append((name, list(payloads)))
            return []

        return harness.measuring.Contestant(name, one_round)

    measured(harness, scenario(harness, [contestant(name) for name in ("a", "b", "c")], unit="ms"))
    assert [name for name, _ in rounds] == list("abcbcacababc")
    for turn in range(4):
        first, *others = (payloads for _, payloads in rounds[3 * turn : 3 * turn + 3])
        assert len(first) == 3
        assert all(payloads == first for payloads in others)
    assert rounds[0][1] != rounds[3][1]


def test_ratios_are_taken_within_rounds(harness: Harness) -> None:
    measuring = harness.measuring
    outcome = measuring.Outcome(scenario(harness, []))
    for turn, (mine, other) in enumerate([(1, 2), (100, 50), (9, 10), (1, 1), (6, 5)]):
        outcome.add("mine", turn, measuring.Sample("replay", mine))
        outcome.add("other", turn, measuring.Sample("replay", other))
    assert outcome.ratio("replay", "mine", "other") == pytest.approx((1.0, 0.9, 1.2))
    assert outcome.ratio("replay", "mine", "nobody") is None


@pytest.mark.parametrize(
    ("answers", "runs", "fault"),
    [
        (["right", "right"], 2, None),
        (["right", "wrong"], 2, "a wrong answer: wrong"),
        (["right"], 2, "1 answers to 2 calls"),
        (["right", "right"], 3, "the work was done 3 times instead of 2"),
        (ZeroDivisionError("no"), 0, "ZeroDivisionError: no"),
    ],
)
def test_what_is_wrong_is_told(harness: Harness, answers: Any, runs: int, fault: str | None) -> None:
    done: list[Any] = []

    def act(_: Sequence[Any]) -> list[Any]:
        done.extend([None] * runs)
        if isinstance(answers, Exception):
            raise answers
        return list(answers)

    step = harness.measuring.Step("first call", act, lambda _: "right", runs=True)
    (sample,) = harness.measuring.by_steps("somebody", [step], done).round([{}, {}])
    assert (sample.case, sample.wrong) == ("first call", fault)


def test_what_could_not_be_prepared_spoils_what_follows(harness: Harness) -> None:
    measuring = harness.measuring
    steps = [
        measuring.Step(None, lambda _: ["wrong"], lambda _: "right"),
        measuring.Step("takeover", lambda _: ["right"], lambda _: "right"),
    ]
    (sample,) = measuring.by_steps("somebody", steps).round([{}])
    assert sample.wrong == "could not be prepared: a wrong answer: wrong"


@pytest.mark.parametrize(
    ("ours", "theirs", "wrong", "verdict"),
    [
        (5.0, 10.0, None, "met"),
        (5.1, 10.0, None, "not met"),
        (5.0, 10.0, "Powertools", "not valid: wrong answers"),
        (5.0, 10.0, "idemproof", "not valid: wrong answers"),
    ],
)
def test_targets_are_judged(
    harness: Harness, ours: float, theirs: float, wrong: str | None, verdict: str
) -> None:
    measuring, targets = harness.measuring, harness.targets
    outcome = measuring.Outcome(scenario(harness, [], name=targets.TARGETS[0].scenario))
    for name, value in (("idemproof", ours), ("Powertools", theirs)):
        fault = "a wrong answer" if name == wrong else None
        outcome.add(name, 0, measuring.Sample(measuring.FIRST, value, fault))
    run_ = harness.report.Run([(outcome, measuring.Size(1, 3))], {}, 0.0)
    judgements = run_.judgements()
    assert judgements[0].verdict == verdict
    assert {judgement.verdict for judgement in judgements[1:]} == {"not measured"}
    _, rows = harness.report.rows(outcome)
    assert [name for _, name, figure, *_ in rows if "(!)" in figure] == ([wrong] if wrong else [])
    assert ("a wrong answer" in harness.report.outcome_text(*run_.outcomes[0])) == (wrong is not None)


@pytest.mark.parametrize(("bare", "verdict"), [(8.0, "met"), (7.9, "not met")])
def test_a_target_of_throughput_turns_the_ratio_round(harness: Harness, bare: float, verdict: str) -> None:
    measuring = harness.measuring
    (target, *_) = (target for target in harness.targets.TARGETS if target.throughput)
    outcome = measuring.Outcome(scenario(harness, []))
    outcome.add("idemproof", 0, measuring.Sample(target.case, 10.0))
    outcome.add("bare", 0, measuring.Sample(target.case, bare))
    assert harness.targets.judged(target, {target.scenario: outcome}).verdict == verdict


def test_an_unknown_scenario_is_refused(harness: Harness) -> None:
    made = scenario(harness, [])
    assert harness.run.chosen([made], ["made"]) == [made]
    assert harness.run.chosen([made], None) == [made]
    with pytest.raises(SystemExit, match=r"(?s)No scenario begins with 'other'.*made up"):
        harness.run.chosen([made], ["made", "other"])
