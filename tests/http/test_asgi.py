"""The middleware for ASGI: which requests are protected, refused and replayed."""

import asyncio
import json
import logging
from typing import Any

import pytest

from asgi_calls import KEY, Counted, Exchange, Reply, call, protected
from idemproof import (
    NOT_DONE,
    AsyncInMemoryPersistenceLayer,
    Idempotency,
    IdempotencyConfig,
    IdempotencyWarning,
    InMemoryPersistenceLayer,
)
from idemproof.drivers.blocking import request as perform
from idemproof.errors import IdempotencyConfigError, IdempotencyValidationError
from idemproof.http import PROBLEMS, Request, Response, Route
from idemproof.spec.commands import RunBody
from idemproof.testing import MovableClock

pytestmark = pytest.mark.once


@pytest.fixture(params=[InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer], ids=["blocking", "async"])
def store(request: pytest.FixtureRequest) -> Any:
    return request.param()


def problem(reply: Reply) -> str:
    """Return the name of a refusal, after checks that hold for each of them."""
    assert reply.header("content-type") == "application/problem+json"
    assert reply.header("content-length") == str(len(reply.body))
    found = json.loads(reply.body)
    name: str = found["type"].removeprefix("urn:idemproof:http:")
    assert found["status"] == reply.status == PROBLEMS[name].status
    assert found["title"] == PROBLEMS[name].title
    assert set(found) == {"type", "title", "status", "detail"}
    assert KEY.strip('"') not in reply.body.decode()
    assert "Bearer ann" not in reply.body.decode()
    return name


# First answers, and replays.


@pytest.mark.clause("HTTP-22")
def test_a_repeat_gets_the_first_answer_byte_for_byte(store: Any) -> None:
    body = bytes(range(256))
    app = Counted(
        202,
        [(b"Content-Type", b"x/y"), (b"Location", b"/orders/1"), (b"vary", b"a")],
        [body[:100], body[100:]],
    )
    middleware = protected(app, store)
    first, repeat = call(middleware), call(middleware)
    assert (
        (first.status, first.body, first.complete)
        == (repeat.status, repeat.body, repeat.complete)
        == (202, body, True)
    )
    assert app.runs == 1
    assert not first.replayed
    assert repeat.replayed
    kept = ("content-type", "location", "vary")
    assert [first.header(name) for name in kept] == [repeat.header(name) for name in kept]
    assert repeat.header("content-length") == "256"


@pytest.mark.clause("HTTP-22")
def test_headers_of_one_answer_are_not_repeated() -> None:
    once = [
        "set-cookie",
        "date",
        "server",
        "age",
        "connection",
        "x-own",
        "transfer-encoding",
        "access-control-allow-origin",
    ]
    once += ["x-request-id", "traceparent", "ratelimit-remaining", "x-ratelimit-limit", "server-timing"]
    lines = [(name.encode(), b"x-own" if name == "connection" else b"1") for name in once]
    app = Counted(201, [*lines, (b"etag", b'"1"'), (b"idempotency-replayed", b"true")])
    middleware = protected(app)
    first, repeat = call(middleware), call(middleware)
    assert [first.header(name) is not None for name in once] == [True] * len(once)
    assert [name for name in once if repeat.header(name) is not None] == []
    assert repeat.header("etag") == first.header("etag") == '"1"'
    assert not first.replayed
    assert [line for line in repeat.headers if line[0] == "idempotency-replayed"] == [
        ("idempotency-replayed", "true")
    ]


@pytest.mark.clause("HTTP-22")
def test_headers_can_be_chosen_but_not_the_marker() -> None:
    app = Counted(201, [(b"set-cookie", b"a"), (b"etag", b"b"), (b"idempotency-replayed", b"false")])
    middleware = protected(app, keep_headers=["Set-Cookie", "Idempotency-Replayed"], drop_headers=["ETag"])
    call(middleware)
    repeat = call(middleware)
    assert (repeat.header("set-cookie"), repeat.header("etag")) == ("a", None)
    assert [value for name, value in repeat.headers if name == "idempotency-replayed"] == ["true"]


