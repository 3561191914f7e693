"""The WSGI middleware: its rules, and that applications and servers see what PEP 3333 says."""

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from idemproof import AsyncSQLitePersistenceLayer, IdempotencyConfig, InMemoryPersistenceLayer
from idemproof.errors import IdempotencyConfigError, IdempotencyValidationError
from idemproof.http import Route, WSGIIdempotencyMiddleware
from wsgi_calls import call, environ_of, problem

pytestmark = pytest.mark.once


class Shop:
    """An application that counts its orders."""

    def __init__(self, answer: Callable[[Any, Any], Iterable[bytes]] | None = None) -> None:
        self.runs = 0
        self.seen: list[dict[str, Any]] = []
        self._answer = answer

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.runs += 1
        self.seen.append(environ)
        if self._answer is not None:
            return self._answer(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("201 Made", [("Content-Type", "text/plain"), ("Set-Cookie", "a=b")])
        return [b"order %d: " % self.runs, body]


@pytest.fixture
def store() -> InMemoryPersistenceLayer:
    return InMemoryPersistenceLayer()


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def app(shop: Shop, store: InMemoryPersistenceLayer) -> WSGIIdempotencyMiddleware:
    return WSGIIdempotencyMiddleware(shop, persistence_store=store)


def protected(answer: Callable[[Any, Any], Iterable[bytes]], **options: Any) -> tuple[Shop, Any]:
    shop = Shop(answer)
    options.setdefault("persistence_store", InMemoryPersistenceLayer())
    return shop, WSGIIdempotencyMiddleware(shop, **options)


@pytest.mark.clause("HTTP-22")
def test_a_repeat_gets_the_first_answer(app: Any, shop: Shop) -> None:
    first, again = call(app), call(app)
    assert (first.status, first.body) == (again.status, again.body) == (201, b"order 1: {}")
    assert (first.header("set-cookie"), again.header("set-cookie")) == ("a=b", None)
    assert (first.header("idempotency-replayed"), again.header("idempotency-replayed")) == (None, "true")
    assert shop.runs == 1


def test_between_validators_nobody_breaks_wsgi(shop: Shop, store: InMemoryPersistenceLayer) -> None:
    def plain(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return shop(environ, start_response)

    app: Any = validator(WSGIIdempotencyMiddleware(validator(plain), persistence_store=store))
    for replies in range(2):
        reply = call(app)
        assert (reply.status, reply.body) == (201, b"order 1: {}"), replies
    assert call(app, environ_of(key=None)).status == 400


@pytest.mark.clause("HTTP-2", "HTTP-7", "HTTP-9")
@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        ({"key": None}, (400, "key-missing")),
        ({"HTTP_IDEMPOTENCY_KEY": '"a","a"'}, (400, "key-malformed")),
        ({"token": None}, (400, "no-scope")),
        ({"token": "Bearer a,Bearer b"}, (400, "no-scope")),
        ({"CONTENT_LENGTH": "3"}, (400, "incomplete-body")),
        ({"CONTENT_LENGTH": "x"}, (400, "incomplete-body")),
        ({"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"}, (411, "length-required")),
        ({"CONTENT_LENGTH": str(2 << 20)}, (413, "body-too-large")),
        (
            {
                "body": b"x" * (2 << 20),
                "CONTENT_LENGTH": None,
                "HTTP_TRANSFER_ENCODING": "chunked",
                "wsgi.input_terminated": True,
            },
            (413, "body-too-large"),
        ),
    ],
)
def test_what_cannot_be_protected_is_refused_and_claims_nothing(
    app: Any, shop: Shop, request_: dict[str, Any], refusal: tuple[int, str]
) -> None:
    assert problem(call(app, **request_)) == refusal
    assert shop.runs == 0
    assert call(app).status == 201


@pytest.mark.clause("HTTP-9")
def test_key_caller_and_length_are_checked_before_the_body_is_read(app: Any) -> None:
    class Unread:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError(size)

    for request in ({"key": None}, {"token": None}, {"CONTENT_LENGTH": str(2 << 20)}):
        assert call(app, environ_of(**{"wsgi.input": Unread(), **request})).status in (400, 413)


@pytest.mark.clause("HTTP-9")
def test_what_the_server_raises_while_it_reads_is_raised_and_claims_nothing(app: Any, shop: Shop) -> None:
    class Cut:
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        call(app, environ_of(**{"wsgi.input": Cut()}))
    assert shop.runs == 0
    assert call(app).status == 201


