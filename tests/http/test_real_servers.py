"""The rules over the wire: real servers, real stores, and a client that sends what it likes."""

import contextlib
import http.client
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from http_apps import going_on
from http_servers import KINDS, HTTPServer, headers, order
from raw_http import RawConnection, Reply, chunks, exchange, request
from wsgi_calls import problem

pytestmark = pytest.mark.once

WAIT_SECONDS = 30
RULES: list[Callable[[HTTPServer, str], None]] = []
"""What holds over each server; a rule gets a key of its own."""


def rule(function: Callable[[HTTPServer, str], None]) -> Callable[[HTTPServer, str], None]:
    RULES.append(function)
    return function


def count(server: HTTPServer, key: str) -> int:
    """Return how many effects the key has had."""
    return sum(effect.key == key for effect in server.effects())


def eventually(ask: Callable[[], Reply], status: int) -> Reply:
    """Ask until there is such an answer; nothing else but 409 may come before."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        reply = ask()
        if reply.status == status:
            return reply
        assert problem(reply) == (409, "in-progress"), reply
        assert time.monotonic() < until, reply
        time.sleep(0.02)


def happened(server: HTTPServer, key: str) -> None:
    """Wait until the effect has happened."""
    until = time.monotonic() + WAIT_SECONDS
    while not count(server, key):
        assert time.monotonic() < until
        time.sleep(0.01)


@rule
def a_repeat_gets_the_first_answer_and_has_no_effect(server: HTTPServer, key: str) -> None:
    first, again = (order(server, key, target="/orders?cookie=1") for _ in range(2))
    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    assert again.header("x-order") == first.header("x-order") == first.json()["number"]
    assert again.header("content-type") == first.header("content-type")
    assert (first.header("idempotency-replayed"), again.header("idempotency-replayed")) == (None, "true")
    assert first.header("set-cookie") is not None
    assert again.header("set-cookie") is None
    assert count(server, key) == 1


@rule
def a_streamed_answer_is_replayed_byte_for_byte(server: HTTPServer, key: str) -> None:
    first, again = (order(server, key, target="/orders?stream=1&parts=5") for _ in range(2))
    assert (first.status, again.status) == (201, 201)
    assert len(first.body) > 5000
    assert again.body == first.body
    assert count(server, key) == 1


@rule
def callers_and_payloads_do_not_get_each_others_answers(server: HTTPServer, key: str) -> None:
    first = order(server, key, b'{"a": 1}')
    assert problem(order(server, key, b'{"a": 2}')) == (422, "payload-mismatch")
    assert problem(order(server, key, b'{"a": 1}', "/orders?status=202")) == (422, "payload-mismatch")
    other = order(server, key, b'{"a": 1}', tenant="grace")
    assert (first.json()["tenant"], other.json()["tenant"]) == ("ada", "grace")
    assert order(server, key, b'{ "a":1 }').body == first.body
    assert count(server, key) == 2


@rule
def a_request_without_one_valid_key_is_refused(server: HTTPServer, key: str) -> None:
    quoted = f'"{key}"'
    for keys, name in (
        ([], "key-missing"),
        ([key], "key-malformed"),
        ([quoted, quoted], "key-malformed"),
        ([f"{quoted}, {quoted}"], "key-malformed"),
    ):
        lines = [*headers(), *(("Idempotency-Key", value) for value in keys)]
        assert problem(exchange(server, request("/orders", lines, b"{}"))) == (400, name)
    assert count(server, key) == 0


@rule
def a_request_without_one_caller_is_refused(server: HTTPServer, key: str) -> None:
    for callers in ([], ["Bearer a", "Bearer b"], [""]):
        lines = [*headers(key, tenant=None), *(("Authorization", value) for value in callers)]
        assert problem(exchange(server, request("/orders", lines, b"{}"))) == (400, "no-scope")
    assert count(server, key) == 0


@rule
def a_request_during_the_first_one_is_refused_with_an_estimate(server: HTTPServer, key: str) -> None:
    target = "/orders?hold=1"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(order, server, key, target=target)
        try:
            happened(server, key)
            early = order(server, key, target=target)
        finally:
            going_on(server.folder, key).touch()
        assert problem(early) == (409, "in-progress")
        assert 1 <= int(early.header("retry-after") or "") <= 60
        assert first.result().status == 201
    late = order(server, key, target=target)
    assert (late.status, late.body) == (201, first.result().body)
    assert count(server, key) == 1


@rule
def a_server_error_frees_the_key(server: HTTPServer, key: str) -> None:
    for number in (1, 2):
        assert order(server, key, target="/orders?status=500").status == 500
        assert count(server, key) == number


@rule
def half_a_body_claims_nothing(server: HTTPServer, key: str) -> None:
    body = b'{"half": true}'
    for hang_up in (RawConnection.reset, RawConnection.end_sending):
        with RawConnection(server) as connection:
            connection.send(request("/orders", headers(key), body[:5], length=len(body)))
            hang_up(connection)
            with contextlib.suppress(OSError, http.client.HTTPException):
                assert connection.reply().status in (400, 408)
    reply = order(server, key, body)
    assert (reply.status, reply.header("idempotency-replayed")) == (201, None)
    assert count(server, key) == 1


@rule
def a_client_that_hangs_up_finds_the_answer_later(server: HTTPServer, key: str) -> None:
    target = "/orders?sleep=0.2"
    with RawConnection(server) as connection:
        connection.send(request(target, headers(key), b"{}"))
        happened(server, key)
        connection.reset()
    reply = eventually(lambda: order(server, key, target=target), 201)
    assert reply.header("idempotency-replayed") == "true"
    assert count(server, key) == 1


@rule
def a_body_in_chunks_is_the_same_payload(server: HTTPServer, key: str) -> None:
    body = b'{"seats": 2}'
    lines = [*headers(key), ("Transfer-Encoding", "chunked")]
    with RawConnection(server) as connection:
        connection.send(request("/orders", lines, None) + b"".join(chunks([body[:3], body[3:]])))
        first = connection.reply()
    if server.spec.application == "django_wsgi":  # which reads nothing of it
        assert problem(first) == (411, "length-required")
        return
    assert first.status == 201
    again = order(server, key, body)
    assert (again.status, again.body) == (201, first.body)
    assert count(server, key) == 1


@rule
def a_body_over_the_limit_is_refused_before_it_is_read(server: HTTPServer, key: str) -> None:
    size = 2 << 20
    begun = size if server.spec.application == "django_asgi" else 1  # Django itself reads all of it before
    with RawConnection(server) as connection:
        connection.send(request("/orders", headers(key), b"x" * begun, length=size))
        reply = connection.reply()
    assert problem(reply) == (413, "body-too-large")
    assert count(server, key) == 0


@rule
def safe_methods_pass(server: HTTPServer, key: str) -> None:
    replies = [exchange(server, request("/who", headers(key), None, method="GET"), "GET") for _ in range(2)]
    assert [(reply.status, reply.body.decode()) for reply in replies] == [(200, server.name)] * 2


LIKE_OTHERS = ("uvicorn-fastapi", "gunicorn", "gunicorn-threads")
"""The same middleware on the same server is tested with another application, or with other workers."""


@pytest.mark.clause("HTTP-2", "HTTP-7", "HTTP-9", "HTTP-13", "HTTP-21", "HTTP-22", "HTTP-23")
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.nightly] * (kind in LIKE_OTHERS)) for kind in KINDS]
)
def test_the_rules_hold_over_the_wire(kind: str, start: Any) -> None:
    with start(kind) as server:
        for each in RULES:
            each(server, uuid.uuid4().hex)


def test_over_http2_the_rules_are_the_same(start: Any) -> None:
    key = uuid.uuid4().hex
    with start("hypercorn") as server, httpx.Client(http1=False, http2=True, timeout=60) as client:
        url = f"http://{server.host}:{server.port}/orders"
        lines = headers(key)
        first, again = (client.post(url, headers=lines, content=b"{}") for _ in range(2))
        assert {first.http_version, again.http_version} == {"HTTP/2"}
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        assert again.headers["idempotency-replayed"] == "true"
        twice = client.post(url, headers=[*lines, ("Idempotency-Key", f'"{key}"')], content=b"{}")
        assert (twice.status_code, twice.json()["type"]) == (400, "urn:idemproof:http:key-malformed")
        assert count(server, key) == 1


@pytest.mark.parametrize("kind", ["uvicorn", "gunicorn"])
def test_a_server_that_is_terminated_answers_what_it_has_begun(kind: str, start: Any) -> None:
    key, target = uuid.uuid4().hex, "/orders?sleep=0.5"
    with start(kind, store="valkey") as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(order, server, key, target=target)
        happened(server, key)
        server.stop()
        assert first.result().status == 201
        where = server.spec.address
    with start(kind, store="valkey", where=where) as server:
        again = order(server, key, target=target)
        assert (again.status, again.body) == (201, first.result().body)
        assert count(server, key) == 0
