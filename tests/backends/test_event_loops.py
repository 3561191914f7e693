"""Each event loop has one client, which is opened once, closed with its loop, and never used by another."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from idemproof.drivers.event_loops import ClientPerLoop


class Client:
    def __init__(self, number: int) -> None:
        self.number = number
        self.loop = asyncio.get_running_loop()
        self.open = True


class Connecting:
    """Returns clients or raises errors as configured, and records all clients."""

    def __init__(self) -> None:
        self.tries = 0
        self.clients: list[Client] = []
        self.failures: list[BaseException] = []
        self.closing: list[BaseException] = []

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Client]:
        self.tries += 1
        await self.connect()
        client = Client(self.tries)
        self.clients.append(client)
        try:
            yield client
        finally:
            await asyncio.sleep(0)
            assert client.loop is asyncio.get_running_loop()
            assert client.open
            client.open = False
            if self.closing:
                raise self.closing.pop()

    async def connect(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)

    @property
    def open(self) -> list[int]:
        return [client.number for client in self.clients if client.open]


@pytest.fixture
def connecting() -> Connecting:
    return Connecting()


@pytest.fixture
def clients(connecting: Connecting) -> ClientPerLoop:
    return ClientPerLoop(connecting)


def test_no_client_is_opened_before_the_first_request(clients: ClientPerLoop, connecting: Connecting) -> None:
    async def main() -> None:
        await clients.close()

    asyncio.run(main())
    assert connecting.tries == 0


def test_many_tasks_share_one_client(clients: ClientPerLoop, connecting: Connecting) -> None:
    async def main() -> None:
        got = await asyncio.gather(*(clients.get() for _ in range(50)))
        assert set(got) == {await clients.get()}
        assert connecting.open == [1]

    asyncio.run(main())
    assert connecting.tries == 1


def test_the_client_is_closed_when_its_loop_shuts_down_and_the_next_loop_gets_another(
    clients: ClientPerLoop, connecting: Connecting
) -> None:
    for number in (1, 2, 3):
        assert asyncio.run(clients.get()).number == number
        assert connecting.open == []
    assert len(connecting.clients) == 3


def test_loops_of_two_threads_have_clients_of_their_own(
    clients: ClientPerLoop, connecting: Connecting
) -> None:
    meeting = threading.Barrier(2, timeout=60)
    seen: list[tuple[Client, Client]] = []

    async def main() -> None:
        first = await clients.get()
        meeting.wait()
        seen.append((first, await clients.get()))
        assert first.loop is asyncio.get_running_loop()
        meeting.wait()
        assert first.open

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [first is again for first, again in seen] == [True, True]
    assert len({first for first, _ in seen}) == 2
    assert connecting.open == []


def test_the_first_request_after_closing_gets_a_new_client(
    clients: ClientPerLoop, connecting: Connecting
) -> None:
    async def main() -> None:
        first = await clients.get()
        await clients.close()
        assert not first.open
        await clients.close()
        second = await clients.get()
        assert second is not first
        assert second.open

    asyncio.run(main())
    assert connecting.tries == 2
    assert connecting.open == []


def test_a_failure_to_connect_is_raised_and_tried_again_by_the_next(
    clients: ClientPerLoop, connecting: Connecting
) -> None:
    async def main() -> None:
        connecting.failures = [OSError("first"), OSError("second")]
        for name in ("first", "second"):
            with pytest.raises(OSError, match=name):
                await clients.get()
        assert (await clients.get()).number == 3

    asyncio.run(main())
    assert connecting.open == []


def test_a_failure_to_open_reaches_only_one_of_many_waiting_requests(
    clients: ClientPerLoop, connecting: Connecting
) -> None:
    async def main() -> None:
        connecting.failures = [OSError("down")]
        got = await asyncio.gather(*(clients.get() for _ in range(10)), return_exceptions=True)
        assert [type(one) for one in got] == [OSError] + [Client] * 9
        assert len(set(got)) == 2

    asyncio.run(main())
    assert connecting.tries == 2
    assert connecting.open == []


@pytest.mark.parametrize("ending", ["failure", "cancellation"])
def test_who_comes_while_the_next_is_connecting_after_a_failure_shares_its_client(
    clients: ClientPerLoop, connecting: Connecting, ending: str
) -> None:
    async def main() -> None:
        gates = [asyncio.Event(), asyncio.Event()]
        failing = iter([True, False])

        async def connect() -> None:
            fails = next(failing, False)
            await gates[min(connecting.tries, 2) - 1].wait()
            if fails:
                raise OSError("down")

        connecting.connect = connect  # type: ignore[method-assign]
        first = asyncio.create_task(clients.get())
        await asyncio.sleep(0)
        second = asyncio.create_task(clients.get())
        await asyncio.sleep(0)
        first.cancel() if ending == "cancellation" else gates[0].set()
        with pytest.raises((OSError, asyncio.CancelledError)):
            await first
        for _ in range(5):
            await asyncio.sleep(0)
        assert connecting.tries == 2
        third = asyncio.create_task(clients.get())
        for _ in range(5):
            await asyncio.sleep(0)
        gates[1].set()
        assert await second is await third
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (await second).open

    asyncio.run(main())
    assert connecting.tries == 2
    assert connecting.open == []


def test_a_failure_to_close_is_raised_and_the_next_request_gets_a_new_client(
    clients: ClientPerLoop, connecting: Connecting
) -> None:
    async def main() -> None:
        await clients.get()
        connecting.closing = [OSError("broken")]
        with pytest.raises(OSError, match="broken"):
            await clients.close()
        assert (await clients.get()).number == 2

    asyncio.run(main())


@pytest.mark.parametrize("connected", [True, False])
def test_a_loop_that_was_closed_without_shutting_down_is_forgotten(
    clients: ClientPerLoop, connecting: Connecting, connected: bool
) -> None:
    loop = asyncio.new_event_loop()
    if connected:
        loop.run_until_complete(clients.get())
    else:
        task = loop.create_task(clients.get())
        loop.run_until_complete(asyncio.sleep(0))
        assert connecting.tries == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        del task
    loop.close()
    gone = weakref.ref(loop)
    del loop
    asyncio.run(clients.get())
    connecting.clients.clear()
    gc.collect()
    assert gone() is None


def test_the_client_outlives_the_task_that_opened_it(clients: ClientPerLoop, connecting: Connecting) -> None:
    async def main() -> None:
        opened = await asyncio.create_task(clients.get())
        gc.collect()
        await asyncio.sleep(0)
        assert opened.open
        assert await asyncio.create_task(clients.get()) is opened

    asyncio.run(main())
    assert connecting.tries == 1


def test_a_runner_keeps_the_client_between_its_runs(clients: ClientPerLoop, connecting: Connecting) -> None:
    with asyncio.Runner() as runner:
        first: Any = runner.run(clients.get())
        assert runner.run(clients.get()) is first
        assert first.open
    assert not first.open


def test_two_tasks_that_close_at_the_same_time_close_once(
    clients: ClientPerLoop, connecting: Connecting
) -> None:
    async def use() -> None:
        await clients.get()
        await asyncio.gather(clients.close(), clients.close())

    asyncio.run(use())
    assert (connecting.tries, connecting.open) == (1, [])
