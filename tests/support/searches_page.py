"""Reads the tables of ``docs/searches.md``."""

from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "searches.md"
VALUES = {"yes": True, "no": False, "any": None, "refuse": "refuse", "ask": "ask"}


def lines_of(heading: str) -> list[Any]:
    """Return each line of the table under ``heading`` as a parameter; its last column says when it runs."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    found = []
    for cells in table[2:]:
        *numbers, when = (cell.strip() for cell in cells)
        values = [VALUES[text] if text in VALUES else int(text.replace(",", "")) for text in numbers]
        assert when in ("always", "nightly")
        marks = [pytest.mark.nightly] if when == "nightly" else []
        found.append(pytest.param(*values, marks=marks, id="-".join(numbers[:-2])))
    return found
