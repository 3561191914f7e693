"""An attempt that has outlived its lease cannot change the record of the next owner."""

from typing import Any

import pytest

from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyLeaseLostError

pytestmark = pytest.mark.once

late_outcomes = pytest.mark.parametrize(
    "outcome", ["late", ValueError("late")], ids=["returns late", "raises late"]
)


@pytest.mark.clause("INV-2", "INV-4", "ENG-8")
@late_outcomes
def test_a_late_run_spares_the_result_of_the_next_owner(store: Any, outcome: Any) -> None:
    slow = store.begin(outcome)
    store.outlast_lease()
    winner = store.protect("won")
    assert winner() == "won"
    record = store.record()
    if isinstance(outcome, Exception):
        with pytest.raises(ValueError, match="late") as raised:
            slow.finish()
        assert raised.value is outcome
    else:
        assert slow.finish() == "won"  # one answer for all
    assert store.record() == record
    third = store.protect("again")
    assert third() == "won"
    assert (winner.runs, third.runs) == (1, 0)


@pytest.mark.clause("INV-3", "ENG-1", "ENG-9")
@late_outcomes
def test_a_late_run_spares_the_claim_of_the_next_owner(store: Any, outcome: Any) -> None:
    slow = store.begin(outcome)
    store.outlast_lease()
    winner = store.begin("won")
    record = store.record()
    with pytest.raises(
        type(outcome) if isinstance(outcome, Exception) else IdempotencyLeaseLostError
    ) as raised:
        slow.finish()
    assert raised.value is outcome or raised.value.result == outcome
    assert store.record() == record
    third = store.protect("again")
    with pytest.raises(IdempotencyAlreadyInProgressError):
        third()
    assert winner.finish() == "won"
    assert third() == "won"
    assert third.runs == 0


def test_a_late_run_without_a_successor_still_counts(store: Any) -> None:
    slow = store.begin("late")
    store.outlast_lease()
    assert slow.finish() == "late"
    third = store.protect("again")
    assert third() == "late"
    assert third.runs == 0
