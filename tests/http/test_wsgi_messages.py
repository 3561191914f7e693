"""Requests and responses of WSGI: what an application does, and what a server would have sent."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idemproof.reference.http.wsgi_request import (
    headers_of,
    raw_path,
    read_body,
    request_of,
    stated_length,
    with_body,
)
from idemproof.reference.http.wsgi_response import BrokenApplicationError, Collected

LIMIT = 20
Action = tuple[str, Any]


class AppError(Exception):
    """What the application raises."""


class Scripted:
    """An application that does one thing after the other, as its iterable is read, and counts ``close``."""

    def __init__(self, script: list[Action]) -> None:
        self._left = iter(script)
        self._write: Any = None
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self._start_response = start_response
        return self

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for kind, argument in self._left:
            if kind == "send":
                return bytes(argument)
            getattr(self, kind)(argument)
        raise StopIteration

    def close(self) -> None:
        self.closed += 1

    def start(self, status: Any) -> None:
        self._write = self._start_response(f"{status} Done", [("X-Start", str(status))])

    def restart(self, status: Any) -> None:
        try:
            self.fail(status)
        except AppError:
            self._write = self._start_response(f"{status} Again", [("X-Again", "1")], sys.exc_info())

    def write(self, data: bytes) -> None:
        self._write(data)

    def fail(self, argument: Any) -> None:
        raise AppError(argument)


def served(app: Callable[..., Iterable[bytes]]) -> tuple[bytes, BaseException | None]:
    """Return what a server of the standard library sends, and what the application raised there."""
    raised: list[BaseException] = []

    class Handler(SimpleHandler):
        http_version = "1.0"
        server_software = None

        def log_exception(self, exc_info: Any) -> None:
            raised.append(exc_info[1])

        def send_preamble(self) -> None:
            self._write(f"HTTP/1.0 {self.status}\r\n".encode())

    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    sent = io.BytesIO()
    Handler(io.BytesIO(), sent, io.StringIO(), environ, multithread=False).run(app)
    return sent.getvalue(), raised[0] if raised else None


def through_collected(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def middle(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        collected = Collected(LIMIT)
        collected.collect(app, environ)
        start_response(collected.status, collected.headers)
        return collected

    return middle


parts = st.binary(min_size=1, max_size=8)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.sampled_from([200, 204, 404])),
        st.tuples(st.just("restart"), st.sampled_from([500, 503])),
        st.tuples(st.just("write"), parts),
        st.tuples(st.just("send"), parts),
        st.tuples(st.just("fail"), st.just(1)),
    ),
    max_size=8,
)


def body_of(sent: bytes) -> bytes:
    return sent.partition(b"\r\n\r\n")[2]


@given(actions)
def test_a_response_that_a_server_can_send_is_sent_unchanged(script: list[Action]) -> None:
    script = [("start", 200), *script]
    directly, raised = served(Scripted(script))
    app = Scripted(script)
    collected, raised_here = served(through_collected(app))
    assert app.closed == 1
    if raised is None:
        assert raised_here is None
        # Without an own length, the server states that of a whole body in one part.
        assert body_of(collected) == body_of(directly)
        assert collected.splitlines()[0] == directly.splitlines()[0]
    else:
        assert raised_here is not None
        assert isinstance(raised_here, AppError) == isinstance(raised, AppError)


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ([], "without calling start_response"),
        ([("send", b"body")], "without calling start_response"),
        ([("start", 200), ("start", 200)], "start_response twice"),
        ([("start", "oops")], "the status 'oops Done'"),
    ],
)
def test_an_application_that_breaks_wsgi_is_named_and_closed(script: list[Action], fault: str) -> None:
    app = Scripted(script)
    with pytest.raises(BrokenApplicationError, match=fault):
        Collected(LIMIT).collect(app, {})
    assert app.closed == 1


@pytest.mark.parametrize(("stated", "body"), [("5", b"four"), ("3", b"four"), ("x", b"four")])
def test_a_body_that_is_not_as_long_as_stated_is_no_response(stated: str, body: bytes) -> None:
    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("content-length", stated)])
        return [body]

    with pytest.raises(BrokenApplicationError, match=f"Content-Length of {stated}, and sent 4 bytes"):
        Collected(LIMIT).collect(app, {})


def test_a_large_body_is_not_read_before_it_is_sent() -> None:
    read: list[int] = []

    def app(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for number in range(10):
            read.append(number)
            yield b"x" * 10

    collected = Collected(LIMIT)
    collected.collect(app, {})
    assert not collected.is_whole
    assert read == [0, 1, 2]
    assert collected.response().body == b""
    assert b"".join(collected) == b"x" * 100


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"SCRIPT_NAME": "/api", "PATH_INFO": "/a b"}, b"/api/a%20b"),
        ({"SCRIPT_NAME": "", "PATH_INFO": "/a/b", "RAW_URI": "/a%2Fb?c=d"}, b"/a%2Fb"),
        ({"SCRIPT_NAME": "/a", "PATH_INFO": "/b", "REQUEST_URI": "/a%2fb"}, b"/a%2fb"),
        ({"SCRIPT_NAME": "", "PATH_INFO": "/rewritten", "RAW_URI": "/sent"}, b"/rewritten"),
        ({"SCRIPT_NAME": "", "PATH_INFO": "/a", "RAW_URI": "http://host/a"}, b"/a"),
        ({"SCRIPT_NAME": "", "PATH_INFO": "/caf\xc3\xa9"}, b"/caf%C3%A9"),
    ],
)
def test_the_path_is_the_one_on_which_the_application_works(environ: dict[str, str], path: bytes) -> None:
    assert raw_path(environ) == path


@given(st.text(st.characters(max_codepoint=0xFF), max_size=8), st.text(st.characters(max_codepoint=0xFF)))
def test_different_paths_stay_different(one: str, other: str) -> None:
    paths = {raw_path({"PATH_INFO": f"/{text}"}) for text in (one, other)}
    assert len(paths) == len({one, other})


def test_headers_have_their_names_back() -> None:
    environ = {
        "HTTP_X_TRACE": "1",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "",
        "SERVER_NAME": "host",
        "wsgi.url_scheme": "http",
    }
    assert dict(headers_of(environ)) == {b"x-trace": b"1", b"content-type": b"text/plain"}


def test_what_is_no_header_does_not_count_or_fail() -> None:
    environ = {
        "CONTENT_LENGTH": "2",
        "HTTP_CONTENT_LENGTH": "3",
        "HTTP_CONTENT_TYPE": "text/html",
        "HTTP_OF_THE_PROCESS": "\u20ac",
        "HTTP_OF_A_MIDDLEWARE": 7,
    }
    assert headers_of(environ) == ((b"content-length", b"2"), (b"of-the-process", b"\\u20ac"))


@pytest.mark.clause("HTTP-2")
@pytest.mark.parametrize(
    ("joined", "lines"),
    [
        ("Bearer a", [b"Bearer a"]),
        ("Bearer a,Bearer b", [b"Bearer a", b"Bearer b"]),
        ("Basic eDp5, bearer b", [b"Basic eDp5", b"bearer b"]),
        ('Token token="a", nonce="b"', [b'Token token="a", nonce="b"']),
    ],
)
def test_two_lines_with_credentials_are_two(joined: str, lines: list[bytes]) -> None:
    environ = {"REQUEST_METHOD": "post", "HTTP_AUTHORIZATION": joined}
    request = request_of(environ)
    assert request.method == "POST"
    assert request.lines("authorization") == lines


@pytest.mark.parametrize(
    ("environ", "length"),
    [
        ({}, 0),
        ({"CONTENT_LENGTH": ""}, 0),
        ({"CONTENT_LENGTH": "12"}, 12),
        ({"CONTENT_LENGTH": "12", "HTTP_TRANSFER_ENCODING": "chunked"}, None),
        ({"wsgi.input_terminated": True}, None),
    ],
)
def test_the_length_of_a_body_is_what_the_request_states(environ: dict[str, Any], length: int | None) -> None:
    assert stated_length(environ) == length


@pytest.mark.parametrize("stated", ["-1", "1.5", "\uff11", "1" * 19, "1 1"])
def test_a_length_that_is_no_number_is_refused(stated: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        stated_length({"CONTENT_LENGTH": stated})


def test_a_body_is_read_until_it_ends_and_can_be_read_again() -> None:
    class Dripping(io.RawIOBase):
        def __init__(self) -> None:
            self._left = [b"ab", b"c", b"defg"]

        def read(self, size: int = -1) -> bytes:
            return self._left.pop(0)[:size] if self._left else b""

    environ = {"wsgi.input": Dripping(), "HTTP_TRANSFER_ENCODING": "chunked", "other": 1}
    body = read_body(environ, 100)
    assert body == b"abcdefg"
    again = with_body(environ, body)
    assert again["wsgi.input"].read() == body
    assert (again["CONTENT_LENGTH"], again["other"]) == ("7", 1)
    assert "HTTP_TRANSFER_ENCODING" not in again
    assert "CONTENT_LENGTH" not in environ
