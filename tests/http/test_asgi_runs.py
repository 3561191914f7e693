"""The run of an application under a key: disconnections, streams, exceptions, stores that fail."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from asgi_calls import Counted, Exchange, Reply, call
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    current_attempt,
)
from idemproof.errors import IdempotencyConfigError, IdempotencyValidationError
from idemproof.http import IdempotencyMiddleware, Route
from idemproof.testing import MovableClock

pytestmark = pytest.mark.once

START = {"type": "http.response.start", "status": 201, "headers": []}


def protected(app: Any, store: Any = None, **options: Any) -> Any:
    layer = InMemoryPersistenceLayer() if store is None else store
    return IdempotencyMiddleware(app, persistence_store=layer, **options)


def name_of(reply: Reply) -> str:
    name: str = json.loads(reply.body)["type"].removeprefix("urn:idemproof:http:")
    return name


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def records(store: Any) -> list[Any]:
    return list(getattr(store, "_layer", store)._records.values())


class Stages:
    """An application that stops between its messages until it is allowed to go on."""

    def __init__(self) -> None:
        self.runs = 0
        self.began = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.after: list[str] = []
        self.cancelled = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        await receive()
        self.began.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await send(START)
        await send(body(b"done"))
        self.after.append((await receive())["type"])


# The client leaves, the server cancels, the process stops.


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


# When an answer is stored and sent.


@pytest.mark.clause("HTTP-14", "HTTP-15")
@pytest.mark.parametrize("layer", [InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer])
def test_store_then_send_then_go_on(layer: Callable[[], Any]) -> None:
    store = layer()
    seen: list[Any] = []

    async def scenario() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await send(body(b"a", more=True))
            seen.append(("streaming", [record.status for record in records(store)], exchange.reply.messages))
            await send(body(b"b"))
            seen.append(("after", [record.status for record in records(store)], exchange.reply.body))

        exchange = Exchange(protected(app, store))
        await exchange()

    asyncio.run(scenario())
    assert seen[0][:2] == ("streaming", ["INPROGRESS"])
    assert seen[1] == ("after", ["COMPLETED"], b"ab")


@pytest.mark.clause("HTTP-14")
def test_nothing_is_sent_while_it_streams() -> None:
    sent: list[int] = []

    async def scenario() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            for _ in range(3):
                await send(body(b"a", more=True))
                sent.append(len(exchange.reply.messages))
            await send(body(b""))

        exchange = Exchange(protected(app))
        assert (await exchange()).body == b"aaa"

    asyncio.run(scenario())
    assert sent == [0, 0, 0]


@pytest.mark.clause("HTTP-15")
def test_an_answer_can_wait_for_the_end_of_the_application() -> None:
    committed: list[str] = []

    def make(error: Exception | None) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await send(body(b"done"))
            committed.append("tried")
            if error is not None:
                raise error

        return app

    store = InMemoryPersistenceLayer()
    failing = protected(make(ValueError("commit")), store, complete_when="app", on_takeover="run")
    with pytest.raises(ValueError, match="commit"):
        call(failing)
    assert records(store) == []
    working = protected(make(None), store, routes=[Route("/orders", complete_when="app")])
    assert [call(working).body for _ in range(2)] == [b"done"] * 2
    assert committed == ["tried", "tried"]


@pytest.mark.clause("HTTP-15", "HTTP-19")
def test_what_a_background_task_raises_reaches_the_server_and_keeps_the_answer() -> None:
    error = ValueError("background")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"done"))
        raise error

    middleware = protected(app)
    exchange = Exchange(middleware)
    with pytest.raises(ValueError, match="background") as raised:
        asyncio.run(exchange())
    assert raised.value is error
    assert exchange.reply.body == b"done"
    assert call(middleware).replayed


@pytest.mark.clause("HTTP-15")
def test_a_task_of_the_application_may_send_its_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with asyncio.TaskGroup() as group:
            await send(START)
            group.create_task(send(body(b"done")))

    middleware = protected(app)
    assert [call(middleware).body for _ in range(2)] == [b"done"] * 2


class Slow(AsyncInMemoryPersistenceLayer):
    """Says when it stores an answer, and does it once it is allowed to."""

    blocks = True

    def __init__(self) -> None:
        super().__init__()
        self.completing, self.may_complete = asyncio.Event(), asyncio.Event()
        self.completions = 0

    async def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
        if new.response_data is not None:
            self.completions += 1
            self.completing.set()
            await self.may_complete.wait()
        return await super()._swap(key, expected, new, ttl_ms)


@pytest.mark.clause("HTTP-13", "HTTP-14")
@pytest.mark.parametrize("cancelled", [False, True])
def test_an_application_that_ends_before_the_task_that_answers_for_it_has_answered(cancelled: bool) -> None:
    async def scenario() -> None:
        store, ended = Slow(), asyncio.Event()
        tasks: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            tasks.extend((asyncio.current_task(), asyncio.create_task(send(body(b"done")))))
            try:
                await store.completing.wait()
                if cancelled:
                    await asyncio.Event().wait()
            finally:
                ended.set()

        middleware = protected(app, store)
        exchange = Exchange(middleware)
        request = asyncio.create_task(exchange())
        await store.completing.wait()
        if cancelled:
            tasks[0].cancel()
        await ended.wait()
        store.may_complete.set()
        with pytest.raises(asyncio.CancelledError) if cancelled else contextlib.nullcontext():
            await request
        assert (exchange.reply.body, len(exchange.reply.messages), store.completions) == (b"done", 2, 1)
        assert (await Exchange(middleware)()).replayed

    asyncio.run(scenario())


@pytest.mark.clause("HTTP-17")
def test_a_task_that_answers_after_its_application_is_not_heard() -> None:
    async def scenario() -> None:
        tasks = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            tasks.append(asyncio.create_task(send(body(b"late"))))

        exchange = Exchange(protected(app))
        assert name_of(await exchange()) == "incomplete-response"
        await tasks[0]
        assert len(exchange.reply.messages) == 2

    asyncio.run(scenario())


@pytest.mark.clause("HTTP-14", "HTTP-19")
@pytest.mark.parametrize("swallows", [False, True])
def test_an_application_whose_time_ends_while_its_answer_is_stored_has_answered(swallows: bool) -> None:
    async def scenario() -> None:
        store = Slow()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            task: Any = asyncio.current_task()
            store.completing.set = task.cancel  # type: ignore[method-assign]  # as a time limit does
            store.may_complete.set()
            await send(START)
            try:
                await send(body(b"done"))
            except asyncio.CancelledError:
                if not swallows:
                    raise TimeoutError from None

        middleware = protected(app, store)
        exchange = Exchange(middleware)
        with contextlib.nullcontext() if swallows else pytest.raises(TimeoutError):
            await exchange()
        assert exchange.reply.body == b"done"
        assert (await Exchange(middleware)()).replayed

    asyncio.run(scenario())


# Large answers.


def stream(count: int, size: int = 100, status: int = 201) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        app.runs += 1  # type: ignore[attr-defined]  # of the function
        await send({**START, "status": status})
        for number in range(count):
            await send(body(bytes([number % 256]) * size, more=number + 1 < count))

    app.runs = 0  # type: ignore[attr-defined]  # of the function
    return app


@pytest.mark.clause("HTTP-16", "HTTP-24")
@pytest.mark.parametrize("count", [1, 2, 11, 1000])
@pytest.mark.parametrize("when", ["response", "app"])
def test_an_answer_over_the_limit_reaches_its_first_caller_alone(count: int, when: Any) -> None:
    app, store = stream(count), InMemoryPersistenceLayer()
    middleware = protected(app, store, response_limit=99, complete_when=when)
    first = call(middleware)
    assert (first.status, first.complete, len(first.body)) == (201, True, 100 * count)
    repeat = call(middleware)
    assert (name_of(repeat), repeat.header("retry-after")) == ("result-unavailable", None)
    assert app.runs == 1
    assert records(store)[0].response_data == "idemproof:result-unavailable"


@pytest.mark.clause("HTTP-16")
def test_the_limit_itself_is_kept_and_a_large_failure_releases() -> None:
    middleware = protected(stream(1), response_limit=100)
    assert call(middleware).body == call(middleware).body
    app, store = stream(5, status=503), InMemoryPersistenceLayer()
    middleware = protected(app, store, response_limit=99)
    assert [len(call(middleware).body) for _ in range(2)] == [500, 500]
    assert (app.runs, records(store)) == (2, [])


@pytest.mark.clause("HTTP-16")
def test_a_large_stream_hears_that_its_client_left() -> None:
    heard = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(body(b"x" * 20, more=True))
        heard.append((await receive())["type"])

    async def scenario() -> None:
        exchange = Exchange(protected(app, response_limit=10))
        task = asyncio.create_task(exchange())
        exchange._incoming.put_nowait({"type": "http.disconnect"})
        await task

    asyncio.run(scenario())
    assert heard == ["http.disconnect"]


# Applications that break the rules of ASGI.


@pytest.mark.clause("HTTP-17", "HTTP-25")
@pytest.mark.parametrize("messages", [[], [START], [START, body(b"a", more=True)]])
@pytest.mark.parametrize("policy", ["refuse", "run"])
def test_an_unfinished_answer_is_a_failure(
    messages: Any, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    store = InMemoryPersistenceLayer()
    middleware = protected(app, store, on_takeover=policy)
    reply = call(middleware)
    assert (reply.status, name_of(reply)) == (500, "incomplete-response")
    assert [record.status for record in records(store)] == (["INPROGRESS"] if policy == "refuse" else [])
    if policy == "refuse":
        assert name_of(call(middleware)) == "unknown-outcome"


@pytest.mark.parametrize(
    "messages",
    [
        [body(b"a")],
        [START, START],
        [START, {"type": "http.response.pathsend", "path": "/etc/passwd"}],
        [{**START, "headers": [(b"content-length", b"5")]}, body(b"1234")],
    ],
)
def test_a_message_out_of_turn_is_an_error_of_the_application(messages: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    store = InMemoryPersistenceLayer()
    exchange = Exchange(protected(app, store, on_takeover="run"))
    with pytest.raises(RuntimeError, match=r"application|Content-Length"):
        asyncio.run(exchange())
    assert exchange.reply.messages == []
    assert records(store) == []


def test_a_second_answer_after_the_first_changes_nothing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"first"))
        with pytest.raises(RuntimeError):
            await send(START)
        with pytest.raises(RuntimeError):
            await send(body(b"second"))

    middleware = protected(app)
    assert [call(middleware).body for _ in range(2)] == [b"first"] * 2


@pytest.mark.clause("HTTP-18")
def test_there_is_no_other_way_to_answer() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "http.response.early_hint", "links": []})
        await send({**START, "trailers": True})
        await send({"type": "http.response.push", "path": "/a", "headers": []})
        await send(body(b"done"))
        await send({"type": "http.response.trailers", "headers": [], "more_trailers": False})

    extensions = {"http.response.pathsend": {}, "http.response.trailers": {}, "tls": {"version": 1}}
    exchange = Exchange(
        protected(app), headers=[("Accept-Encoding", "gzip"), ("accept", "a")], extensions=extensions
    )
    reply = asyncio.run(exchange())
    assert [message["type"] for message in reply.messages] == ["http.response.start", "http.response.body"]
    assert "trailers" not in reply.messages[0]
    assert scopes[0]["extensions"] == {"tls": {"version": 1}}
    assert [name for name, _ in scopes[0]["headers"]] == [b"idempotency-key", b"authorization", b"accept"]
    assert exchange.scope["extensions"] == extensions


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


def test_an_answer_that_is_not_modified_may_have_the_length_of_another() -> None:
    app = Counted(304, [(b"content-length", b"7")], [b""])
    assert call(protected(app)).status == 304


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
