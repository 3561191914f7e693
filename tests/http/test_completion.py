"""A view completes its attempt in a transaction of its own, with the response of its framework."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import django.http
import flask
import pytest
from django.conf import settings
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path as django_path
from starlette.applications import Starlette
from starlette.responses import Response as StarletteResponse
from starlette.responses import StreamingResponse
from starlette.routing import Route as StarletteRoute

from asgi_calls import Reply, call
from idemproof import IdempotencyConfig, SQLitePersistenceLayer, current_attempt
from idemproof.errors import IdempotencySerializationError
from idemproof.http import FlaskIdempotency, Response, protect
from idemproof.testing import MovableClock

pytestmark = pytest.mark.once

REFUSED = b'{"type":"urn:idemproof:http:answer-not-recorded"'
HEADERS = {"Authorization": "Bearer ada", "Idempotency-Key": '"k"'}

if not settings.configured:
    settings.configure()


class Shop:
    """An application whose view writes its effect into the database that has the records."""

    make: Callable[..., Any]
    """Makes a response of the framework from body, status and headers."""
    stream: Callable[[Iterator[bytes]], Any]
    """Makes a streaming response."""

    def __init__(self, file: Path, **options: Any) -> None:
        self.file, self.runs = file, 0
        self.clock = MovableClock()
        self.options = {
            "persistence_store": SQLitePersistenceLayer(file, table="records"),
            "config": IdempotencyConfig(clock=self.clock),
            "on_takeover": "run",
            **options,
        }
        with closing(self.connect()) as connection:
            connection.execute("CREATE TABLE orders (number)")
        self.view: Completing

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)

    def begin(self) -> sqlite3.Connection:
        """Write the effect in a transaction."""
        self.runs += 1
        connection = self.connect()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO orders VALUES (1)")
        return connection

    def effects(self) -> int:
        with closing(self.connect()) as connection:
            count: int = connection.execute("SELECT count(*) FROM orders").fetchone()[0]
        return count

    def post(self) -> Reply:
        raise NotImplementedError


class OnStarlette(Shop):
    make, stream = StarletteResponse, StreamingResponse

    def __init__(self, file: Path, **options: Any) -> None:
        super().__init__(file, **options)

        async def view(_: Any) -> Any:
            completing = self.view
            for result, connection in completing:
                try:
                    await current_attempt().acomplete(result, within=connection)
                except IdempotencySerializationError as error:
                    completing.refusals.append(error)
            return completing.answer

        self.app = Starlette(routes=[StarletteRoute("/orders", view, methods=["POST"])])
        protect(self.app, **self.options)

    def post(self) -> Reply:
        return call(self.app)


class Blocking(Shop):
    def answer(self, *_: Any) -> Any:
        completing = self.view
        for result, connection in completing:
            try:
                current_attempt().complete(result, within=connection)
            except IdempotencySerializationError as error:
                completing.refusals.append(error)
        return completing.answer


class OnStarletteInThreads(Blocking):
    make, stream = StarletteResponse, StreamingResponse

    def __init__(self, file: Path, **options: Any) -> None:
        super().__init__(file, **options)
        self.app = Starlette(routes=[StarletteRoute("/orders", self.answer, methods=["POST"])])
        protect(self.app, **self.options)

    def post(self) -> Reply:
        return call(self.app)


class OnDjango(Blocking):
    @staticmethod
    def make(body: bytes, status: int = 200, headers: Any = None) -> Any:
        return django.http.HttpResponse(body, status=status, headers=headers)

    stream = django.http.StreamingHttpResponse

    def __init__(self, file: Path, **options: Any) -> None:
        super().__init__(file, **options)
        self.urlpatterns = [django_path("orders", self.answer)]

    def send(self) -> Any:
        return Client().post("/orders", headers=HEADERS)

    def post(self) -> Reply:
        with override_settings(
            IDEMPROOF=self.options,
            ROOT_URLCONF=self,
            ALLOWED_HOSTS=["testserver"],
            MIDDLEWARE=["idemproof.http.DjangoIdempotencyMiddleware"],
        ):
            got = self.send()
        lines = [(name.lower(), value) for name, value in got.items()]
        lines += [("set-cookie", each.OutputString()) for each in got.cookies.values()]
        return Reply(got.status_code, lines, got.content)


class OnDjangoInThreads(OnDjango):
    def send(self) -> Any:
        return asyncio.run(AsyncClient().post("/orders", headers=HEADERS))  # type: ignore[arg-type]  # a coroutine


class OnFlask(Blocking):
    make, stream = flask.Response, flask.Response

    def __init__(self, file: Path, **options: Any) -> None:
        super().__init__(file, **options)
        self.app = flask.Flask("shop")
        self.app.testing = True
        FlaskIdempotency(self.app, **self.options)
        self.app.add_url_rule("/orders", view_func=self.answer, methods=["POST"])

    def post(self) -> Reply:
        with self.app.test_client() as client:
            got = client.post("/orders", headers=HEADERS, buffered=True)
        return Reply(
            got.status_code, [(name.lower(), value) for name, value in got.headers.items()], got.data
        )


@pytest.fixture(params=[OnStarlette, OnStarletteInThreads, OnDjango, OnDjangoInThreads, OnFlask])
def make_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    return lambda **options: request.param(tmp_path / "shop.db", **options)


class Completing:
    """A view: completes with ``recorded`` in a transaction, ends that, and answers."""

    def __init__(self, shop: Any, *recorded: Any, answer: Any, end: str | None = "COMMIT") -> None:
        self._shop, self._recorded, self._answer, self._end = shop, recorded, answer, end
        self.refusals: list[Exception] = []

    def __iter__(self) -> Iterator[tuple[Any, sqlite3.Connection]]:
        connection = self.connection = self._shop.begin()
        for result in self._recorded:
            yield result, connection
        if self._end is not None:
            connection.execute(self._end)
            connection.close()

    @property
    def answer(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def told(reply: Reply, *names: str) -> tuple[Any, ...]:
    return (reply.status, reply.body, *(reply.header(name) for name in names))


@pytest.mark.clause("HTTP-22", "HTTP-27", "INV-11")
def test_a_view_completes_with_its_response_which_is_replayed_byte_for_byte(make_shop: Any) -> None:
    shop = make_shop()
    answer = shop.make(
        b"order \xff", 201, {"Content-Type": "x/y", "X-Order": "7", "Set-Cookie": "a=b", "Date": "today"}
    )
    shop.view = Completing(shop, answer, answer=answer)
    first, again = shop.post(), shop.post()
    names = ("content-type", "x-order", "content-length")
    assert told(first, "set-cookie", *names[:2]) == (201, b"order \xff", "a=b", "x/y", "7")
    assert told(again, *names) == (201, b"order \xff", "x/y", "7", "7")
    assert (again.header("set-cookie"), again.header("date"), again.replayed) == (None, None, True)
    assert (shop.runs, shop.effects()) == (1, 1)


@pytest.mark.clause("HTTP-27", "HTTP-19")
def test_a_view_that_fails_after_its_commit_has_answered_its_repeats(make_shop: Any) -> None:
    shop = make_shop()
    shop.view = Completing(shop, shop.make(b"done", 201), answer=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        shop.post()
    assert told(shop.post()) == (201, b"done")
    assert (shop.runs, shop.effects()) == (1, 1)


@pytest.mark.clause("HTTP-21", "HTTP-27")
@pytest.mark.parametrize("recorded", [201, 503])
def test_what_is_recorded_is_final_whatever_the_view_answers_for_now(make_shop: Any, recorded: int) -> None:
    shop = make_shop()
    shop.view = Completing(shop, shop.make(b"recorded", recorded), answer=shop.make(b"later", 503))
    assert told(shop.post()) == (503, b"later")
    assert told(shop.post(), "idempotency-replayed") == (recorded, b"recorded", "true")
    assert (shop.runs, shop.effects()) == (1, 1)


@pytest.mark.clause("HTTP-27", "TXN-7")
@pytest.mark.parametrize(
    "other", [(b"other", 201, {"X-A": "1"}), (b"done", 200, {"X-A": "1"}), (b"done", 201, {"X-A": "2"})]
)
def test_another_answer_than_the_recorded_one_is_refused(make_shop: Any, other: Any) -> None:
    shop = make_shop()
    shop.view = Completing(shop, shop.make(b"done", 201, {"X-A": "1"}), answer=shop.make(*other))
    refused, again = shop.post(), shop.post()
    assert refused.status == 500
    assert refused.body.startswith(REFUSED)
    assert told(again, "x-a") == (201, b"done", "1")
    assert (shop.runs, shop.effects()) == (1, 1)


@pytest.mark.clause("HTTP-27", "TXN-7")
def test_an_answer_whose_effect_cannot_be_committed_is_refused(make_shop: Any) -> None:
    shop = make_shop()
    shop.view = Completing(shop, shop.make(b"recorded"), answer=shop.make(b"other"), end=None)
    assert shop.post().body.startswith(REFUSED)
    assert not shop.view.connection.in_transaction
    shop.view.connection.close()
    shop.clock.advance(61)  # sqlite3 does not show if only a savepoint was rolled back, so the claim stays
    shop.view = Completing(shop, answer := shop.make(b"second"), answer=answer)
    assert told(shop.post()) == told(shop.post()) == (200, b"second")
    assert (shop.runs, shop.effects()) == (2, 1)


@pytest.mark.clause("HTTP-27", "TXN-7")
def test_an_answer_whose_transaction_was_rolled_back_is_refused(make_shop: Any) -> None:
    shop = make_shop()
    shop.view = Completing(shop, answer := shop.make(b"done"), answer=answer, end="ROLLBACK")
    for _ in range(2):
        assert shop.post().body.startswith(REFUSED)
        shop.clock.advance(61)  # as above
    assert (shop.runs, shop.effects()) == (2, 0)


@pytest.mark.clause("HTTP-16", "HTTP-27")
def test_a_recorded_answer_over_the_limit_is_refused_once_and_replayed(make_shop: Any) -> None:
    shop = make_shop(response_limit=3)
    shop.view = Completing(shop, answer := shop.make(b"done"), answer=answer)
    assert shop.post().body.startswith(REFUSED)
    assert told(shop.post()) == (200, b"done")
    assert (shop.runs, shop.effects()) == (1, 1)


@pytest.mark.clause("HTTP-27")
def test_only_a_whole_response_completes(make_shop: Any) -> None:
    shop = make_shop()
    unfit = ({"order": 1}, shop.stream(iter([b"a"])))
    plain = Response(200, ((b"content-type", b"x/y"),), b"plain")
    shop.view = Completing(shop, *unfit, plain, answer=shop.make(b"plain", 200, {"Content-Type": "x/y"}))
    assert told(shop.post()) == told(shop.post()) == (200, b"plain")
    assert ["Nothing was written" in str(refusal) for refusal in shop.view.refusals] == [True, True]
    assert (shop.runs, shop.effects()) == (1, 1)
