"""Applications of Starlette and FastAPI: the place of the middleware, their features, and OpenAPI."""

import asyncio
import re
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from starlette.routing import Route as Path

from asgi_calls import Exchange, call
from idemproof import InMemoryPersistenceLayer
from idemproof.errors import IdempotencyConfigError
from idemproof.http import IdempotencyMiddleware, Route, protect

pytestmark = pytest.mark.once

JSON = [("content-type", "application/json")]


class Order(BaseModel):
    seats: list[str]


class Shop:
    """A protected application, and what has happened in it."""

    def __init__(self, **options: Any) -> None:
        self.happened: list[str] = []
        self.store = InMemoryPersistenceLayer()
        self.app = app = FastAPI()
        self.protection = protect(app, persistence_store=self.store, **options)

        def session() -> Any:
            self.happened.append("open")
            yield
            self.happened.append("commit")

        @app.post("/orders", status_code=201)
        def order(
            order: Order, tasks: BackgroundTasks, _: Annotated[None, Depends(session)]
        ) -> dict[str, Any]:
            self.happened.append("sold")
            tasks.add_task(self.happened.append, "mailed")
            return {"seats": order.seats}

        @app.post("/files", response_class=StreamingResponse)
        async def files() -> StreamingResponse:
            self.happened.append("streamed")
            return StreamingResponse(iter([b"a", b"\xff", b"c"]), media_type="x/y")

        @app.post("/refused")
        def refused() -> None:
            self.happened.append("refused")
            raise HTTPException(402, "declined")

        @app.post("/failing")
        def failing() -> None:
            self.happened.append("failed")
            raise ValueError("bug")

        @app.get("/orders")
        def orders() -> list[str]:
            return []


def test_a_repeat_runs_neither_endpoint_nor_dependencies_nor_tasks() -> None:
    shop = Shop()
    first = call(shop.app, b'{"seats":["1"]}', headers=JSON)
    assert (first.status, first.body) == (201, b'{"seats":["1"]}')
    assert sorted(shop.happened) == ["commit", "mailed", "open", "sold"]
    repeat = call(shop.app, b'{ "seats" : ["1"] }', headers=JSON)
    assert (repeat.status, repeat.body, repeat.replayed) == (201, first.body, True)
    assert len(shop.happened) == 4
    assert call(shop.app, b'{"seats":["2"]}', headers=JSON).status == 422


def test_validation_errors_and_refusals_of_the_application_are_final() -> None:
    shop = Shop()
    for path, key, status in (("/orders", '"a"', 422), ("/refused", '"b"', 402)):
        first = call(shop.app, b"{}", path=path, key=key, headers=JSON)
        repeat = call(shop.app, b"{}", path=path, key=key, headers=JSON)
        assert (first.status, first.replayed) == (repeat.status, False) == (status, False)
        assert repeat.replayed
    assert shop.happened.count("refused") == 1


def test_streams_are_replayed_whole() -> None:
    shop = Shop()
    assert [call(shop.app, path="/files").body for _ in range(2)] == [b"a\xffc"] * 2
    assert shop.happened == ["streamed"]


@pytest.mark.clause("HTTP-19")
def test_a_bug_is_answered_by_the_outer_middleware_of_the_framework() -> None:
    shop = Shop()
    exchange = Exchange(shop.app, path="/failing")
    with pytest.raises(ValueError, match="bug"):
        asyncio.run(exchange())
    assert exchange.reply.status == 500
    parked = call(shop.app, path="/failing")
    assert (parked.status, b"unknown-outcome" in parked.body) == (409, True)
    assert shop.happened == ["failed"]


