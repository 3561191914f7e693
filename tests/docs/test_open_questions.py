"""Each naive answer to a question of the draft fails as its page shows; the protocol's answer does not."""

import re
from pathlib import Path

import pytest

from idemproof.spec.explorer import Explorer
from open_questions import CALLS, NAIVE, PAGES, block, files, header_alone, stored_failure
from pages import ROOT

pytestmark = pytest.mark.once

FOLDER = ROOT / PAGES
OVERVIEW = FOLDER / "README.md"
QUESTIONS = sorted(set(FOLDER.glob("*.md")) - {OVERVIEW})
TRACE = re.compile(r"^<!-- trace: ([\w-]+) -->$", re.MULTILINE)

BREAKS = {
    "wait": {"INV-4"},
    "release": {"INV-5"},
    "own-result": {"INV-4"},
    "window-from-claim": {"INV-5"},
    "delete": {"INV-3", "INV-7"},
    "ignore-payload": {"INV-4"},
    "no-lease": {"INV-9"},
    "no-fencing": {"INV-3"},
}


@pytest.mark.parametrize("name", NAIVE)
def test_the_search_refutes_a_naive_answer(name: str) -> None:
    trace = NAIVE[name].counterexample()
    assert trace is not None
    assert {rule.partition(" ")[0] for rule in trace.broken} == BREAKS[name]


@pytest.mark.parametrize("payload_hashes", [1, 2])
def test_the_same_search_finds_nothing_against_the_unchanged_rules(payload_hashes: int) -> None:
    for naive in NAIVE.values():
        with naive.changed():
            pass  # each change is undone
    result = Explorer(2, payload_hashes).search()
    assert result.complete
    assert (result.counterexample, result.stuck) == (None, None)


def test_a_stored_failure_is_replayed_until_its_window_ends() -> None:
    assert [call.answer[:3] for call in stored_failure()] == ["503", "503", "503", "201"]


def test_the_caller_in_the_key_separates_callers() -> None:
    assert [call.answer for call in header_alone()] == ["201, a parcel for Ann"] * 2
    assert [call.answer for call in header_alone("[client, key]")] == [
        "201, a parcel for Ann",
        "201, a parcel for Bob",
    ]


def test_every_trace_is_on_one_page() -> None:
    shown = [name for page in QUESTIONS for name in TRACE.findall(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == sorted([*NAIVE, *CALLS])


def test_a_trace_that_is_stale_is_written_again(tmp_path: Path) -> None:
    (tmp_path / PAGES).mkdir(parents=True)
    page = tmp_path / PAGES / "a.md"
    page.write_text(
        "Before.\n<!-- trace: delete -->\nstale\n<!-- end of trace -->\nAfter.\n", encoding="utf-8"
    )
    written = files(tmp_path)["a.md"]
    assert written == f"Before.\n<!-- trace: delete -->\n{block('delete')}<!-- end of trace -->\nAfter.\n"
    assert "The last step breaks INV-3 and INV-7." in written


def test_seconds_without_another_step_are_one_step() -> None:
    assert "| 5 | 2 seconds pass | INPROGRESS of client 1, lease over |" in block("window-from-claim")


def test_a_client_whose_worker_has_died_calls_again_on_a_new_one() -> None:
    assert "| 5 | client 1 calls again, on a new worker, with payload a |  |" in block("wait")


def test_an_unknown_trace_is_refused() -> None:
    with pytest.raises(ValueError, match="has no trace 'none'"):
        block("none")


@pytest.mark.parametrize("page", QUESTIONS, ids=lambda page: page.stem)
def test_each_page_has_its_answers_in_the_same_order(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert all(heading.startswith("The naive answer") for heading in headings[:-2])
    assert headings[-2:] == ["What decides here", "The trade-off"]
    decides = text.partition("## What decides here")[2].partition("## ")[0]
    assert re.search(r"\b[A-Z]+-\d+\b", decides)
    overview = OVERVIEW.read_text(encoding="utf-8")
    heading = text.partition("\n")[0].removeprefix("# ")
    assert f"[{heading}]({page.name})" in overview