def test_the_application_gets_a_body_in_chunks_whole(app: Any, shop: Shop) -> None:
    terminated = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": None}
    first = call(app, body=b'{"a": 1}', **terminated)
    assert first.body == b'order 1: {"a": 1}'
    assert call(app, body=b'{"a": 1}').body == first.body


@pytest.mark.clause("HTTP-18")
def test_accept_encoding_is_hidden_from_the_application_alone(app: Any, shop: Shop) -> None:
    environ = environ_of(HTTP_ACCEPT_ENCODING="gzip")
    call(app, environ)
    assert "HTTP_ACCEPT_ENCODING" not in shop.seen[0]
    assert environ["HTTP_ACCEPT_ENCODING"] == "gzip"


@pytest.mark.clause("HTTP-8")
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_pass_untouched(app: Any, shop: Shop, method: str) -> None:
    environ = environ_of(method=method, HTTP_ACCEPT_ENCODING="gzip")
    call(app, environ)
    call(app, environ)
    assert shop.runs == 2
    assert shop.seen[0] is environ


@pytest.mark.clause("HTTP-10")
def test_a_path_is_compared_as_the_client_sent_it(app: Any, shop: Shop) -> None:
    call(app, path="/a/b", RAW_URI="/a%2Fb")
    assert problem(call(app, path="/a/b", RAW_URI="/a/b")) == (422, "payload-mismatch")
    assert shop.runs == 1


@pytest.mark.clause("HTTP-5")
def test_nested_middlewares_on_one_store_protect_once(shop: Shop, store: InMemoryPersistenceLayer) -> None:
    inner = WSGIIdempotencyMiddleware(shop, persistence_store=store)
    outer = WSGIIdempotencyMiddleware(inner, persistence_store=store)
    first, again = call(outer), call(outer)
    assert (first.status, again.body, shop.runs) == (201, first.body, 1)


@pytest.mark.clause("HTTP-23")
def test_of_many_threads_one_runs(store: InMemoryPersistenceLayer) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def answer(_: Any, start_response: Any) -> list[bytes]:
        begun.set()
        assert go_on.wait(30)
        start_response("200 OK", [])
        return [b"done"]

    shop, app = protected(answer, persistence_store=store)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(call, app)
        assert begun.wait(30)
        refused = [pool.submit(call, app) for _ in range(4)]
        for each in refused:
            assert problem(each.result()) == (409, "in-progress")
            assert each.result().header("retry-after") is not None
        go_on.set()
        assert first.result().body == b"done"
    assert (call(app).body, shop.runs) == (b"done", 1)


# What applications do.


def generator(_: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("X-Kind", "generator")])
    yield b"one "
    yield b"two"


def writer(_: Any, start_response: Any) -> list[bytes]:
    write = start_response("200 OK", [("X-Kind", "writer")])
    write(b"one ")
    return [b"two"]


def changing_its_mind(_: Any, start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [])
    try:
        raise LookupError
    except LookupError as error:
        start_response("200 OK", [("X-Kind", "other")], (LookupError, error, error.__traceback__))
    return [b"one two"]


def file(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("X-Kind", "file")])
    wrapper: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"one two"), 4)
    return wrapper


@pytest.mark.parametrize("answer", [generator, writer, changing_its_mind, file])
def test_every_way_to_answer_is_replayed(answer: Any) -> None:
    shop, app = protected(answer)
    variables = {"wsgi.file_wrapper": FileWrapper}
    first, again = call(app, **variables), call(app, **variables)
    assert (first.status, first.body) == (again.status, again.body) == (200, b"one two")
    assert first.header("x-kind") == again.header("x-kind") is not None
    assert shop.runs == 1


class Closing:
    """An iterable that notes what happens to it."""

    def __init__(self, events: list[str], *, fails: bool = False) -> None:
        self._events = events
        self._parts = iter([b"one ", b"two"])
        self._fails = fails

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._parts)

    def close(self) -> None:
        self._events.append("close")
        if self._fails:
            raise ZeroDivisionError