def test_the_middleware_is_inside_of_those_that_come_later() -> None:
    shop = Shop()

    class Authentication(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            if request.headers.get("authorization") != "Bearer ann":
                return JSONResponse({"detail": "who are you?"}, status_code=401)
            request.state.user = 7
            return await call_next(request)

    shop.app.add_middleware(CORSMiddleware, allow_origins=["https://a.example", "https://b.example"])
    shop.app.add_middleware(GZipMiddleware, minimum_size=1)
    shop.app.add_middleware(Authentication)
    body = b'{"seats":["1"]}'
    for origin, encoding in (("https://a.example", "gzip"), ("https://b.example", "identity")):
        headers = [*JSON, ("origin", origin), ("accept-encoding", encoding)]
        reply = call(shop.app, body, headers=headers)
        assert reply.header("access-control-allow-origin") == origin
        assert (reply.header("content-encoding") == "gzip") == (encoding == "gzip")
    assert shop.happened.count("sold") == 1
    assert call(shop.app, body, headers=JSON, token="Bearer eve").status == 401


def test_starlette_and_mounted_applications_are_protected() -> None:
    ran = []

    async def endpoint(request: Request) -> JSONResponse:
        ran.append(await request.json())
        return JSONResponse(ran[-1])

    inner = Starlette(routes=[Path("/b", endpoint, methods=["POST"])])
    store = InMemoryPersistenceLayer()
    protect(inner, persistence_store=store)
    app = Starlette(routes=[Mount("/a", app=inner)])
    protect(app, persistence_store=store)
    assert [call(app, b"[1]", path="/a/b", headers=JSON).body for _ in range(2)] == [b"[1]"] * 2
    assert (len(ran), len(store)) == (1, 1)


def test_an_application_that_cannot_be_protected_is_refused() -> None:
    store = InMemoryPersistenceLayer()
    with pytest.raises(TypeError, match="IdempotencyMiddleware"):
        protect(object(), persistence_store=store)
    app = FastAPI()
    call(app)
    with pytest.raises(IdempotencyConfigError, match="begun to handle requests"):
        protect(app, persistence_store=store)


def test_the_class_can_be_added_as_any_middleware() -> None:
    app = FastAPI()
    app.add_middleware(IdempotencyMiddleware, persistence_store=InMemoryPersistenceLayer(), scope=None)
    ran = []

    @app.post("/orders")
    def order() -> int:
        ran.append(1)
        return len(ran)

    assert [call(app, token=None).body for _ in range(2)] == [b"1", b"1"]


# OpenAPI.


def test_the_description_has_the_header_the_refusals_and_the_marker() -> None:
    shop = Shop(routes=[Route("/files", key="optional"), Route("/failing", key="ignored")])
    schema = shop.app.openapi()
    assert schema is shop.app.openapi()
    operation = schema["paths"]["/orders"]["post"]
    [parameter] = operation["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("Idempotency-Key", "header", True)
    assert parameter["schema"] == {"type": "string", "minLength": 1, "maxLength": 257}
    assert set(operation["responses"]) == {"201", "400", "409", "413", "422", "500", "503"}
    assert "Idempotency-Replayed" in operation["responses"]["201"]["headers"]
    assert set(operation["responses"]["422"]["content"]) == {"application/json", "application/problem+json"}
    assert "Retry-After" in operation["responses"]["409"]["headers"]
    component = schema["components"]["schemas"]["IdempotencyProblem"]
    assert component["required"] == ["type", "title", "status", "detail"]
    assert schema["paths"]["/files"]["post"]["parameters"][0]["required"] is False
    assert "parameters" not in schema["paths"]["/failing"]["post"]
    assert "parameters" not in schema["paths"]["/orders"]["get"]
    assert "headers" not in schema["paths"]["/orders"]["get"]["responses"]["200"]


def test_a_profile_has_its_own_description() -> None:
    schema = Shop(profile="stripe").app.openapi()
    operation = schema["paths"]["/orders"]["post"]
    assert operation["parameters"][0]["required"] is False
    assert "Idempotent-Replayed" in operation["responses"]["201"]["headers"]
    assert schema["components"]["schemas"]["IdempotencyProblem"]["properties"]["error"]["required"] == [
        "type",
        "code",
        "message",
    ]


def test_a_header_that_the_endpoint_declares_is_described_once() -> None:
    app = FastAPI()
    protect(app, persistence_store=InMemoryPersistenceLayer())

    @app.post("/orders")
    def order(idempotency_key: Annotated[str | None, Header()] = None) -> str | None:
        return idempotency_key

    [parameter] = app.openapi()["paths"]["/orders"]["post"]["parameters"]
    assert parameter["required"] is True
    assert call(app).body == b'"\\"order-4711-of-may\\""'


@pytest.mark.parametrize(
    ("form", "words"), [("bare", "Visible ASCII"), ("either", "A quoted string (RFC 8941), or")]
)
def test_the_description_has_the_form_of_the_middleware(form: Any, words: str) -> None:
    [parameter] = Shop(key_form=form).app.openapi()["paths"]["/orders"]["post"]["parameters"]
    assert words in parameter["description"]
    assert parameter["example"].startswith('"') == (form == "either")


def test_the_description_has_the_pattern_of_keys() -> None:
    [parameter] = Shop(profile="iceberg").app.openapi()["paths"]["/orders"]["post"]["parameters"]
    assert re.search(parameter["schema"]["pattern"], parameter["example"])
    assert not re.search(parameter["schema"]["pattern"], "order-1")


def test_examples_of_the_endpoint_make_place_for_the_example() -> None:
    app = FastAPI()
    protect(app, persistence_store=InMemoryPersistenceLayer())

    @app.post("/orders")
    def order(
        idempotency_key: Annotated[str | None, Header(openapi_examples={"one": {"value": "k"}})] = None,
    ) -> str | None:
        return idempotency_key

    [parameter] = app.openapi()["paths"]["/orders"]["post"]["parameters"]
    assert "example" in parameter
    assert "examples" not in parameter