@pytest.mark.clause("HTTP-22")
@pytest.mark.parametrize("status", [204, 304])
def test_a_replay_without_a_body_has_no_length(status: int) -> None:
    middleware = protected(Counted(status, chunks=[b""]))
    call(middleware)
    repeat = call(middleware)
    assert (repeat.status, repeat.replayed, repeat.header("content-length")) == (status, True, None)


@pytest.mark.clause("HTTP-21")
@pytest.mark.parametrize("policy", ["refuse", "run"])
@pytest.mark.parametrize("status", [500, 502, 503, 599, 307, 308, 401, 407, 408, 421, 425, 429])
def test_an_answer_that_is_not_final_releases_the_key(status: int, policy: Any) -> None:
    app, store = Counted(status), InMemoryPersistenceLayer()
    middleware = protected(app, store, on_takeover=policy)
    assert [call(middleware).body for _ in range(2)] == [b"run 1", b"run 2"]
    assert len(store) == 0


@pytest.mark.clause("HTTP-21")
@pytest.mark.parametrize("status", [200, 201, 204, 301, 303, 400, 403, 404, 409, 412, 418, 422, 451])
def test_any_other_answer_is_final(status: int) -> None:
    app = Counted(status)
    middleware = protected(app)
    call(middleware)
    assert call(middleware).status == status
    assert app.runs == 1


@pytest.mark.clause("HTTP-21")
@pytest.mark.parametrize("status", [202, 303])
def test_an_accepted_operation_that_says_when_to_look_again_is_final(status: int) -> None:
    app = Counted(status, [(b"retry-after", b"5")])
    middleware = protected(app)
    call(middleware)
    repeat = call(middleware)
    assert (repeat.status, repeat.header("retry-after"), app.runs) == (status, "5", 1)


@pytest.mark.clause("HTTP-21")
def test_retry_after_and_routes_decide_too() -> None:
    for options, runs in (
        ({}, 2),
        ({"routes": [Route("/orders", keep=[409])]}, 1),
    ):
        app = Counted(409, [(b"Retry-After", b"3")])
        middleware = protected(app, **options)
        call(middleware)
        call(middleware)
        assert app.runs == runs
    for status, route, runs in (
        (503, Route("/orders", keep=[503]), 1),
        (404, Route("/orders", release=[404]), 2),
    ):
        app = Counted(status)
        middleware = protected(app, routes=[route])
        call(middleware)
        call(middleware)
        assert app.runs == runs


# Whose key it is.


@pytest.mark.clause("HTTP-1", "HTTP-2")
def test_a_key_belongs_to_one_caller(store: Any) -> None:
    app = Counted()
    middleware = protected(app, store)
    answers = [
        call(middleware, token=token).body
        for token in ("Bearer ann", "bearer  ann ", "Bearer bob", "Basic ann", "Token ann", "ApiKey ann")
    ]
    assert answers == [b"run 1", b"run 1", b"run 2", b"run 3", b"run 4", b"run 5"]


@pytest.mark.clause("HTTP-2")
@pytest.mark.parametrize(
    "token",
    [None, "", "Bearer", "Bearer ", "ann", "Digest username=ann", 'Signature keyId="ann"', "Bearer ,"],
)
def test_a_request_without_credentials_is_refused(token: str | None) -> None:
    app = Counted()
    reply = call(protected(app), token=token)
    assert problem(reply) == "no-scope"
    assert app.runs == 0


@pytest.mark.clause("HTTP-2")
def test_two_authorization_headers_are_refused() -> None:
    reply = call(protected(Counted()), headers=[("authorization", "Bearer ann")])
    assert problem(reply) == "no-scope"


