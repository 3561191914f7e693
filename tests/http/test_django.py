"""The middleware of Django: last in MIDDLEWARE, blocking and async."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.test.client import AsyncRequestFactory
from django.test.utils import override_settings

from idemproof import AsyncSQLitePersistenceLayer, InMemoryPersistenceLayer
from idemproof.errors import IdempotencyConfigError
from idemproof.http import ACP, DjangoIdempotencyMiddleware, Request, django_user

pytestmark = pytest.mark.once

STORE = InMemoryPersistenceLayer()
AUTHORIZED = {"Authorization": "Bearer ada", "Idempotency-Key": '"k"'}


@pytest.fixture(scope="module", autouse=True)
def _configured() -> None:
    if not settings.configured:
        settings.configure()


class User:
    """A user as Django's authentication has them."""

    is_authenticated = True
    _meta = SimpleNamespace(label="auth.User")

    def __init__(self, pk: int) -> None:
        self.pk = pk


class Shop:
    """A view that answers as the request says, behind the middleware."""

    def __init__(self, *, asynchronous: bool, **options: Any) -> None:
        self.runs = 0
        self.view: Any = lambda request: JsonResponse(
            {"run": self.runs, "body": len(request.body)}, status=201
        )
        self.asynchronous = asynchronous
        options.setdefault("persistence_store", InMemoryPersistenceLayer())

        def view(request: Any) -> Any:
            self.runs += 1
            return self.view(request)

        async def async_view(request: Any) -> Any:
            self.runs += 1
            found = self.view(request)
            return await found if asyncio.iscoroutine(found) else found

        with override_settings(IDEMPROOF=options):
            self.middleware = DjangoIdempotencyMiddleware(async_view if asynchronous else view)

    def request(self, data: Any = None, kind: str = "application/json", **headers: Any) -> Any:
        factory = AsyncRequestFactory() if self.asynchronous else RequestFactory()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        data = {"a": 1} if data is None else data
        return factory.post("/orders", data, content_type=kind, headers={**AUTHORIZED, **headers})

    def post(self, request: Any = None, **parts: Any) -> Any:
        request = self.request(**parts) if request is None else request
        if not self.asynchronous:
            return self.middleware(request)

        async def answer() -> Any:
            response = await self.middleware(request)
            if response.streaming:
                response.read = b"".join([part async for part in response])
            return response

        return asyncio.run(answer())


def body_of(response: Any) -> bytes:
    if not response.streaming:
        return bytes(response.content)
    return bytes(response.read) if hasattr(response, "read") else b"".join(response)


