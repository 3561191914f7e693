"""Outcomes of races in words."""

import pytest

from idemproof.conformance.harness.linearizability import Operation, Put, Refused
from idemproof.conformance.harness.race_traces import outcome_in_words
from idemproof.spec.commands import Swap
from idemproof.spec.record import COMPLETED, INPROGRESS, Record

NOW = 100_000
OLD = Record("key", COMPLETED, 50, response_data='"done"', owner="alice")
CLAIMS = [Record("key", INPROGRESS, 500, 200_000, owner=owner) for owner in ("bob", "carol")]


def refused(by_swaps: bool, current: Record) -> list[Operation]:
    return [
        Operation(
            f"client {number}",
            2 * number,
            2 * number + 1,
            NOW,
            Swap("key", current, claim, 1) if by_swaps else Put(claim),
            current if by_swaps else Refused(current),
        )
        for number, claim in enumerate(CLAIMS, 1)
    ]


@pytest.mark.parametrize("by_swaps", [True, False])
def test_refusals_because_of_an_expired_record_are_described_as_such(by_swaps: bool) -> None:
    assert outcome_in_words(refused(by_swaps, OLD), OLD) == (
        "The stored result had expired, so one of the callers had to get its key; "
        'but client 1 and client 2 were all refused. Finally stored: COMPLETED of alice: "done".'
    )
    lapsed = Record("key", INPROGRESS, 500, 50_000, owner="alice")
    assert outcome_in_words(refused(by_swaps, lapsed), lapsed).startswith("The stored claim had expired")


def test_refusals_because_of_a_live_record_are_described_as_not_linearizable() -> None:
    alive = OLD._replace(expiry_timestamp=500)
    assert "not linearizable" in outcome_in_words(refused(by_swaps=False, current=alive), alive)
    one = refused(by_swaps=True, current=OLD)
    one[0] = one[0]._replace(answer=CLAIMS[0])
    assert "not linearizable" in outcome_in_words(one, CLAIMS[0])