@pytest.mark.clause("HTTP-1")
def test_services_and_scopes_have_their_own_keys() -> None:
    app, store = Counted(), InMemoryPersistenceLayer()
    by_user = {"scope": lambda request: request.native["state"]["user"]}
    for number, options in enumerate(
        (
            {"service": "a"},
            {"service": "b"},
            {},
            {"scope": None},
            by_user,
            {"config": IdempotencyConfig(service="c")},
        ),
        start=1,
    ):
        middleware = protected(app, store, **options)
        for _ in range(2):
            assert call(middleware, state={"user": 7}).body == b"run %d" % number
    assert call(protected(app, store, **by_user), state={"user": 8}).body == b"run 7"
    assert any(key.startswith("a#http:") for key in store._records)


@pytest.mark.clause("HTTP-3")
@pytest.mark.parametrize("found", [None, "", " ", False, True, b"ann", ["ann"], ValueError("ann")])
def test_a_scope_function_that_finds_nothing_refuses(found: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def scope(request: Request) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    app = Counted()
    assert problem(call(protected(app, scope=scope))) == "no-scope"
    assert app.runs == 0


@pytest.mark.clause("HTTP-2")
def test_tokens_that_change_are_warned_of_once() -> None:
    middleware = protected(Counted())
    with pytest.warns(IdempotencyWarning, match="look like JWTs"):
        call(middleware, token="Bearer eyJh.eyJz.c2ln")
    call(middleware, token="Bearer eyJh.eyJz.c2lo")


@pytest.mark.clause("HTTP-4")
@pytest.mark.parametrize("allowed", [True, False, None, ValueError("no")])
def test_each_replay_is_authorized(allowed: Any) -> None:
    asked: list[Request] = []

    def authorize(request: Request) -> Any:
        asked.append(request)
        if isinstance(allowed, Exception):
            raise allowed
        return allowed

    app = Counted()
    middleware = protected(app, authorize=authorize)
    assert call(middleware, b"[1]").status == 201
    assert asked == []
    repeat = call(middleware, b"[1]")
    assert [request.body for request in asked] == [b"[1]"]
    if allowed is True:
        assert repeat.replayed
    else:
        assert problem(repeat) == "not-authorized"
    assert app.runs == 1


@pytest.mark.clause("HTTP-5")
def test_a_middleware_inside_of_another_passes_the_request_on() -> None:
    app, store = Counted(), InMemoryPersistenceLayer()
    both = protected(protected(app, store), store)
    assert [call(both).body for _ in range(2)] == [b"run 1"] * 2
    assert len(store) == 1

    both = protected(protected(app, store, service="inner"), store, service="outer")
    assert call(both, key='"3"').status == 201
    assert len(store) == 2

    class Twin(InMemoryPersistenceLayer):
        """Another layer for the same records."""

    twin = Twin()
    twin._records = store._records
    both = protected(protected(app, twin), store)
    assert call(both, key='"2"').status == 201
    assert call(both, key='"2"').replayed


@pytest.mark.clause("HTTP-5")
def test_a_middleware_inside_of_one_that_passes_on_protects() -> None:
    app, store = Counted(), InMemoryPersistenceLayer()
    both = protected(protected(app, store), store, routes=[Route("/*", key="ignored")])
    assert [call(both).body for _ in range(2)] == [b"run 1"] * 2


# Which requests need a key.


@pytest.mark.clause("HTTP-8")
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"])
def test_safe_methods_pass_as_they_are(method: str) -> None:
    app = Counted()
    middleware = protected(app)
    assert [call(middleware, method=method, token=None).body for _ in range(2)] == [b"run 1", b"run 2"]
    assert app.scopes[0]["headers"] == [(b"idempotency-key", KEY.encode())]


@pytest.mark.clause("HTTP-8")
@pytest.mark.parametrize(
    ("method", "status"), [("POST", 400), ("PATCH", 400), ("MERGE", 400), ("PUT", 201), ("DELETE", 201)]
)
def test_a_key_is_required_or_optional_by_the_method(method: str, status: int) -> None:
    app = Counted()
    middleware = protected(app)
    missing = call(middleware, method=method, key=None)
    assert missing.status == status
    if status == 400:
        assert problem(missing) == "key-missing"
    runs = app.runs
    for _ in range(2):
        assert call(middleware, method=method).status == 201
    assert app.runs == runs + 1


@pytest.mark.clause("HTTP-8")
def test_routes_change_that() -> None:
    routes = [
        Route("/events/*", key="ignored"),
        Route("/orders/{id}/notes", methods=["post"], key="optional"),
        Route("/orders/{id}", methods=["PUT"], key="required"),
    ]
    app = Counted()
    middleware = protected(app, routes=routes)
    for method, path, status in (
        ("POST", "/events/1/2", 201),
        ("POST", "/orders/1/notes", 201),
        ("POST", "/orders/1/2/notes", 400),
        ("PATCH", "/orders/1/notes", 400),
        ("PUT", "/orders/1", 400),
        ("PUT", "/orders/", 201),
        ("PUT", "/%6frders/1", 400),
        ("GET", "/orders/1", 201),
    ):
        assert call(middleware, method=method, path=path, key=None).status == status, (method, path)


@pytest.mark.clause("HTTP-8")
def test_other_connections_pass() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    for kind in ("websocket", "lifespan"):
        call(protected(app), type=kind)
    assert seen == ["websocket", "lifespan"]


@pytest.mark.clause("HTTP-7")
@pytest.mark.parametrize("key", ["k", '""', '"a", "b"', '"' + "x" * 256 + '"'])
def test_a_malformed_key_is_refused(key: str) -> None:
    app = Counted()
    assert problem(call(protected(app), key=key)) == "key-malformed"
    assert problem(call(protected(app), headers=[("idempotency-key", KEY)])) == "key-malformed"
    assert app.runs == 0


@pytest.mark.clause("HTTP-6")
def test_forms_of_one_key_are_one_key() -> None:
    app = Counted()
    middleware = protected(app, key_form="either")
    assert {call(middleware, key=key).body for key in ("k", '"k"', '"k";v=1', ' "k"')} == {b"run 1"}


# The body of the request.


class Unread(Exception):  # noqa: N818 - it is no error of the code
    pass


@pytest.mark.clause("HTTP-9")
@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"key": "k"}, "key-malformed"),
        ({"key": None}, "key-missing"),
        ({"token": None}, "no-scope"),
        ({"headers": [("content-length", str(1 << 21))]}, "body-too-large"),
        ({"headers": [("content-length", "x")]}, "incomplete-body"),
        ({"headers": [("content-length", "-1")]}, "incomplete-body"),
        ({"headers": [("content-length", "1"), ("content-length", "1")]}, "incomplete-body"),
    ],
)
def test_it_is_not_read_before_the_checks(options: Any, refusal: str) -> None:
    exchange = Exchange(protected(Counted()), **options)
    assert problem(asyncio.run(exchange())) == refusal
    assert exchange.asked == 0


