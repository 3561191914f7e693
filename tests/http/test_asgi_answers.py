"""When the answer of an application is stored and sent, and what counts as an answer."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from asgi_calls import START, Counted, Exchange, body, call, name_of, protected, records
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    InMemoryPersistenceLayer,
)
from idemproof.http import Route

pytestmark = pytest.mark.once


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


def test_an_answer_that_is_not_modified_may_have_the_length_of_another() -> None:
    app = Counted(304, [(b"content-length", b"7")], [b""])
    assert call(protected(app)).status == 304


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
