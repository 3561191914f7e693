"""The client leaves, the server cancels, or the process stops, while an application runs under a key."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from asgi_calls import START, Counted, Exchange, Stages, body, call, name_of, protected, records
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
)
from idemproof.errors import IdempotencyConfigError

pytestmark = pytest.mark.once


@pytest.mark.clause("HTTP-13")
@pytest.mark.parametrize("layer", [InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer])
def test_a_client_that_leaves_is_not_noticed_and_gets_its_answer_later(layer: Callable[[], Any]) -> None:
    async def scenario() -> None:
        app = Stages()
        middleware = protected(app, layer())
        first = Exchange(middleware)
        request = asyncio.create_task(first())
        await app.began.wait()
        first.disconnect()
        second = await Exchange(middleware)()
        assert (name_of(second), second.header("retry-after")) == ("in-progress", "1")
        app.may_answer.set()
        await request
        assert app.after == ["http.disconnect"]
        repeat = await Exchange(middleware)()
        assert (repeat.body, repeat.replayed, app.runs) == (b"done", True, 1)

    asyncio.run(scenario())


@pytest.mark.clause("HTTP-13")
def test_a_poll_for_the_disconnection_finds_none() -> None:
    polled = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        poll = asyncio.ensure_future(receive())
        for _ in range(10):
            await asyncio.sleep(0)
        polled.append(poll.done())
        await send(START)
        await send(body(b"done"))
        polled.append((await poll)["type"])

    async def scenario() -> None:
        exchange = Exchange(protected(app))
        task = asyncio.create_task(exchange())
        exchange._incoming.put_nowait({"type": "http.disconnect"})
        await task

    asyncio.run(scenario())
    assert polled == [False, "http.disconnect"]


@pytest.mark.clause("HTTP-13")
def test_a_request_that_the_server_cancels_goes_on() -> None:
    async def scenario() -> None:
        app = Stages()
        middleware = protected(app)
        request = asyncio.create_task(Exchange(middleware)())
        await app.began.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert not app.cancelled
        app.may_answer.set()
        await middleware.drain()
        repeat = await Exchange(middleware)()
        assert (repeat.replayed, app.runs, app.after) == (True, 1, ["http.disconnect"])

    asyncio.run(scenario())


@pytest.mark.clause("HTTP-13")
def test_a_failure_after_the_server_has_cancelled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        began, may_fail = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            began.set()
            await may_fail.wait()
            raise ValueError("late")

        middleware = protected(app)
        request = asyncio.create_task(Exchange(middleware)())
        await began.wait()
        request.cancel()
        await asyncio.wait({request})
        may_fail.set()
        await middleware.drain()
        await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR, "idemproof"):
        asyncio.run(scenario())
    assert "late" in caplog.text


@pytest.mark.clause("HTTP-13")
@pytest.mark.parametrize("policy", ["refuse", "run"])
def test_a_shutdown_waits_and_then_abandons(policy: Any) -> None:
    async def scenario() -> list[Any]:
        store = InMemoryPersistenceLayer()
        app = Stages()
        finished = Stages()
        routes = {"/slow": app, "/quick": finished}
        closed = []

        async def both(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                assert (await receive())["type"] == "lifespan.startup"
                assert (await receive())["type"] == "lifespan.shutdown"
                closed.append((finished.after, app.cancelled))
                return
            await routes[scope["path"]](scope, receive, send)

        middleware = protected(both, store, on_takeover=policy, shutdown_seconds=0.05)
        requests = [
            asyncio.create_task(Exchange(middleware, path=path, key=f'"{path}"')()) for path in routes
        ]
        await app.began.wait()
        await finished.began.wait()
        finished.may_answer.set()
        lifespan = Exchange(middleware, type="lifespan")
        lifespan._incoming.get_nowait()
        for kind in ("lifespan.startup", "lifespan.shutdown"):
            lifespan._incoming.put_nowait({"type": kind})
        await lifespan()
        assert closed == [(["http.disconnect"], True)]
        ends = await asyncio.gather(*requests, return_exceptions=True)
        assert isinstance(ends[0], asyncio.CancelledError)
        assert ends[1].body == b"done"
        return sorted(record.status for record in records(store))

    found = asyncio.run(scenario())
    assert found == (["COMPLETED", "INPROGRESS"] if policy == "refuse" else ["COMPLETED"])


@pytest.mark.clause("HTTP-13")
def test_a_shutdown_cancels_background_work_that_does_not_end() -> None:
    ends = []
    began = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"done"))
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def scenario() -> None:
        middleware = protected(app, shutdown_seconds=0.01)
        exchange = Exchange(middleware)
        request = asyncio.create_task(exchange())
        await began.wait()
        assert exchange.reply.complete
        await middleware.drain()
        await asyncio.wait({request})
        assert (await Exchange(middleware)()).replayed

    asyncio.run(scenario())
    assert ends == ["cancelled"]


def test_an_answer_of_a_client_that_left_is_kept() -> None:
    async def scenario() -> None:
        app = Stages()
        middleware = protected(app)
        exchange = Exchange(middleware)
        task = asyncio.create_task(exchange())
        await app.began.wait()
        exchange.gone = True  # its server raises on send
        app.may_answer.set()
        await task
        assert (await Exchange(middleware)()).body == b"done"

    asyncio.run(scenario())


@pytest.mark.clause("HTTP-15")
def test_an_application_that_waits_for_the_disconnection_ends() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(body(b"done"))
        assert (await receive())["type"] == "http.disconnect"

    for when in ("response", "app"):
        assert call(protected(app, complete_when=when)).body == b"done"


@pytest.mark.clause("HTTP-13")
def test_a_lost_claim_can_cancel_the_application() -> None:
    async def scenario() -> None:
        store = InMemoryPersistenceLayer()
        app = Stages()
        config = IdempotencyConfig(
            in_progress_expires_after_seconds=0.5, renew_lease=True, cancel_when_lost=True
        )
        middleware = protected(app, store, config=config)
        request = asyncio.create_task(Exchange(middleware)())
        await app.began.wait()
        store._records.clear()
        reply = await asyncio.wait_for(request, 30)
        assert (name_of(reply), app.cancelled) == ("lease-lost", True)

    asyncio.run(scenario())


def test_other_event_loops_are_refused() -> None:
    exchange = Exchange(protected(Counted()))
    steps = exchange()
    exchange._incoming = asyncio.Queue()

    class Ready:
        async def get(self) -> Any:
            return {"type": "http.request", "body": b""}

    exchange._incoming = Ready()  # type: ignore[assignment]  # it needs no event loop
    with pytest.raises(IdempotencyConfigError, match="asyncio"):
        steps.send(None)