@pytest.mark.clause("HTTP-9")
def test_one_that_is_too_large_or_incomplete_makes_no_claim() -> None:
    app, store = Counted(), InMemoryPersistenceLayer()
    middleware = protected(app, store, request_limit=10, routes=[Route("/large", request_limit=20)])
    assert problem(call(middleware, [b"12345", b"678901"])) == "body-too-large"
    assert problem(call(middleware, b"123", headers=[("content-length", "4")])) == "incomplete-body"
    assert (app.runs, len(store)) == (0, 0)
    assert call(middleware, [b"12345", b"678901"], path="/large").status == 201
    assert call(middleware, [b"12345", b"67890"], key='"2"').status == 201
    assert app.bodies == [b"12345678901", b"1234567890"]


@pytest.mark.clause("HTTP-9")
def test_a_client_that_leaves_while_it_sends_makes_no_claim() -> None:
    app, store = Counted(), InMemoryPersistenceLayer()

    async def leave() -> Reply:
        exchange = Exchange(protected(app, store), [b"1", b"2"])
        exchange._incoming.get_nowait()
        exchange._incoming.get_nowait()
        exchange._incoming.put_nowait({"type": "http.request", "body": b"1", "more_body": True})
        exchange.disconnect()
        return await exchange()

    assert asyncio.run(leave()).messages == []
    assert (app.runs, len(store)) == (0, 0)


