"""The searches of the engine with takeovers and final errors at once, and the faults that they find."""

from typing import Any

import pytest

from idemproof.conformance.search.engine_explorer import search_engine
from idemproof.reference.attempt import Attempt
from idemproof.reference.engine import Engine
from idemproof.spec.events import ASK, REFUSE
from searches_page import lines_of

pytestmark = pytest.mark.once


@pytest.mark.clause("INV-10", "TAKE-5", "TAKE-6", "FIN-1")
@pytest.mark.parametrize(
    ("policy", "clients", "faults", "deaths", "interrupts", "calls", "seconds", "states", "edges"),
    lines_of("Takeovers and final errors in the engine"),
)
def test_no_effect_happens_twice_and_every_final_error_is_stored(
    policy: str,
    clients: int,
    faults: int,
    deaths: int,
    interrupts: int,
    calls: int,
    seconds: int,
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
        policy=policy,
        final_errors=True,
    )
    assert (result.counterexample, result.complete) == (None, True)
    assert (result.states, result.edges) == (states, edges)


class AbandonsFinalErrors(Engine):
    """A final error leaves the key to the next call, as any other error does (FIN-1)."""

    def _is_final(self, attempt: Attempt) -> bool:
        return False


class AsksAgainAfterAFinalError(Engine):
    """A final error is no answer to a question (TAKE-5)."""

    def _is_final(self, attempt: Attempt) -> bool:
        return super()._is_final(attempt) and not attempt.asks


@pytest.mark.parametrize(
    ("wrong", "policy", "bounds"),
    [
        (AbandonsFinalErrors, ASK, {}),
        (AbandonsFinalErrors, REFUSE, {}),
        (AsksAgainAfterAFinalError, ASK, {"crashes": 1}),
    ],
)
def test_a_wrong_engine_is_found(wrong: type[Engine], policy: str, bounds: dict[str, Any]) -> None:
    given = {"clients": 1, "faults": 0, "crashes": 0, "calls": 2, "ticks": 3} | bounds
    found = search_engine(**given, engine=wrong, policy=policy, final_errors=True).counterexample
    assert found is not None
    assert "FIN-1" in {name.split()[0] for name in found.broken}
