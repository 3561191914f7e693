"""The search of the engine with bodies that raise final errors: its counts, and the faults that it finds."""

from pathlib import Path
from typing import Any

import pytest

from idemproof.conformance.search.engine_explorer import search_engine
from idemproof.reference.attempt import Attempt
from idemproof.reference.engine import Engine
from idemproof.reference.final_errors import FinalErrors

pytestmark = pytest.mark.once

PAGE = Path(__file__).parents[2] / "docs" / "searches.md"


def lines() -> list[Any]:
    """Return each line of the table as a parameter; its last column says when it runs."""
    text = PAGE.read_text(encoding="utf-8").split("## Final errors in the engine\n")[1].split("\n## ")[0]
    table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    found = []
    for cells in table[2:]:
        *numbers, when = (cell.strip() for cell in cells)
        values = [None if text == "any" else int(text.replace(",", "")) for text in numbers]
        marks = [pytest.mark.nightly] if when == "nightly" else []
        found.append(pytest.param(*values, marks=marks, id="-".join(numbers[:-2])))
    return found


@pytest.mark.clause("FIN-1", "INV-4", "INV-5", "ENG-8", "ENG-12", "OBS-1")
@pytest.mark.parametrize(
    ("clients", "faults", "deaths", "interrupts", "outages", "calls", "seconds", "states", "edges"), lines()
)
def test_no_rule_breaks_in_the_engine_with_final_errors(
    clients: int,
    faults: int,
    deaths: int,
    interrupts: int,
    outages: int,
    calls: int | None,
    seconds: int | None,
    states: int,
    edges: int,
) -> None:
    result = search_engine(
        clients,
        faults,
        deaths,
        calls=calls,
        ticks=seconds,
        interrupts=interrupts,
        outages=outages,
        final_errors=True,
    )
    assert (result.counterexample, result.complete) == (None, True)
    assert (result.states, result.edges) == (states, edges)


class ReleasesFinalErrors(Engine):
    """A final error releases the key (FIN-1)."""

    def _is_final(self, attempt: Attempt) -> bool:
        return False


class RaisesItsOwnError(Engine):
    """A superseded attempt raises its own final error (ENG-8)."""

    def _finish(self, attempt: Attempt) -> Any:
        error = attempt.failure
        answer = yield from super()._finish(attempt)
        if error is not None:
            raise error
        return answer


class ChangesErrors(Engine):
    """A replayed error has other arguments (FIN-3)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answers._finals = OtherErrors(self._config.final_errors)


class OtherErrors(FinalErrors):
    def rebuild(self, text: str, key: str) -> Exception:
        return type(super().rebuild(text, key))("another")


@pytest.mark.parametrize(
    ("wrong", "clauses", "length"),
    [
        (ReleasesFinalErrors, {"FIN-1"}, 4),
        (RaisesItsOwnError, {"FIN-1", "INV-4"}, 11),
        (ChangesErrors, {"FIN-1", "INV-4"}, 6),
    ],
)
def test_a_wrong_engine_is_found(wrong: type[Engine], clauses: set[str], length: int) -> None:
    found = search_engine(faults=0, crashes=0, final_errors=True, engine=wrong).counterexample
    assert found is not None
    assert clauses <= {name.split()[0] for name in found.broken}
    assert len(found.timeline) == length
