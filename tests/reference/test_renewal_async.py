"""Renewal beside async functions, and what ``cancel_when_lost`` does."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from heartbeat_time import (
    BEAT_SECONDS,
    LEASE_SECONDS,
    WATCHDOG_SECONDS,
    Seen,
    Time,
    Watched,
    protect,
    renewing,
)
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    Kind,
    current_attempt,
)
from idemproof.drivers import heartbeat_tasks
from idemproof.errors import IdempotencyConfigError, IdempotencyLeaseLostError
from idemproof.spec.record import COMPLETED


async def until(holds: Callable[[], Any]) -> None:
    """Let other tasks and threads go on until something holds."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + WATCHDOG_SECONDS
    while not holds():
        assert loop.time() < latest
        await asyncio.sleep(0)


async def beat(time: Time, seen: Seen, kind: Kind, seconds: float = BEAT_SECONDS) -> None:
    """Let a renewal be due, and wait for what comes of it."""
    before = len(seen.all)
    await until(lambda: time._sleepers)
    time.pass_seconds(seconds)
    await until(lambda: any(each.kind is kind for each in seen.all[before:]))


@pytest.mark.clause("REN-1", "REN-6")
@pytest.mark.parametrize("layer", [Watched, AsyncInMemoryPersistenceLayer])
def test_a_lease_is_renewed_beside_an_async_body(layer: Any, time: Time, seen: Seen) -> None:
    async def body(n: int) -> int:
        attempt = current_attempt()
        assert attempt is not None
        for _ in range(5):
            await beat(time, seen, Kind.RENEWED)
            assert attempt.lease_ends_at == time.ms + LEASE_SECONDS * 1000
        time.pass_seconds(5)
        await attempt.arenew()
        assert attempt.remaining_ms() == LEASE_SECONDS * 1000
        with pytest.raises(IdempotencyConfigError, match=r"await arenew\(\)"):
            attempt.renew()
        return n

    assert asyncio.run(protect(body, layer(), renewing(time, seen))(n=1)) == 1
    assert seen.kinds == ["claimed", *["renewed"] * 6, "completed"]


def losing(time: Time, seen: Seen, store: Watched, log: list[str]) -> Callable[[int], Awaitable[int]]:
    """Return a body that loses its claim, and would then wait without end."""

    async def body(n: int) -> int:
        store.give_to("another", time.ms + 60_000)
        await until(lambda: time._sleepers)
        time.pass_seconds(BEAT_SECONDS)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
        return n

    return body


@pytest.mark.clause("REN-5")
def test_a_body_is_cancelled_when_its_claim_is_lost_and_the_error_has_a_name(
    time: Time, seen: Seen, store: Watched
) -> None:
    log: list[str] = []
    function = protect(losing(time, seen, store, log), store, renewing(time, seen, cancel_when_lost=True))

    async def main() -> None:
        with pytest.raises(IdempotencyLeaseLostError, match="It may have run in part") as lost:
            await function(n=1)
        assert isinstance(lost.value.__cause__, asyncio.CancelledError)
        assert not lost.value.function_returned
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        async with asyncio.timeout(WATCHDOG_SECONDS):  # the task can still be cancelled as usual
            await asyncio.sleep(0)

    asyncio.run(main())
    assert log == ["cancelled"]
    assert seen.kinds[-1] == "not held"
    assert [record.owner for record in store._records.values()] == ["another"]


def test_a_lost_claim_cancels_nothing_unless_it_is_asked_for(time: Time, seen: Seen, store: Watched) -> None:
    async def body(n: int) -> int:
        store.give_to("another", time.ms + 600_000)
        await beat(time, seen, Kind.RENEWAL_REFUSED)
        attempt = current_attempt()
        assert attempt is not None
        assert attempt.lost
        with pytest.raises(IdempotencyLeaseLostError):
            await attempt.arenew()
        return n

    with pytest.raises(IdempotencyLeaseLostError) as lost:
        asyncio.run(protect(body, store, renewing(time, seen))(n=1))
    assert lost.value.result == 1