@pytest.fixture(params=[False, True], ids=["blocking", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_repeat_gets_the_first_answer(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous)
    first, again = shop.post(), shop.post()
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content == b'{"run": 1, "body": 8}'
    assert again["Idempotency-Replayed"] == "true"
    assert again["Content-Type"] == first["Content-Type"] == "application/json"
    assert shop.runs == 1
    assert shop.post(data={"a": 2}).status_code == 422
    assert shop.post(Idempotency_Key='"k", "k"').status_code == 400
    assert shop.post(Authorization="Bearer grace").status_code == 201
    assert shop.runs == 2


def test_the_own_response_of_the_view_comes_out(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous)
    response = HttpResponse(b"own", headers={"Idempotency-Replayed": "forged"})
    response.set_cookie("basket", "1")
    response.anything = "else"  # type: ignore[attr-defined]
    shop.view = lambda _: response
    first, again = shop.post(), shop.post()
    assert first is response
    assert first.cookies["basket"].value == "1"
    assert "Idempotency-Replayed" not in first
    assert not again.cookies
    assert again.content == b"own"


def test_streams_are_kept_up_to_the_limit(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous, response_limit=100)

    def parts(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield b"x" * 10

    async def aparts(count: int) -> AsyncIterator[bytes]:
        for part in parts(count):
            yield part

    made = aparts if asynchronous else parts
    shop.view = lambda _: StreamingHttpResponse(made(5))
    assert [body_of(shop.post()) for _ in range(2)] == [b"x" * 50] * 2
    shop.view = lambda _: StreamingHttpResponse(made(50))
    assert body_of(shop.post(Idempotency_Key='"large"')) == b"x" * 500
    assert shop.post(Idempotency_Key='"large"').status_code == 409
    assert shop.runs == 2


@pytest.mark.clause("HTTP-16")
def test_an_answer_over_the_limit_reaches_its_first_caller_alone(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous, response_limit=100)
    shop.view = lambda _: HttpResponse(b"x" * 101)
    first, again = shop.post(), shop.post()
    assert (body_of(first), first.status_code) == (b"x" * 101, 200)
    assert (again.status_code, again.content.count(b"result-unavailable"), shop.runs) == (409, 1, 1)


def test_a_file_is_replayed(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous)
    shop.view = lambda _: FileResponse(io.BytesIO(b"seat 7"), filename="ticket.txt")
    first, again = shop.post(), shop.post()
    assert (body_of(first), body_of(again)) == (b"seat 7", b"seat 7")
    assert again["Content-Disposition"] == first["Content-Disposition"]


def test_forms_are_read_as_ever_and_not_before(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous)
    shop.view = lambda request: HttpResponse(request.POST["b"])
    kind = "application/x-www-form-urlencoded"
    assert body_of(shop.post(data=b"b=2" if asynchronous else "b=2", kind=kind)) == b"2"
    early = shop.request(data="b=3", kind=kind, Idempotency_Key='"early"')
    early.read()
    with pytest.raises(IdempotencyConfigError, match=r"has read the form.*Nothing ran"):
        shop.post(early)
    assert shop.runs == 1


def test_a_server_error_frees_the_key(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous)
    shop.view = lambda _: HttpResponse(b"no", status=500)
    assert [shop.post().status_code for _ in range(2)] == [500, 500]
    assert shop.runs == 2


def test_accept_encoding_is_hidden_from_the_view_alone(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous)
    seen: list[Any] = []

    def view(request: Any) -> HttpResponse:
        seen.append(request.META.get("HTTP_ACCEPT_ENCODING"))
        return HttpResponse()

    shop.view = view
    request = shop.request(Accept_Encoding="gzip")
    shop.post(request)
    assert seen == [None]
    assert request.META["HTTP_ACCEPT_ENCODING"] == "gzip"


def test_the_key_belongs_to_the_verified_user(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous, scope="idemproof.http.django_user")

    def post(user: Any) -> Any:
        request = shop.request()
        request.user = user

        async def auser() -> Any:
            return user

        request.auser = auser
        return shop.post(request)

    assert [post(User(pk)).content for pk in (1, 2, 1)] == [
        b'{"run": 1, "body": 8}',
        b'{"run": 2, "body": 8}',
        b'{"run": 1, "body": 8}',
    ]
    refused = post(SimpleNamespace(is_authenticated=False))
    assert (refused.status_code, b"no-scope" in refused.content) == (400, True)


@pytest.mark.clause("HTTP-4")
def test_functions_get_djangos_request(asynchronous: bool) -> None:
    seen: list[Request] = []

    def authorize(request: Request) -> bool:
        seen.append(request)
        return False

    shop = Shop(asynchronous=asynchronous, authorize=authorize)
    assert [shop.post().status_code for _ in range(2)] == [201, 403]
    assert seen[0].native.path == "/orders"


@pytest.mark.clause("HTTP-13")
def test_a_view_runs_on_when_its_client_is_gone() -> None:
    shop = Shop(asynchronous=True)

    async def scenario() -> Any:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def view(_: Any) -> HttpResponse:
            begun.set()
            await go_on.wait()
            return HttpResponse(b"done")

        shop.view = view
        first = asyncio.create_task(shop.middleware(shop.request()))
        await begun.wait()
        for _ in range(3):
            first.cancel()
            await asyncio.sleep(0)
        assert not first.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await shop.middleware(shop.request())

    again = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert (again.content, again["Idempotency-Replayed"], shop.runs) == (b"done", "true", 1)


def test_raw_paths_of_asgi_are_told_apart() -> None:
    shop = Shop(asynchronous=True)

    def request(raw: bytes) -> Any:
        made = shop.request()
        scope = {**made.scope, "path": "/a/b", "raw_path": raw}
        return ASGIRequest(scope, io.BytesIO(b'{"a": 1}'))

    assert shop.post(request(b"/a%2Fb")).status_code == 201
    assert shop.post(request(b"/a/b")).status_code == 422


@pytest.mark.clause("HTTP-10")
def test_raw_paths_that_are_no_text_are_told_apart() -> None:
    shop = Shop(asynchronous=True)
    for raw, status in ((b"/%ff", 201), (b"/%ff", 201), (b"/%fe", 422)):
        scope = {**shop.request().scope, "path": "/\ufffd", "raw_path": raw}
        assert shop.post(ASGIRequest(scope, io.BytesIO(b'{"a": 1}'))).status_code == status


@pytest.mark.parametrize(
    ("path", "raw", "query"),
    [
        ("/łódź", b"/%C5%82%C3%B3d%C5%BA", b""),
        ("/łódź", "/łódź".encode(), b""),
        ("/łódź", None, b""),
        ("/orders", b"/orders", "a=ł".encode()),
    ],
)
def test_paths_and_queries_of_asgi_may_have_any_characters(
    path: str, raw: bytes | None, query: bytes
) -> None:
    shop = Shop(asynchronous=True)
    seen: list[Request] = []
    shop.middleware.protection.settings.authorize = lambda request: seen.append(request) or True

    def request(**changes: Any) -> Any:
        scope = {**shop.request().scope, "path": path, "raw_path": raw, "query_string": query, **changes}
        return ASGIRequest(scope, io.BytesIO(b'{"a": 1}'))

    assert [shop.post(request()).status_code for _ in range(2)] == [201, 201]
    assert shop.runs == 1
    assert (seen[0].path, seen[0].query) == (raw or b"/%C5%82%C3%B3d%C5%BA", query)
    assert shop.post(request(query_string=query + "b=ł".encode())).status_code == 422


def test_cookies_are_replayed_if_they_are_kept(asynchronous: bool) -> None:
    shop = Shop(asynchronous=asynchronous, keep_headers=["Set-Cookie"])

    def view(_: Any) -> HttpResponse:
        response = HttpResponse()
        response.set_cookie("basket", "1")
        response.set_cookie("seat", "F7", path="/seats", httponly=True)
        return response

    shop.view = view
    first, again = shop.post(), shop.post()
    assert again["Idempotency-Replayed"] == "true"
    assert again.cookies.output() == first.cookies.output()
    assert len(again.cookies) == 2


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (None, "IDEMPROOF must be a dictionary"),
        ({}, "IDEMPROOF must be a dictionary"),
        ({"persistence_store": InMemoryPersistenceLayer(), "complete_when": "app"}, "complete_when"),
        ({"persistence_store": "idemproof.http.django_user"}, "persistence layer"),
    ],
)
def test_a_wrong_setting_is_refused_at_once(options: Any, fault: str) -> None:
    with (
        override_settings(IDEMPROOF=options),
        pytest.raises((IdempotencyConfigError, TypeError), match=fault),
    ):
        DjangoIdempotencyMiddleware(lambda _: None)


def test_an_async_layer_needs_async_django(tmp_path: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="async layer"):
        Shop(asynchronous=False, persistence_store=AsyncSQLitePersistenceLayer(tmp_path / "a.db"))


def test_the_user_is_found_in_a_blocking_middleware_under_asgi() -> None:
    """As if a blocking middleware stands below."""
    shop = Shop(asynchronous=False, scope=django_user)
    asgi = Shop(asynchronous=True).request()
    asgi.user = User(7)
    asgi.auser = None
    assert shop.post(asgi).status_code == 201


def test_a_store_and_functions_may_be_named_by_their_paths() -> None:
    shop = Shop(
        asynchronous=False,
        persistence_store=f"{__name__}.STORE",
        scope="idemproof.http.django_user",
        profile="idemproof.http.ACP",
    )
    assert shop.middleware.protection.settings.profile is ACP
    assert shop.middleware.protection.settings.store is STORE
    assert shop.middleware.protection.settings.scope is django_user
