"""Renewal of a claim that took over: while the question is answered, and until the claim is abandoned."""

import asyncio
from typing import Any

import pytest

from heartbeat_time import BEAT_SECONDS, LEASE_SECONDS, Seen, Time, Watched, renewing
from idemproof import NOT_DONE, Kind, current_attempt, idempotent_function
from idemproof.errors import IdempotencyLeaseLostError

BEATS = LEASE_SECONDS // BEAT_SECONDS + 1
"""How many renewals last longer than the lease."""


@pytest.mark.clause("REN-2", "REN-3", "TAKE-4", "TAKE-6")
def test_a_question_and_a_body_that_outlast_the_lease_are_renewed_until_the_claim_is_abandoned(
    time: Time,
) -> None:
    seen, store = Seen(), Watched()
    renewals: list[Any] = []
    answers: list[Any] = [NOT_DONE, RuntimeError("cannot tell")]

    def outlast_the_lease() -> None:
        for _ in range(BEATS):
            time.pass_seconds(BEAT_SECONDS)
            record: Any = seen.wait_for(Kind.RENEWED).record
            assert record.in_progress_expiry_timestamp == time.ms + LEASE_SECONDS * 1000

    def look_up(n: int) -> Any:
        outlast_the_lease()
        answer = answers.pop(0)
        if answer is NOT_DONE:
            return answer
        raise answer

    def body(n: int) -> int:
        attempt: Any = current_attempt()
        renewals.append(attempt._attempt.renewal)
        if attempt.took_over:
            outlast_the_lease()
        raise OSError(n)

    function = idempotent_function(
        body,
        data_keyword_argument="n",
        persistence_store=store,
        # A question and a body each have the longest run.
        config=renewing(time, seen, max_run_seconds=LEASE_SECONDS + BEATS * BEAT_SECONDS),
        key_prefix="fn",
        on_takeover=look_up,
    )
    for error in (OSError, OSError, RuntimeError):
        with pytest.raises(error):
            function(n=1)
    renewed = ["renewed"] * BEATS
    asked = ["took over", *renewed]
    assert seen.kinds == ["claimed", "abandoned", *asked, *renewed, "abandoned", *asked, "abandoned"]
    assert all(each.stopped for each in renewals)
    abandoned = dict(store._records)
    time.pass_seconds(1000)
    assert store._records == abandoned


def test_a_question_that_is_cancelled_says_that_the_function_did_not_run(time: Time) -> None:
    seen, store = Seen(), Watched()
    runs: list[int] = []

    async def look_up(n: int) -> Any:
        store.give_to("another", time.ms + 600_000)
        while all(pause.done() for _, pause in time._sleepers):  # noqa: ASYNC110 - until the heartbeat waits
            await asyncio.sleep(0)
        time.pass_seconds(BEAT_SECONDS)
        await asyncio.get_running_loop().create_future()

    async def body(n: int) -> None:
        runs.append(n)
        raise OSError(n)

    function = idempotent_function(
        body,
        data_keyword_argument="n",
        persistence_store=store,
        config=renewing(time, seen, cancel_when_lost=True),
        key_prefix="fn",
        on_takeover=look_up,
    )
    with pytest.raises(OSError, match="1"):
        asyncio.run(function(n=1))
    with pytest.raises(IdempotencyLeaseLostError, match="on_takeover was cancelled"):
        asyncio.run(function(n=1))
    assert runs == [1]
    assert seen.kinds[-1] == "not held"
