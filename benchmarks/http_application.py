"""The applications of the HTTP benchmarks: one endpoint on FastAPI, bare or protected in several ways.

``python http_application.py PORT CONTESTANT STORE ADDRESS`` serves one of them with uvicorn. The endpoint
takes an order and returns its receipt. ``GET /runs`` returns how often it ran, and ``GET /name`` its
contestant.
"""

import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from idemproof import Idempotency, IdempotencyConfig

KEY = "Idempotency-Key"


class Endpoint:
    """The work: it answers an order with a receipt."""

    def __init__(self) -> None:
        self.runs = 0

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Return the receipt of an order."""
        self.runs += 1
        return {"statusCode": 200, "handled": order["order_id"]}


def application(name: str, endpoint: Endpoint, handler: Callable[[Request], Any]) -> FastAPI:
    """Return an application with the endpoint."""
    app = FastAPI(openapi_url=None)

    @app.get("/name")
    async def _name() -> Response:
        return PlainTextResponse(name)

    @app.get("/runs")
    async def _runs() -> Response:
        return PlainTextResponse(str(endpoint.runs))

    app.post("/orders", response_model=None)(handler)
    return app


def bare_handler(endpoint: Endpoint) -> Callable[[Request], Any]:
    """Return the endpoint without protection."""

    async def handler(request: Request) -> Response:
        return JSONResponse(endpoint.answer(await request.json()))

    return handler


def core_handler(endpoint: Endpoint, layer: Any) -> Callable[[Request], Any]:
    """Return the endpoint that calls the core API: the key, and no payload hash."""
    core = Idempotency(layer, IdempotencyConfig(in_progress_expires_after_seconds=60))

    async def handler(request: Request) -> Response:
        order = await request.json()

        async def body() -> dict[str, Any]:
            return endpoint.answer(order)

        return JSONResponse((await core.arun(request.headers[KEY], body)).value)

    return handler


def ours(app: FastAPI, layer: Any) -> None:
    """Add the middleware of this library, with its defaults."""
    from idemproof.http import IdempotencyMiddleware  # noqa: PLC0415 - one contestant in one process

    app.add_middleware(IdempotencyMiddleware, persistence_store=layer)


def fastapi_idempotency(app: FastAPI, store: str, address: str) -> None:  # noqa: ARG001 - others have one
    """Add fastapi-idempotency, whose only store without a database of its own is in memory."""
    import fastapi_idempotency as other  # noqa: PLC0415 - as above

    app.add_middleware(
        other.IdempotencyMiddleware,
        store=other.MemoryStore(),
        scope=lambda request: request.headers.get("authorization", ""),
    )


def idemkit(app: FastAPI, store: str, address: str) -> None:
    """Add idemkit over the same kind of store."""
    import idemkit as other  # noqa: PLC0415 - as above

    backends = {
        "memory": lambda: other.InMemoryBackend(max_size=10**6),
        "valkey": lambda: other.RedisBackend.from_url(address),
        "postgres": lambda: other.PostgresBackend.from_url(address),
    }
    config = other.HttpConfig(scope=lambda request: request.headers.get("authorization", ""))
    app.add_middleware(other.IdempotencyMiddleware, backend=backends[store](), config=config)


def layer_of(store: str, address: str) -> Any:
    """Return the async layer of this library over the store."""
    import idemproof  # noqa: PLC0415 - as above

    if store == "memory":
        return idemproof.AsyncInMemoryPersistenceLayer()
    if store == "valkey":
        return idemproof.AsyncCachePersistenceLayer(url=address)
    return idemproof.AsyncPostgresPersistenceLayer(address)


def built(name: str, store: str, address: str) -> FastAPI:
    """Return the application of a contestant."""
    endpoint = Endpoint()
    if name == "core":
        return application(name, endpoint, core_handler(endpoint, layer_of(store, address)))
    app = application(name, endpoint, bare_handler(endpoint))
    if name == "idemproof":
        ours(app, layer_of(store, address))
    elif name == "fastapi-idempotency":
        fastapi_idempotency(app, store, address)
    elif name == "idemkit":
        idemkit(app, store, address)
    return app


if __name__ == "__main__":
    port, contestant, kind_of_store, where = sys.argv[1:]
    uvicorn.run(
        built(contestant, kind_of_store, where),
        port=int(port),
        log_level="warning",
        access_log=False,
        timeout_keep_alive=3600,  # a connection rests while other contestants work
    )
