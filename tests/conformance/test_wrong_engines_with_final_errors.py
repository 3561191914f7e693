"""The search finds engines that treat final errors wrongly."""

from typing import Any

import pytest

from idemproof.conformance.search.engine_explorer import search_engine
from idemproof.reference.attempt import Attempt
from idemproof.reference.engine import Engine
from idemproof.reference.final_errors import FinalErrors

pytestmark = pytest.mark.once


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
