"""An application raises, the store fails, another attempt takes over, or several run at once."""

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
    current_attempt,
)
from idemproof.errors import IdempotencyValidationError
from idemproof.testing import MovableClock

pytestmark = pytest.mark.once


# Exceptions.


@pytest.mark.clause("HTTP-19")
@pytest.mark.parametrize("early", [True, False], ids=["before the answer", "within the answer"])
def test_an_exception_reaches_the_server_unchanged(early: bool) -> None:
    for error in (ValueError("a"), IdempotencyValidationError("the application's own"), KeyError("b")):

        async def app(scope: Any, receive: Any, send: Any, error: Exception = error) -> None:
            if not early:
                await send(START)
                await send(body(b"a", more=True))
            raise error

        store = InMemoryPersistenceLayer()
        config = IdempotencyConfig(released_errors=(KeyError,))
        exchange = Exchange(protected(app, store, config=config))
        with pytest.raises(type(error)) as raised:
            asyncio.run(exchange())
        assert raised.value is error
        assert exchange.reply.messages == []
        parked = not isinstance(error, KeyError)
        assert [record.status for record in records(store)] == ["INPROGRESS"] * parked


@pytest.mark.clause("HTTP-19")
def test_an_application_that_is_cancelled_from_inside_is_not_a_refusal() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    store = InMemoryPersistenceLayer()
    with pytest.raises(asyncio.CancelledError):
        call(protected(app, store))
    assert [record.status for record in records(store)] == ["INPROGRESS"]


# The store fails, or another attempt takes over.


class Failing(InMemoryPersistenceLayer):
    """Fails once the application has run."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False

    def _swap(self, *arguments: Any, **options: Any) -> Any:
        if self.fails:
            raise ConnectionError("no store")
        return super()._swap(*arguments, **options)

    def _load(self, *arguments: Any, **options: Any) -> Any:
        if self.fails:
            raise ConnectionError("no store")
        return super()._load(*arguments, **options)


@pytest.mark.clause("HTTP-20")
@pytest.mark.parametrize("status", [201, 503])
@pytest.mark.parametrize("chunks", [[b"done"], [b"x" * 20, b"y"]], ids=["small", "large"])
def test_an_answer_that_cannot_be_stored_is_sent(
    status: int, chunks: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing()

    async def fail() -> None:
        store.fails = True

    app = Counted(status, chunks=chunks, before=fail)
    config = IdempotencyConfig(completion_timeout_seconds=0)
    with caplog.at_level(logging.ERROR, "idemproof"):
        reply = call(protected(app, store, config=config, response_limit=10))
    assert (reply.status, reply.body, reply.complete) == (status, b"".join(chunks), True)
    assert "no store" in caplog.text


@pytest.mark.clause("HTTP-20")
def test_an_exception_is_raised_though_the_store_fails() -> None:
    store = Failing()

    async def fail() -> None:
        store.fails = True
        raise ValueError("of the application")

    with pytest.raises(ValueError, match="of the application"):
        call(protected(Counted(before=fail), store))


@pytest.mark.clause("HTTP-23")
@pytest.mark.parametrize("large", [False, True])
def test_an_attempt_that_another_has_replaced_drops_its_answer(large: bool) -> None:
    clock = MovableClock()

    async def scenario() -> None:
        store = InMemoryPersistenceLayer()
        first, second = Stages(), Stages()
        turns = [first, second]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await turns.pop(0)(scope, receive, send)

        limit = 1 if large else 1000
        middleware = protected(
            app, store, on_takeover="run", config=IdempotencyConfig(clock=clock), response_limit=limit
        )
        slow = asyncio.create_task(Exchange(middleware)())
        await first.began.wait()
        clock.advance(61)
        newer = asyncio.create_task(Exchange(middleware)())
        await second.began.wait()
        first.may_answer.set()
        lost = await slow
        assert (name_of(lost), lost.header("retry-after")) == ("lease-lost", "1")
        second.may_answer.set()
        assert (await newer).body == b"done"

    asyncio.run(scenario())


@pytest.mark.clause("HTTP-22")
def test_an_attempt_that_came_second_answers_with_the_stored_answer() -> None:
    clock = MovableClock()

    async def scenario() -> None:
        store = InMemoryPersistenceLayer()
        first, second = Stages(), Counted(202)
        turns: list[Any] = [first, second]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await turns.pop(0)(scope, receive, send)

        middleware = protected(app, store, on_takeover="run", config=IdempotencyConfig(clock=clock))
        slow = asyncio.create_task(Exchange(middleware)())
        await first.began.wait()
        clock.advance(61)
        assert (await Exchange(middleware)()).status == 202
        first.may_answer.set()
        reply = await slow
        assert (reply.status, reply.body, reply.replayed) == (202, b"run 1", True)

    asyncio.run(scenario())


# Estimates, waiting, concurrency.


@pytest.mark.clause("HTTP-23")
def test_the_estimate_comes_from_earlier_runs() -> None:
    async def scenario() -> None:
        clock = MovableClock()
        app = Stages()
        middleware = protected(app, config=IdempotencyConfig(clock=clock))
        durations = middleware.protection.settings.default_route.durations
        durations.add(20.0)
        task = asyncio.create_task(Exchange(middleware)())
        await app.began.wait()
        waits = []
        for passed in (0, 8, 8, 40):
            clock.advance(passed)
            waits.append((await Exchange(middleware)()).header("retry-after"))
        assert waits == ["20", "12", "4", "1"]
        app.may_answer.set()
        await task
        durations._typical = 500.0
        assert durations.retry_after() == 60

    asyncio.run(scenario())


@pytest.mark.clause("HTTP-26")
def test_requests_wait_if_they_are_configured_to() -> None:
    async def scenario() -> None:
        app = Stages()
        middleware = protected(app, config=IdempotencyConfig(wait_for_in_progress_seconds=30))
        requests = [asyncio.create_task(Exchange(middleware)()) for _ in range(4)]
        await app.began.wait()
        app.may_answer.set()
        replies = await asyncio.gather(*requests)
        assert {reply.body for reply in replies} == {b"done"}
        assert sorted(reply.replayed for reply in replies) == [False, True, True, True]
        assert app.runs == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("layer", [InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer])
def test_of_many_requests_at_once_one_runs(layer: Callable[[], Any]) -> None:
    async def scenario() -> None:
        app = Counted()
        middleware = protected(app, layer())
        replies = await asyncio.gather(*(Exchange(middleware)() for _ in range(50)))
        assert app.runs == 1
        assert {reply.status for reply in replies} <= {201, 409}
        assert not middleware._tasks

    asyncio.run(scenario())


def test_the_application_knows_its_attempt() -> None:
    keys = []

    async def note() -> None:
        keys.append(current_attempt().key)

    middleware = protected(Counted(before=note), service="shop")
    call(middleware)
    assert keys[0].startswith("shop#http:")