# Refusals.


@pytest.mark.clause("HTTP-10", "HTTP-25")
def test_another_payload_is_refused() -> None:
    app = Counted()
    middleware = protected(app, documentation="https://example.com/keys")
    call(middleware)
    for options in ({"body": b"[]"}, {"path": "/other"}, {"query": "a=1"}, {"method": "PATCH"}):
        reply = call(middleware, **options)
        assert problem(reply) == "payload-mismatch"
        assert reply.header("link") == '<https://example.com/keys>; rel="describedby"; type="text/html"'
    assert app.runs == 1


@pytest.mark.clause("HTTP-24")
def test_a_claim_whose_server_has_died_is_parked() -> None:
    app, store = Counted(), InMemoryPersistenceLayer()
    clock = MovableClock()
    middleware = protected(app, store, config=IdempotencyConfig(clock=clock))
    key = middleware.protection.key_of(KEY.strip('"'), _scope(middleware))
    core: Idempotency = middleware.protection.idempotency
    _claim_and_die(core, key)
    reply = call(middleware)
    assert problem(reply) == "payload-mismatch"  # the dead claim has no such payload
    store._records.clear()
    _claim_and_die(core, key, payload_hash="")
    busy = call(middleware)
    assert (problem(busy), busy.header("retry-after")) == ("in-progress", "1")
    clock.advance(61)
    parked = call(middleware)
    assert (problem(parked), parked.header("retry-after")) == ("unknown-outcome", None)
    assert app.runs == 0


def _scope(middleware: Any) -> str:
    request = Request("POST", b"/orders", b"", ((b"authorization", b"Bearer ann"),))
    scope: str = middleware.protection.settings.scope(request)
    return scope


class Died(BaseException):
    pass


def _claim_and_die(core: Idempotency, key: str, payload_hash: str = "another") -> None:
    """Leave a claim in the store, as a killed worker does."""
    engine, store = core._core.engine, core._core.store
    steps = engine.steps(core.stored_key(key), payload_hash or None)
    command = next(steps)
    while not isinstance(command, RunBody):
        command = steps.send(perform(store, command))


@pytest.mark.clause("HTTP-25")
def test_a_store_that_fails_before_the_run_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(InMemoryPersistenceLayer):
        def _swap(self, *arguments: Any, **options: Any) -> Any:
            raise ConnectionError("no store")

    app = Counted()
    with caplog.at_level(logging.ERROR, "idemproof"):
        assert problem(call(protected(app, Failing()))) == "store-failed"
    assert app.runs == 0
    assert "no store" in caplog.text


# Asking about an earlier attempt.


@pytest.mark.parametrize("landed", [True, False])
def test_a_function_can_find_out_what_a_dead_server_has_done(landed: bool) -> None:
    asked = []

    async def on_takeover(request: Request) -> Any:
        asked.append(request.body)
        return Response(200, ((b"x-found", b"1"),), b"landed") if landed else NOT_DONE

    app, store = Counted(), InMemoryPersistenceLayer()
    clock = MovableClock()
    middleware = protected(app, store, on_takeover=on_takeover, config=IdempotencyConfig(clock=clock))
    _claim_and_die(
        middleware.protection.idempotency,
        middleware.protection.key_of(KEY.strip('"'), _scope(middleware)),
        "",
    )
    clock.advance(61)
    reply = call(middleware, b"[1]")
    again = call(middleware, b"[1]")
    assert asked == [b"[1]"]
    assert reply.body == again.body == (b"landed" if landed else b"run 1")
    assert app.runs == (not landed)
    assert again.replayed