@pytest.mark.clause("HTTP-14", "HTTP-15")
@pytest.mark.parametrize(
    ("complete_when", "order"),
    [("response", ["stored", "sent", "close"]), ("app", ["close", "stored", "sent"])],
)
def test_an_answer_is_stored_then_sent_then_closed_or_closed_first(
    complete_when: Any, order: list[str], store: InMemoryPersistenceLayer
) -> None:
    events: list[str] = []
    swap = store._swap

    def noting(key: Any, expected: Any, new: Any, ttl_ms: Any) -> Any:
        if new is not None and new.status == "COMPLETED":
            events.append("stored")
        return swap(key, expected, new, ttl_ms)

    store._swap = noting  # type: ignore[method-assign]

    def answer(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Closing(events)

    _, app = protected(answer, persistence_store=store, routes=[Route("*", complete_when=complete_when)])

    def start_response(*_: Any) -> None:
        events.append("sent")

    found = app(environ_of(), start_response)
    assert b"".join(found) == b"one two"
    found.close()
    assert events == order


def test_an_exception_of_close_counts_if_the_application_must_have_ended() -> None:
    def answer(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Closing([], fails=True)

    _, app = protected(answer, routes=[Route("*", complete_when="app")])
    with pytest.raises(ZeroDivisionError):
        call(app)
    assert problem(call(app)) == (409, "unknown-outcome")


@pytest.mark.clause("HTTP-19")
@pytest.mark.parametrize("failure", [ValueError("no"), IdempotencyValidationError("its own"), SystemExit(3)])
@pytest.mark.parametrize(
    ("policy", "then"), [("refuse", (409, "unknown-outcome")), ("run", None)], ids=["refuse", "run"]
)
def test_what_the_application_raises_comes_out_unchanged(
    failure: BaseException, policy: Any, then: tuple[int, str] | None
) -> None:
    def answer(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"some"
        raise failure

    shop, app = protected(answer, on_takeover=policy)
    with pytest.raises(type(failure)) as raised:
        call(app)
    assert raised.value is failure
    if then is None:
        with pytest.raises(type(failure)):
            call(app)
        assert shop.runs == 2
    else:
        assert problem(call(app)) == then
        assert shop.runs == 1


@pytest.mark.clause("HTTP-21")
@pytest.mark.parametrize("status", ["500 Oops", "429 Slow Down", "401 Unauthorized"])
def test_an_answer_that_is_not_final_frees_the_key(status: str) -> None:
    def answer(_: Any, start_response: Any) -> list[bytes]:
        start_response(status, [("X-Run", "1")])
        return [b"no"]

    shop, app = protected(answer)
    for number in (1, 2):
        reply = call(app)
        assert (reply.status, reply.body, reply.header("x-run")) == (int(status[:3]), b"no", "1")
        assert shop.runs == number


@pytest.mark.clause("HTTP-16", "HTTP-24")
def test_a_large_answer_passes_as_it_is_made_and_is_not_kept() -> None:
    made: list[int] = []

    def answer(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for number in range(100):
            made.append(number)
            yield b"x" * 100

    shop, app = protected(answer, response_limit=1000)
    found = app(environ_of(), lambda *_: None)
    assert len(made) < 15
    assert b"".join(found) == b"x" * 10_000
    found.close()
    assert problem(call(app)) == (409, "result-unavailable")
    assert call(app).header("retry-after") is None
    assert shop.runs == 1


@pytest.mark.clause("HTTP-17")
@pytest.mark.parametrize("stated", ["3", "5"])
def test_an_answer_that_breaks_its_length_is_not_sent_and_not_kept(stated: str) -> None:
    def answer(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", stated)])
        return [b"four"]

    _, app = protected(answer)
    assert problem(call(app)) == (500, "incomplete-response")
    assert problem(call(app)) == (409, "unknown-outcome")


# The store.


@pytest.mark.clause("HTTP-25")
def test_if_the_store_fails_first_nothing_runs(
    app: Any, shop: Shop, store: InMemoryPersistenceLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> Any:
        raise ConnectionError("down")

    with monkeypatch.context() as outage:
        outage.setattr(store, "_swap", failing)
        outage.setattr(store, "_load", failing)
        assert problem(call(app)) == (503, "store-failed")
    assert shop.runs == 0
    assert call(app).status == 201


def test_cancelling_the_application_is_refused_at_once(shop: Shop, store: Any) -> None:
    config = IdempotencyConfig(renew_lease=True, cancel_when_lost=True, in_progress_expires_after_seconds=60)
    with pytest.raises(IdempotencyConfigError, match="cancel_when_lost=True cancels async code"):
        WSGIIdempotencyMiddleware(shop, persistence_store=store, config=config)


def test_an_async_layer_is_refused_at_once(shop: Shop, tmp_path: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="async layer"):
        WSGIIdempotencyMiddleware(shop, persistence_store=AsyncSQLitePersistenceLayer(tmp_path / "a.db"))


@pytest.mark.clause("HTTP-20")
def test_if_the_store_fails_later_the_answer_is_sent(
    shop: Shop, store: InMemoryPersistenceLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = store._swap

    def failing(key: Any, expected: Any, new: Any, ttl_ms: Any) -> Any:
        if new is not None and new.status == "COMPLETED":
            raise ConnectionError("down")
        return swap(key, expected, new, ttl_ms)

    monkeypatch.setattr(store, "_swap", failing)
    config = IdempotencyConfig(completion_timeout_seconds=0.01)
    app = WSGIIdempotencyMiddleware(shop, persistence_store=store, config=config)
    assert call(app).body == b"order 1: {}"
    assert problem(call(app)) == (409, "in-progress")
    assert shop.runs == 1


def test_what_a_server_closes_closes_the_application_after_every_end(store: InMemoryPersistenceLayer) -> None:
    """Also if another attempt has taken over, so that another answer is sent."""
    events: list[str] = []
    now = [1_000_000_000_000]
    config = IdempotencyConfig(clock=lambda: now[0], in_progress_expires_after_seconds=1)
    inner: list[Any] = []

    def answer(_: Any, start_response: Any) -> Iterable[bytes]:
        if not inner:
            inner.append(None)
            now[0] += 2000
            assert call(app).status == 200  # which takes over
        start_response("200 OK", [])
        return Closing(events)

    shop, app = protected(answer, persistence_store=store, config=config, on_takeover="run")
    late = call(app)
    assert late.header("idempotency-replayed") == "true" or problem(late) == (409, "lease-lost")
    assert events == ["close", "close"]
    assert shop.runs == 2


def test_a_server_that_fails_to_start_the_response_closes_the_application(shop: Shop) -> None:
    events: list[str] = []

    def answer(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Closing(events)

    def broken(*_: Any) -> None:
        raise ConnectionResetError

    _, app = protected(answer)
    with pytest.raises(ConnectionResetError):
        app(environ_of(), broken)
    assert events == ["close"]


def test_the_reason_of_the_application_is_kept_for_its_own_answer(app: Any) -> None:
    lines: list[str] = []
    for _ in range(2):
        app(environ_of(), lambda status, _: lines.append(status)).close()
    assert lines == ["201 Made", "201 Created"]


@pytest.mark.clause("HTTP-8")
def test_a_route_is_a_path_in_the_application(shop: Shop, store: InMemoryPersistenceLayer) -> None:
    app = WSGIIdempotencyMiddleware(shop, persistence_store=store, routes=[Route("/orders", key="ignored")])
    mounted = {"SCRIPT_NAME": "/\xc5\x82", "PATH_INFO": "/orders", "HTTP_IDEMPOTENCY_KEY": "bare"}
    assert call(app, **mounted).status == 201
    assert call(app, **mounted | {"SCRIPT_NAME": "/orders", "PATH_INFO": "/other"}).status == 400


def test_an_interrupt_closes_what_the_application_returned() -> None:
    """As a timeout of gevent does, which comes while the answer is stored."""

    class Interrupt(BaseException):
        pass

    class Answer(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    def answer(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Answer([b"1"])

    def interrupted(_: str, body: Callable[[], Any], **__: Any) -> None:
        body()
        raise Interrupt

    closed: list[bool] = []
    _, app = protected(answer)
    app.protection.idempotency.run = interrupted
    with pytest.raises(Interrupt):
        call(app)
    assert closed == [True]


@pytest.mark.clause("HTTP-4")
def test_an_awaitable_allows_nothing(shop: Shop, store: InMemoryPersistenceLayer) -> None:
    class Awaitable:
        def __await__(self) -> Iterator[None]:
            yield

    app = WSGIIdempotencyMiddleware(shop, persistence_store=store, authorize=lambda _: Awaitable())
    assert call(app).status == 201
    assert problem(call(app)) == (403, "not-authorized")
