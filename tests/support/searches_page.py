"""Reads the tables of ``docs/searches.md``, and repeats their searches."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from idemproof.conformance.search.engine_explorer import search_engine
from idemproof.spec.explorer import Explorer

PAGE = Path(__file__).parents[2] / "docs" / "searches.md"
VALUES = {
    "yes": True,
    "no": False,
    "any": None,
    "refuse": "refuse",
    "ask": "ask",
    "PostgreSQL": "postgresql",
    "MySQL": "mysql",
}

OF_THE_TABLE = {"payload hashes": "payload_hashes", "late": "late_requests"}
OF_THE_ENGINE = {
    "deaths": "crashes",
    "seconds": "ticks",
    "payload hashes": "payloads",
    "cache": "cached",
    "renewal": "renews",
    "waiting": "waiting_ms",
    "database": "transactions",
    "final errors": "final_errors",
}
"""The parameters of a search by the names of their columns, where these differ."""


def lines_of(heading: str) -> list[Any]:
    """Return each line of the table under ``heading`` as a parameter: its values by the names of the columns.

    The last column says when it runs.
    """
    text = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    names, _, *table = [[cell.strip() for cell in cells] for cells in lines]
    assert names[-3:] == ["states", "steps", "when"]
    found = []
    for *cells, when in table:
        assert when in ("always", "nightly")
        values = [VALUES[text] if text in VALUES else int(text.replace(",", "")) for text in cells]
        marks = [pytest.mark.nightly] if when == "nightly" else []
        found.append(
            pytest.param(dict(zip(names, values, strict=False)), marks=marks, id="-".join(cells[:-2]))
        )
    return found


def assert_no_invariant_breaks(line: Mapping[str, Any], **options: Any) -> None:
    """Repeat a search of the table, which is complete and finds nothing, with the counts of the page."""
    result = Explorer(**_bounds(line, OF_THE_TABLE), **options).search()
    assert (result.counterexample, result.stuck, result.complete) == (None, None, True)
    assert (result.states, result.edges) == (line["states"], line["steps"])


def assert_no_rule_breaks(line: Mapping[str, Any], **options: Any) -> None:
    """Repeat a search of the engine, which is complete and finds nothing, with the counts of the page."""
    result = search_engine(**_bounds(line, OF_THE_ENGINE), **options)
    assert (result.counterexample, result.complete) == (None, True)
    assert (result.states, result.edges) == (line["states"], line["steps"])


def _bounds(line: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in line.items() if name not in ("states", "steps")}