# Settings.


@pytest.mark.clause("HTTP-26")
@pytest.mark.parametrize(
    "config",
    [
        {"event_key_jmespath": "id"},
        {"payload_validation_jmespath": "id"},
        {"response_hook": lambda response, record: response},
        {"final_errors": (KeyError,)},
        {"hash_secret": "s"},
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config: Any) -> None:
    with pytest.raises(IdempotencyConfigError):
        protected(Counted(), config=IdempotencyConfig(**config))


@pytest.mark.clause("HTTP-26")
def test_the_defaults_are_those_of_the_protocol() -> None:
    for given in (None, IdempotencyConfig()):
        config = protected(Counted(), config=given).protection.settings.config
        assert (config.hash_function, config.in_progress_expires_after_seconds, config.on_takeover) == (
            "sha256",
            60,
            "refuse",
        )
        assert (config.wait_for_in_progress_seconds, config.expires_after_seconds) == (0, 86400)
    assert protected(Counted(), profile="iceberg").protection.settings.config.expires_after_seconds == 1800
    own = IdempotencyConfig(
        expires_after_seconds=10, in_progress_expires_after_seconds=5, hash_function="sha256", hash_secret="s"
    )
    config = protected(
        Counted(), config=own, on_takeover="run", window_seconds=3600
    ).protection.settings.config
    assert (config.expires_after_seconds, config.in_progress_expires_after_seconds, config.on_takeover) == (
        3600,
        5,
        "run",
    )
    assert own.on_takeover == "run"
    assert own.expires_after_seconds == 10


@pytest.mark.clause("HTTP-26")
@pytest.mark.parametrize(
    "options",
    [
        {"profile": "none"},
        {"profile": 1},
        {"scope": "user"},
        {"authorize": True},
        {"on_takeover": "ask"},
        {"service": "a b"},
        {"key_form": "any"},
        {"complete_when": "never"},
        {"fingerprint_headers": "x-a"},
        {"request_limit": -1},
        {"response_limit": True},
        {"routes": ["/a"]},
        {"window_seconds": 0},
        {"documentation": "a b"},
        {"service": "a", "config": IdempotencyConfig(service="b")},
    ],
)
def test_a_wrong_setting_is_refused_when_the_middleware_is_made(options: Any) -> None:
    with pytest.raises(IdempotencyConfigError):
        protected(Counted(), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"path": "orders"},
        {"path": "/a*b"},
        {"path": "/a", "methods": "POST"},
        {"path": "/a", "key": "never"},
        {"path": "/a", "key": "required", "methods": ["GET"]},
        {"path": "/a", "complete_when": "later"},
        {"path": "/a", "keep": [404], "release": [404]},
    ],
)
def test_a_wrong_route_is_refused(options: Any) -> None:
    with pytest.raises(IdempotencyConfigError):
        Route(**options)


def test_keys_with_a_secret_are_hmacs() -> None:
    app, store = Counted(), InMemoryPersistenceLayer()
    config = IdempotencyConfig(hash_function="sha256", hash_secret="s")
    call(protected(app, store, config=config))
    call(protected(app, store))
    assert len(store) == 2


