"""What requests leave behind is found, and what grows to a bound is not taken for it."""

import builtins
import io
import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broken_layers import leftovers
from broken_layers.correct import ThroughOneThread
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    InMemoryPersistenceLayer,
)
from idemproof.conformance import Capabilities, Report, check
from idemproof.conformance.harness import leftovers as leftover_counts
from idemproof.conformance.harness.leftovers import FilesMade, Growth, growth, held_by_this_process
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.runner import Session, checks

pytestmark = pytest.mark.once

REQUESTS = "a-request-leaves-nothing-behind"
CLOSED = "a-closed-layer-leaves-nothing-behind"


def judged(factory: Callable[[], Any], name: str, **claims: Any) -> Any:
    (asked,) = [each for each in checks(["concurrency"]) if each.name == name]
    session = Session(factory, PROFILES["quick"], 1, Capabilities(**claims))
    try:
        return session.judge(asked)
    finally:
        session.close()


@pytest.mark.clause("CAS-12")
@pytest.mark.parametrize("kind", [InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer])
def test_a_layer_in_memory_leaves_nothing_behind(kind: Callable[[], Any]) -> None:
    assert judged(kind, REQUESTS).verdict == "kept"
    assert judged(kind, CLOSED).why_not == "the layer has no close method"


@pytest.mark.parametrize(
    "kind",
    [
        leftovers.ThroughAPool,
        leftovers.WithAConnectionForEachThread,
        leftovers.InABoundedExecutor,
        leftovers.TidiesUpInTasks,
        ThroughOneThread,
    ],
)
def test_what_is_kept_for_later_requests_is_no_leftover(kind: Any) -> None:
    assert judged(kind.factory(), REQUESTS).verdict == "kept"
    assert judged(kind.factory(), CLOSED).verdict in ("kept", "not offered")


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (leftovers.OpensAFileWhenItRefuses, "more open files or sockets were left"),
        (leftovers.StartsAThreadForEachSwap, "more threads were left"),
        (leftovers.StartsATaskForEachSwap, "more asyncio tasks were left"),
        (leftovers.LeavesTemporaryFiles, "more files were left"),
        (leftovers.LeavesZombies, "more child processes were left"),
    ],
)
def test_what_is_left_is_named(kind: Any, what: str) -> None:
    (found,) = judged(kind.factory(), REQUESTS).findings
    assert what in found.why
    assert found.consequence.name == "resource leak"


class InMemoryWithClose(InMemoryPersistenceLayer):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_the_one_object_of_a_factory_is_not_closed_by_a_check() -> None:
    one = InMemoryWithClose()
    assert judged(lambda: one, CLOSED).why_not == "the factory returns one object at each call"
    assert one.closed == 1  # at the end of the run


def test_a_factory_that_makes_no_more_layers_loses_no_report() -> None:
    made: list[Any] = []

    def factory() -> Any:
        if len(made) > 3:
            raise RuntimeError("too many connections")
        made.append(InMemoryWithClose())
        return made[-1]

    result = judged(factory, CLOSED)
    assert result.verdict == "not judged"
    assert "too many connections" in result.why_not


def test_layers_are_closed_after_everything_else() -> None:
    assert [each.name for each in checks() if "closes" in each.needs] == [checks()[-1].name]


# The growth of counts, without a layer.


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing to end by itself."""
    monkeypatch.setattr(leftover_counts, "_SETTLES_WITHIN", 0)
    monkeypatch.setattr(leftover_counts, "_ENDS_WITHIN", 0)


def grown(counts: Any, *, at_least: int = 64) -> Growth | None:
    """Return the growth of a count that has these values after each window."""
    values = iter(counts)
    state = [0]

    def work() -> None:
        state[0] = next(values)

    def held() -> dict[str, list[str]]:
        return {"things": [str(each) for each in range(state[0])], "others": []}

    return growth(work, held, 60, at_least=at_least)


@pytest.mark.parametrize(
    "counts",
    [
        itertools.repeat(0),
        itertools.repeat(500),
        (min(40, 8 * window) for window in itertools.count(1)),
        (min(60, window) for window in itertools.count(1)),
        (int(120 * (1 - 0.9**window)) for window in itertools.count(1)),
        (window % 50 for window in itertools.count(1)),
    ],
    ids=["nothing", "at once", "a pool", "slowly", "by shards", "deletes sometimes"],
)
@pytest.mark.usefixtures("at_once")
def test_what_has_a_bound_is_no_leak(counts: Any) -> None:
    assert grown(itertools.islice(counts, 2000)) is None


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("each", [1, 2, 10, 500])
def test_what_grows_steadily_is_a_leak(each: int) -> None:
    found = grown(each * window for window in itertools.count(1))
    assert found is not None
    assert found.kind == "things"
    assert found.number >= 64
    assert found.example == str(found.number - 1)


@pytest.mark.usefixtures("at_once")
def test_a_rare_leak_may_skip_windows() -> None:
    found = grown(window // 3 for window in itertools.count(1))
    assert found is not None


def test_files_that_python_makes_are_noted_and_the_functions_are_restored(tmp_path: Path) -> None:
    usual = builtins.open, io.open, os.open, os.mkdir
    with FilesMade() as files:
        (tmp_path / "before").write_text("")
        with files.noted():
            (tmp_path / "written").write_text("")
            (tmp_path / "written").read_text()
            (tmp_path / "folder").mkdir()
            (tmp_path / "before").write_text("again")
            _, name = tempfile.mkstemp(dir=tmp_path)
            (tmp_path / "deleted").write_text("")
            (tmp_path / "deleted").unlink()
            open(file=tmp_path / "named", mode="w").close()  # noqa: PTH123 - as some layers do
        assert files.left() == [
            str(tmp_path / "written"),
            str(tmp_path / "folder"),
            name,
            str(tmp_path / "named"),
        ]
    assert (builtins.open, io.open, os.open, os.mkdir) == usual


def test_what_this_process_holds_is_counted(tmp_path: Path) -> None:
    before = held_by_this_process()
    with (tmp_path / "file").open("w"):
        after = held_by_this_process()
        assert len(after["open files or sockets"]) == len(before["open files or sockets"]) + 1
        assert any(str(tmp_path / "file") in each for each in after["open files or sockets"])


def test_the_report_is_about_the_layer_and_names_the_clause() -> None:
    report: Report = check(leftovers.StartsAThreadForEachSwap, profile="quick", seed=1, tiers=["concurrency"])
    assert {each.clauses for each in report.findings if each.check == REQUESTS} == {("CAS-12",)}
