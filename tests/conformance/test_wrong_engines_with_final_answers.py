"""The search finds engines that treat final errors wrongly where calls ask or refuse."""

from typing import Any

import pytest

from idemproof.conformance.search.engine_explorer import search_engine
from idemproof.reference.attempt import Attempt
from idemproof.reference.engine import Engine
from idemproof.spec.events import ASK, REFUSE

pytestmark = pytest.mark.once


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