@pytest.mark.clause("HTTP-19")
@pytest.mark.parametrize(
    "wrong", [IdempotencyValidationError("its own"), ValueError("a"), "landed", Response(503), Response(429)]
)
@pytest.mark.parametrize("later", [False, True])
def test_a_question_without_an_answer_leaves_the_key_parked(wrong: Any, later: bool) -> None:
    def now(request: Request) -> Any:
        if isinstance(wrong, Exception):
            raise wrong
        return wrong

    async def soon(request: Request) -> Any:
        return now(request)

    app, store, clock = Counted(), InMemoryPersistenceLayer(), MovableClock()
    middleware = protected(
        app, store, on_takeover=soon if later else now, config=IdempotencyConfig(clock=clock)
    )
    key = middleware.protection.key_of(KEY.strip('"'), _scope(middleware))
    _claim_and_die(middleware.protection.idempotency, key, "")
    clock.advance(61)
    raised = type(wrong) if isinstance(wrong, Exception) else TypeError
    with pytest.raises(ValueError if isinstance(wrong, Response) else raised):
        call(middleware)
    assert app.runs == 0
    assert [record.status for record in store._records.values()] == ["INPROGRESS"]


@pytest.mark.clause("HTTP-8")
@pytest.mark.parametrize("root", ["/shop", "/shop/", "/łódź"])
def test_a_route_is_a_path_in_the_application(root: str) -> None:
    """So that it counts wherever the application is mounted."""
    app = Counted()
    middleware = protected(app, routes=[Route("/orders", key="ignored")])
    path = f"{root.rstrip('/')}/orders"
    assert call(middleware, path=path, root_path=root, key=None).status == 201
    assert call(middleware, path="/orders", root_path=root, key=None).status == 201
    assert call(middleware, path="/shops/orders", root_path=root, key=None).status == 400


# What the server and the operator bring.


@pytest.mark.clause("HTTP-10")
def test_a_path_that_a_middleware_has_changed_counts() -> None:
    """As one that maps the host to a path does."""
    app = Counted()
    middleware = protected(app)
    assert call(middleware, path="/a/pay", raw_path=b"/pay").status == 201
    assert problem(call(middleware, path="/b/pay", raw_path=b"/pay")) == "payload-mismatch"
    # A mounted application may have only the rest of the path.
    seen: list[bytes] = []
    mounted = protected(Counted(), scope=lambda request: seen.append(request.path))
    call(mounted, path="/a/b", raw_path=b"/shop/a%2Fb", root_path="/shop")
    call(mounted, path="/shop/%ff")
    assert seen == [b"/shop/a%2Fb", b"/shop/%ff"]


@pytest.mark.clause("HTTP-25")
def test_a_length_beyond_all_numbers_is_refused_by_name() -> None:
    app = Counted()
    reply = call(protected(app), headers=[("content-length", "9" * 5000)])
    assert (problem(reply), app.runs) == ("incomplete-body", 0)


@pytest.mark.clause("HTTP-25")
def test_a_key_that_was_resolved_with_nothing_is_refused_by_name() -> None:
    app = Counted()
    middleware = protected(app, scope=lambda _: "ann")
    rules = middleware.protection
    rules.idempotency.run(rules.key_of(KEY.strip('"'), "ann"), lambda: None)
    assert (problem(call(middleware)), app.runs) == ("result-unavailable", 0)


@pytest.mark.clause("HTTP-1")
def test_a_number_and_its_text_are_two_callers() -> None:
    app = Counted()
    callers: list[Any] = [7, "7", 55, "37", 10**5000]
    middleware = protected(app, scope=lambda _: callers[0])
    while callers:
        assert call(middleware).status == 201
        if len(callers) > 1:
            assert middleware.protection.key_of("k", callers[0]) != middleware.protection.key_of(
                "k", callers[1]
            )
        del callers[0]
    assert app.runs == 5


@pytest.mark.clause("HTTP-3")
def test_a_scope_of_another_type_is_refused_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    app = Counted()
    assert problem(call(protected(app, scope=lambda _: b"ann"))) == "no-scope"
    assert "returned a bytes" in caplog.text
    assert app.runs == 0


@pytest.mark.parametrize(
    "wrong",
    [{"keep": ["500"]}, {"release": [True]}, {"keep": [99]}, {"request_limit": -1}, {"response_limit": "9"}],
)
def test_a_route_with_a_wrong_number_is_refused(wrong: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="of a Route is"):
        Route("/orders", **wrong)