def test_a_cancellation_from_outside_stays_a_cancellation(time: Time, seen: Seen, store: Watched) -> None:
    log: list[str] = []
    function = protect(losing(time, seen, store, log), store, renewing(time, seen, cancel_when_lost=True))

    async def main() -> None:
        task = asyncio.ensure_future(function(n=1))
        await until(lambda: "renewal refused" in seen.kinds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_body_that_swallows_its_cancellation_ends_as_any_other(
    time: Time, seen: Seen, store: Watched
) -> None:
    async def body(n: int) -> int:
        store.give_to("another", time.ms + 600_000)
        await until(lambda: time._sleepers)
        time.pass_seconds(BEAT_SECONDS)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return n
        return -1

    async def main() -> None:
        with pytest.raises(IdempotencyLeaseLostError) as lost:
            await protect(body, store, renewing(time, seen, cancel_when_lost=True))(n=4)
        assert lost.value.result == 4
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(main())


def test_a_body_is_cancelled_when_its_lease_ends_because_the_store_is_away(
    time: Time, seen: Seen, store: Watched
) -> None:
    async def body(n: int) -> int:
        store.failing = True
        while True:
            await until(lambda: time._sleepers)
            time.pass_seconds(BEAT_SECONDS)

    async def main() -> None:
        with pytest.raises(IdempotencyLeaseLostError, match="was cancelled"):
            await protect(body, store, renewing(time, seen, cancel_when_lost=True))(n=1)

    asyncio.run(main())
    assert seen.kinds.count("renewal failed") == 1
    assert not store._records, "the claim was its own, and is released"


def test_a_body_is_cancelled_at_the_end_of_the_longest_run(time: Time, seen: Seen, store: Watched) -> None:
    began = time.ms

    async def body(n: int) -> int:
        while True:
            await until(lambda: time._sleepers)
            time.pass_seconds(1)
            await asyncio.sleep(0)

    async def main() -> None:
        config = renewing(time, seen, cancel_when_lost=True, max_run_seconds=95)
        with pytest.raises(IdempotencyLeaseLostError, match="was cancelled"):
            await protect(body, store, config)(n=1)

    asyncio.run(main())
    assert time.ms - began >= 95_000


@pytest.mark.clause("REN-3", "REN-4")
def test_a_hanging_renewal_does_not_keep_a_result_from_being_stored(
    time: Time, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def give_up(tasks: Any, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as asyncio.wait
        if timeout is None:
            await asyncio.wait(tasks)
        else:
            waited.append(timeout)

    class Hangs(AsyncInMemoryPersistenceLayer):
        hangs = 0

        async def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
            if expected is not None and new is not None and new.status != COMPLETED:
                self.hangs += 1
                await asyncio.get_running_loop().create_future()
            return await super()._swap(key, expected, new, ttl_ms)

    monkeypatch.setattr(heartbeat_tasks, "wait", give_up)
    layer = Hangs()

    async def body(n: int) -> int:
        await until(lambda: time._sleepers)
        time.pass_seconds(BEAT_SECONDS)
        await until(lambda: layer.hangs)
        return n

    assert asyncio.run(protect(body, layer, renewing(time, seen))(n=1)) == 1
    assert waited == [LEASE_SECONDS / 10]
    assert [record.status for record in layer._layer._records.values()] == [COMPLETED]


def test_nothing_is_left_behind_in_a_loop_that_is_closed_at_once(
    time: Time, seen: Seen, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    function = protect(answer, AsyncInMemoryPersistenceLayer(), renewing(time, seen))
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(function(n=1)) == 1
    assert not asyncio.all_tasks(loop)
    loop.close()
    gc.collect()
    assert (list(recwarn), caplog.messages) == ([], [])


async def answer(n: int) -> int:
    return n


def test_a_loop_that_ends_during_the_body_ends_its_renewal(time: Time, seen: Seen, store: Watched) -> None:
    async def body(n: int) -> int:
        await until(lambda: time._sleepers)
        await asyncio.get_running_loop().create_future()
        return n

    async def main() -> None:
        asyncio.ensure_future(protect(body, store, renewing(time, seen))(n=1))  # noqa: RUF006 - the loop ends
        await until(lambda: time._sleepers)

    asyncio.run(main())
    assert not store._records


def test_tasks_of_the_body_and_threads_see_its_attempt(time: Time, seen: Seen, store: Watched) -> None:
    async def body(n: int) -> int:
        attempt = current_attempt()
        assert attempt is not None

        async def inner() -> str:
            await asyncio.sleep(0)
            found = current_attempt()
            return "" if found is None else found.owner

        owners = {*await asyncio.gather(inner(), inner()), await asyncio.to_thread(owner_here)}
        assert owners == {attempt.owner}
        bare: list[Any] = []
        thread = threading.Thread(target=lambda: bare.append(current_attempt()))
        thread.start()
        thread.join()
        assert bare == [None] or bare[0].owner == attempt.owner  # Python 3.14 may hand contexts on to threads
        return n

    async def main() -> None:
        function = protect(body, store, renewing(time, seen))
        assert await asyncio.gather(*(function(n=n) for n in range(20))) == list(range(20))
        assert current_attempt() is None

    asyncio.run(main())


def owner_here() -> str:
    found = current_attempt()
    return "" if found is None else found.owner
