"""The numbers of injected faults that pages give are those of the tables."""

import pytest

from pages import ROOT

pytestmark = pytest.mark.once

DOCS = ROOT / "docs"


def text_of(name: str) -> str:
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def cells(name: str) -> dict[tuple[str, str], list[str]]:
    """Return the other columns of a table of faults, by the place and the name of each fault."""
    lines = (DOCS / name).read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith(("| ROW-", "| ENG-"))]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {(place, what): rest for place, what, *rest in rows}


FAULTS = cells("seeded-faults.md")
BY_SEARCH = {fault for fault, (broken, *_) in FAULTS.items() if broken}
BY_PROOF = {fault for fault, (*_, broken) in FAULTS.items() if broken != "**nothing**"}
BY_TLC = {fault for fault, (broken, *_) in cells("tla/faults.md").items() if broken != "**not found**"}


def test_both_tables_have_the_same_faults() -> None:
    assert FAULTS.keys() == cells("tla/faults.md").keys()
    assert len(BY_PROOF) == len(FAULTS) > 70


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (
            "README.md",
            "{count} faults injected into the specification: the search finds {search}, TLC {tlc}, the",
        ),
        (
            "docs/evidence.md",
            "{count} faults](seeded-faults.md), the search finds {search}, [TLC](tla/faults.md) {tlc}",
        ),
        ("docs/tla.md", "It finds {tlc} of {count} faults; [the search finds {search}, the proof all]"),
        ("docs/tla/faults.md", "TLC finds {tlc} of {count} faults"),
        ("docs/seeded-faults.md", "It finds {search} of {count} faults"),
    ],
)
def test_a_page_says_how_many_faults_are_found(page: str, says: str) -> None:
    assert says.format(count=len(FAULTS), search=len(BY_SEARCH), tlc=len(BY_TLC)) in text_of(page)


def test_the_page_of_the_proof_says_which_faults_it_finds_alone() -> None:
    missed = FAULTS.keys() - BY_SEARCH
    reached = missed & BY_TLC
    assert (
        f"Of the {len(missed)} injected faults that the search misses, "
        f"[TLC finds {len(reached)}](tla/faults.md), each by a trace from the beginning. "
        f"The other {len(missed - reached)} are found by the proof alone."
    ) in text_of("docs/proof.md")
