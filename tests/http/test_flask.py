"""The extension for Flask: around the views, inside everything else of a request."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest

from idemproof import InMemoryPersistenceLayer
from idemproof.errors import IdempotencyConfigError
from idemproof.http import FlaskIdempotency, Request, Route

pytestmark = pytest.mark.once

HEADERS = {"Authorization": "Bearer ada", "Idempotency-Key": '"k"'}


class Shop:
    """A Flask application whose view answers as the request says."""

    def __init__(self, **options: Any) -> None:
        self.app = app = flask.Flask("shop")
        self.runs = 0
        self.events: list[str] = []
        self.idempotency = FlaskIdempotency()
        options.setdefault("persistence_store", InMemoryPersistenceLayer())
        self.idempotency.init_app(app, **options)
        self.view: Any = lambda: ({"run": self.runs}, 201)

        @app.post("/orders")
        def order() -> Any:
            self.runs += 1
            return self.view()

        @app.after_request
        def after(response: flask.Response) -> flask.Response:
            response.headers["X-After"] = "yes"
            return response

    def post(self, path: str = "/orders", **request: Any) -> Any:
        with self.app.test_client() as client:
            return client.post(path, buffered=True, **{"headers": HEADERS, "json": {"a": 1}, **request})


def test_a_repeat_gets_the_first_answer_and_everything_outside_runs() -> None:
    shop = Shop()

    @shop.app.before_request
    def before() -> None:
        shop.events.append("before")

    first, again = shop.post(), shop.post()
    assert (first.status_code, first.json) == (again.status_code, again.json) == (201, {"run": 1})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.headers["X-After"] == again.headers["X-After"] == "yes"
    assert shop.events == ["before", "before"]
    assert shop.runs == 1


def test_authentication_before_the_request_also_guards_replays() -> None:
    shop = Shop(scope=lambda _: flask.g.user)
    revoked: list[str] = []

    @shop.app.before_request
    def authenticate() -> None:
        flask.g.user = flask.request.headers["Authorization"]
        if flask.g.user in revoked:
            flask.abort(401)

    assert shop.post().status_code == 201
    revoked.append("Bearer ada")
    assert shop.post().status_code == 401
    assert shop.runs == 1


@pytest.mark.parametrize(("status", "runs"), [(410, 1), (404, 1), (500, 2), (429, 2)])
def test_what_is_aborted_is_an_answer(status: int, runs: int) -> None:
    shop = Shop()
    shop.view = lambda: flask.abort(status)
    replies = [shop.post() for _ in range(2)]
    assert [reply.status_code for reply in replies] == [status] * 2
    assert replies[0].data == replies[1].data
    assert shop.runs == runs


def test_an_error_handler_makes_the_answer() -> None:
    shop = Shop()

    @shop.app.errorhandler(LookupError)
    def handle(error: LookupError) -> Any:
        shop.events.append("handled")
        return {"error": str(error)}, 409

    def fails() -> None:
        raise LookupError("sold out")

    shop.view = fails
    replies = [shop.post() for _ in range(2)]
    assert [(reply.status_code, reply.json) for reply in replies] == [(409, {"error": "sold out"})] * 2
    assert shop.events == ["handled"]


def test_an_exception_without_a_handler_is_a_500_and_parks_the_key() -> None:
    shop = Shop()

    def fails() -> None:
        raise ZeroDivisionError

    shop.view = fails
    assert shop.post().status_code == 500
    assert shop.post().json["type"].endswith("unknown-outcome")
    assert shop.runs == 1


def test_a_view_reads_json_and_forms_as_ever() -> None:
    shop = Shop()
    shop.view = lambda: {"json": flask.request.json}
    assert shop.post().json == {"json": {"a": 1}}
    shop.view = lambda: {"form": flask.request.form["b"], "file": flask.request.files["f"].read().decode()}
    form = {"data": {"b": "2", "f": (io.BytesIO(b"a file"), "f.txt")}, "json": None}
    reply = shop.post(headers={**HEADERS, "Idempotency-Key": '"form"'}, **form)
    assert reply.json == {"form": "2", "file": "a file"}


def test_a_body_that_was_read_before_is_found_or_named() -> None:
    shop = Shop()
    early: list[Any] = []

    @shop.app.before_request
    def read() -> None:
        early.append(flask.request.json if flask.request.is_json else flask.request.form)

    assert shop.post().status_code == 201
    assert shop.post(json={"a": 2}).status_code == 422
    shop.app.testing = True
    with pytest.raises(IdempotencyConfigError, match=r"has read the form.*Nothing ran"):
        shop.post(json=None, data={"b": "2"}, headers={**HEADERS, "Idempotency-Key": '"form"'})
    assert shop.runs == 1


def test_streams_are_kept_up_to_the_limit_and_closed_once() -> None:
    shop = Shop(response_limit=100)

    def parts(count: int) -> Iterator[bytes]:
        try:
            for _ in range(count):
                yield b"x" * 10
        finally:
            shop.events.append("closed")

    shop.view = lambda: flask.Response(parts(5))
    assert [shop.post().data for _ in range(2)] == [b"x" * 50] * 2
    shop.view = lambda: flask.Response(parts(50))
    large = {**HEADERS, "Idempotency-Key": '"large"'}
    assert shop.post(headers=large).data == b"x" * 500
    assert shop.post(headers=large).json["type"].endswith("result-unavailable")
    assert shop.events == ["closed", "closed"]
    assert shop.runs == 2


def test_a_file_is_replayed(tmp_path: Path) -> None:
    file = tmp_path / "ticket.txt"
    file.write_text("seat 7", "utf-8")
    shop = Shop()
    shop.view = lambda: flask.send_file(file)
    first = shop.post()
    file.unlink()
    again = shop.post()
    assert (first.data, again.data) == (b"seat 7", b"seat 7")
    assert again.headers["Content-Disposition"] == first.headers["Content-Disposition"]


def test_cookies_of_the_session_are_those_of_the_request_at_hand() -> None:
    shop = Shop()
    shop.app.secret_key = "of a test"

    def login() -> str:
        flask.session["user"] = "ada"
        return "in"

    shop.view = login
    first, again = shop.post(), shop.post()
    assert "session=" in first.headers["Set-Cookie"]
    assert again.data == b"in"
    assert "Set-Cookie" not in again.headers


@pytest.mark.clause("HTTP-4")
def test_authorize_can_use_the_context_of_the_request() -> None:
    allowed = [True]

    def authorize(request: Request) -> bool:
        assert flask.request.path == "/orders" == request.path.decode()
        return allowed[0]

    shop = Shop(authorize=authorize)
    assert [shop.post().status_code for _ in range(2)] == [201, 201]
    allowed[0] = False
    assert shop.post().status_code == 403


def test_routes_that_are_not_there_and_safe_methods_are_as_ever() -> None:
    shop = Shop()
    assert shop.post("/nowhere").status_code == 404
    with shop.app.test_client() as client:
        assert client.get("/orders", headers=HEADERS).status_code == 405


def test_what_flask_cannot_keep_is_refused_at_once() -> None:
    for options in ({"complete_when": "app"}, {"routes": [Route("/orders", complete_when="app")]}):
        with pytest.raises(IdempotencyConfigError, match="complete_when"):
            Shop(**options)
    with pytest.raises(TypeError, match="init_app"):
        FlaskIdempotency(persistence_store=InMemoryPersistenceLayer())


@pytest.mark.clause("HTTP-10")
@pytest.mark.parametrize("read", ["form", "part"])
def test_a_body_in_chunks_that_was_read_before_is_refused(read: str) -> None:
    """Another body must not count as the same one because both are gone."""
    shop = Shop()
    shop.app.testing = True

    @shop.app.before_request
    def before() -> None:
        flask.request.form.get("csrf") if read == "form" else flask.request.stream.read(4)

    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    with pytest.raises(IdempotencyConfigError, match=r"has read the form.*Nothing ran"):
        shop.post(
            json=None,
            input_stream=io.BytesIO(b"sum=1&to=ada"),
            content_type="application/x-www-form-urlencoded",
            environ_overrides=chunked,
        )
    assert shop.runs == 0


@pytest.mark.clause("HTTP-22")
def test_the_own_response_of_the_view_comes_out_as_it_is() -> None:
    class Own(flask.Response):
        mark = "none"

    seen: list[str] = []
    closed: list[str] = []
    shop = Shop()
    shop.app.response_class = Own

    @shop.app.after_request
    def note(response: Any) -> Any:
        seen.append(response.mark)
        return response

    def view() -> Own:
        response = Own(status="299 Mine", headers={"Idempotency-Replayed": "forged"})
        del response.headers["Content-Type"]
        response.mark = "own"
        response.call_on_close(lambda: closed.append("closed"))
        return response

    shop.view = view
    first, again = shop.post(), shop.post()
    assert (first.status, seen, closed) == ("299 Mine", ["own", "none"], ["closed"])
    assert "Idempotency-Replayed" not in first.headers
    assert "Content-Type" not in first.headers
    assert "Content-Type" not in again.headers
