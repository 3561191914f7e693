"""What a protected request costs beside the call of the core API within it."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import idemproof
from asgi_calls import Counted, Exchange
from bytecodes import Bytecodes
from idemproof import AsyncInMemoryPersistenceLayer, Idempotency, IdempotencyConfig
from idemproof.http import IdempotencyMiddleware

pytestmark = pytest.mark.once

PACKAGE = str(Path(idemproof.__file__).parent)


async def bytecodes(act: Callable[[], Awaitable[Any]]) -> int:
    """Return how many bytecodes of this library are executed."""
    with Bytecodes(PACKAGE) as counted:
        await act()
    return counted.total


def test_a_request_executes_few_bytecodes_more_than_the_call_in_it() -> None:
    async def scenario() -> list[float]:
        core = Idempotency(
            AsyncInMemoryPersistenceLayer(), IdempotencyConfig(in_progress_expires_after_seconds=60)
        )
        middleware = IdempotencyMiddleware(Counted(), persistence_store=AsyncInMemoryPersistenceLayer())

        async def body() -> str:
            return "done"

        async def core_call(key: str) -> None:
            await core.arun(key, body)

        async def request(key: str, content: bytes = b'{"a": [1, 2.5, "b"]}') -> int:
            headers = [("content-type", "application/json")]
            reply = await Exchange(middleware, key=f'"{key}"', body=content, headers=headers)()
            status: int = reply.status
            return status

        for warming in ("a", "b"):
            await core_call(warming)
            assert await request(warming) == 201
        assert await request("a", b"{}") == 422
        calls = [await bytecodes(lambda: core_call("c")) for _ in range(2)]
        requests = [await bytecodes(lambda: request("c")) for _ in range(2)]
        refusal = await bytecodes(lambda: request("c", b"{}"))
        return [requests[0] / calls[0], requests[1] / calls[1], refusal / calls[1]]

    first, replay, refusal = asyncio.run(scenario())
    assert first < 3
    assert replay < 3.2
    assert refusal < 3.6


def test_a_request_leaves_nothing_to_the_garbage_collector() -> None:
    left = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        left.append(weakref.ref(send.__self__))
        await Counted()(scope, receive, send)

    async def scenario() -> None:
        middleware = IdempotencyMiddleware(app, persistence_store=AsyncInMemoryPersistenceLayer())
        assert (await Exchange(middleware)()).status == 201

    gc.collect()
    gc.disable()
    try:
        asyncio.run(scenario())
        assert [found() for found in left] == [None]
    finally:
        gc.enable()
