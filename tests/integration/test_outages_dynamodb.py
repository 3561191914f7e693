"""Every outage of DynamoDB raises its documented error, which shows no secret."""

import asyncio
import contextlib
import http.client
import json
import logging
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import bad_days
import outages
import servers
from bad_days import BAD_DAYS, Answer, BadDay
from idemproof import AsyncDynamoDBPersistenceLayer, DynamoDBPersistenceLayer, errors
from idemproof.backends.dynamodb_clients import CONNECT_SECONDS, READ_SECONDS
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyResultUnavailableError,
)
from idemproof.reference.changes import TRIES
from outages import COMPLETION_TIMEOUT, RETRIED, Calls, Work
from places import recent_sdk
from servers import Server

pytestmark = [pytest.mark.once, recent_sdk, pytest.mark.usefixtures("pauses")]

COMPOSITE = "outages-composite"
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": outages.SECRET,
}


class Front(ThreadingHTTPServer):
    """A proxy before DynamoDB that answers the next requests with an error."""

    daemon_threads = True
    host = "127.0.0.1"

    def __init__(self, behind: Server) -> None:
        super().__init__((self.host, 0), Relay)
        self.port = self.server_port
        self.behind = behind
        self.answers: list[Answer] = []
        self.hangs: Callable[[], object] = lambda: None
        self.cuts = 0
        """From how many replies the second half is missing."""
        self.asked: list[str] = []


class Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Its head and body would wait for each other's acknowledgement.
    wbufsize = -1
    server: Front

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.headers["X-Amz-Target"].partition(".")[2])
        if self.server.answers:
            self._refuse(self.server.answers.pop())
            return
        behind = http.client.HTTPConnection(self.server.behind.host, self.server.behind.port, timeout=10)
        with contextlib.closing(behind):
            behind.request("POST", "/", body, dict(self.headers))
            reply = behind.getresponse()
            self._answer(reply.status, reply.read())

    def _refuse(self, answer: Answer) -> None:
        if answer is bad_days.HUNG:
            self.server.hangs()
            self.close_connection = True
        elif answer is bad_days.CUT:
            self.close_connection = True
        elif answer is bad_days.EMPTY:
            self._answer(answer.status, b"")
        elif answer is bad_days.OTHER:
            self._answer(answer.status, b'{"message": "up"}', "application/json")
        elif answer in (bad_days.PAGE, bad_days.LOGIN):
            self._answer(answer.status, b"<html><body>Who are you?</body></html>", "text/html")
        else:
            kind = f"com.amazonaws.dynamodb.v20120810#{answer.code}"
            self._answer(answer.status, json.dumps({"__type": kind, "message": answer.message}).encode())

    def _answer(self, status: int, body: bytes, kind: str = "application/x-amz-json-1.0") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts > 0:
            self.server.cuts -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def database(dynamodb_server: Server) -> Iterator[Server]:
    with contextlib.closing(servers.dynamodb_client(dynamodb_server)) as client:
        servers.create_table(client, outages.TABLE)
        servers.create_table(client, COMPOSITE, sort_key="sort")
        yield dynamodb_server
        for table in (outages.TABLE, COMPOSITE):
            client.delete_table(TableName=table)


@pytest.fixture(scope="module")
def front(database: Server) -> Iterator[Front]:
    made = Front(database)
    with outages.serving(made):
        yield made


Calling = Callable[..., Calls]


@pytest.fixture(params=["blocking", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "async")


@pytest.fixture
def calling(asynchronous: bool, front: Front, caplog: pytest.LogCaptureFixture) -> Iterator[Calling]:
    """Make functions over layers, or over a client of their own for a table."""
    caplog.set_level(logging.DEBUG)
    front.asked, front.answers, front.cuts = [], [], 0
    work, made = Work(), []
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(asyncio.Runner()).run

        def calling(table: str = outages.TABLE, layer: Any = None) -> Calls:
            if layer is None:
                opening = outages.dynamodb_layer(asynchronous, run, table=table, address=front)
                layer = stack.enter_context(opening)
            else:
                stack.callback(lambda: run(layer.close()) if asynchronous else layer.close())
            made.append(Calls(layer, work, run))
            return made[-1]

        yield calling
    logged = list(outages.logged(caplog))
    assert logged
    assert made
    for calls in made:
        said = [*logged, *calls.reported, repr(calls.layer), str(calls.layer)]
        assert not [text for text in said if outages.SECRET in text]


DAYS = [
    pytest.param(day, answer, id=f"{answer.code}-{answer.status}-{number}")
    for day in BAD_DAYS
    for number, answer in enumerate(day.answers)
]
DENIED = [each for each in DAYS if each.values[1].code.startswith("AccessDenied")]
ONES = [pytest.param(day, day.answers[0], id=day.what) for day in BAD_DAYS]


def texts_of(answer: Answer) -> tuple[str, ...]:
    """Return the texts of DynamoDB's own answer that an error must contain."""
    own = answer.status and answer.status != 200 and answer is not bad_days.PAGE
    return (answer.code, answer.message.removesuffix(".")) if own else ()


def spent(work: Work, pauses: list[float], since: int) -> int:
    """Return how many milliseconds a call has taken."""
    return work.now - since + round(1000 * sum(pauses))


REQUEST_MS = 1000 * (CONNECT_SECONDS + READ_SECONDS)


@pytest.mark.parametrize(("day", "answer"), DAYS)
def test_a_claim_on_a_bad_day(
    day: BadDay, answer: Answer, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    """It gets the documented error, in so many requests and so much time; nothing runs."""
    front.answers = [answer] * 100
    call = calling()
    front.hangs = lambda: setattr(call.work, "now", call.work.now + REQUEST_MS)
    since = call.work.now
    kind = getattr(errors, day.claim)
    error = call.refused(name, kind, outages.TABLE, *texts_of(answer))
    assert not error.function_returned
    assert call.work.runs == []
    half = day.requests // 2
    assert front.asked == ["PutItem"] * half + ["DeleteItem"] * half
    took = day.waits_ms + (day.requests * REQUEST_MS if answer is bad_days.HUNG else 0)
    assert spent(call.work, pauses, since) == took
    front.answers = []
    assert call(name) == f"{name} done"


@pytest.mark.parametrize(("day", "answer"), [each for each in ONES if each.values[0].requests == 6])
def test_a_claim_that_is_not_served_once(
    day: BadDay, answer: Answer, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    front.answers = [answer]
    call = calling()
    assert call(name) == f"{name} done"
    assert pauses == RETRIED[:1]
    assert front.asked == ["PutItem", "PutItem", "UpdateItem"]
    assert call.work.runs == [name]


@pytest.mark.clause("ENG-6", "ENG-10")
@pytest.mark.parametrize(("day", "answer"), [*ONES, *DENIED])
def test_a_result_that_is_refused_once(
    day: BadDay, answer: Answer, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    """The engine waits for faults that may pass, such as a new table. Otherwise the result is marked."""
    call = calling()
    call.work.during = lambda: front.answers.append(answer)
    if day.result == bad_days.MARKED:
        error = call.refused(name, IdempotencyPersistenceLayerError, "ran", "will not run again", answer.code)
        assert error.result == f"{name} done"
        assert type(error.__cause__).__name__ == day.claim
        call.refused(name, IdempotencyResultUnavailableError)
        assert front.asked == ["PutItem", "UpdateItem", "UpdateItem", "PutItem"]
        assert pauses == []
    else:
        assert [call(name), call(name)] == [f"{name} done"] * 2
        # Once without UpdateItem, the layer completes by PutItem, and the refusal costs no waiting.
        denied = answer.code.startswith("AccessDenied")
        assert front.asked == ["PutItem", "UpdateItem", "PutItem" if denied else "UpdateItem", "PutItem"]
        assert pauses == RETRIED[: not denied]
    assert call.work.runs == [name]


@pytest.mark.parametrize(("day", "answer"), ONES)
def test_a_result_that_cannot_be_stored_reaches_its_caller(
    day: BadDay, answer: Answer, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    call = calling()
    call.work.during = lambda: front.answers.extend([answer] * 100)
    front.hangs = lambda: setattr(call.work, "now", call.work.now + REQUEST_MS)
    since = call.work.now
    error = call.refused(name, IdempotencyPersistenceLayerError, "ran", "not known")
    assert error.result == f"{name} done"
    assert type(error.__cause__).__name__ == day.claim
    claim, *completions = front.asked
    assert claim == "PutItem"
    if answer is bad_days.HUNG:
        # Three requests at least, and the mark.
        assert spent(call.work, pauses, since) <= (TRIES + 1) * REQUEST_MS + 1000 * COMPLETION_TIMEOUT
        assert len(completions) == TRIES + 1
    elif day.result == bad_days.MARKED:
        assert (len(completions), pauses) == (2, [])
    else:
        assert spent(call.work, pauses, since) == pytest.approx(1000 * COMPLETION_TIMEOUT)
        assert len(completions) <= 40
    assert call.work.runs == [name]


def test_a_result_that_may_not_be_stored_by_either_request(
    calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    call = calling()
    call.work.during = lambda: front.answers.extend([Answer("AccessDeniedException")] * 100)
    call.refused(name, IdempotencyPersistenceLayerError, "ran", "not known", "AccessDeniedException")
    assert front.asked[:2] == ["PutItem", "UpdateItem"]
    # Each try asks for an update first: the permission may come back.
    assert set(front.asked[1::2]) == {"UpdateItem"}
    assert set(front.asked[2::2]) == {"PutItem"}
    assert sum(pauses) == pytest.approx(COMPLETION_TIMEOUT)


@pytest.mark.parametrize(
    ("table", "cause"),
    [("no-such-table", "ResourceNotFoundException"), (COMPOSITE, "ValidationException")],
)
def test_a_table_that_is_missing_or_has_another_key(
    table: str, cause: str, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    call = calling(table)
    call.refused(name, IdempotencyPersistenceConfigError, table, cause)
    assert front.asked == ["PutItem", "DeleteItem"]
    assert pauses == []
    assert call.work.runs == []


@pytest.mark.parametrize("cuts", range(1, 4))
def test_replies_of_which_half_is_missing(calling: Calling, front: Front, name: str, cuts: int) -> None:
    call = calling()
    front.cuts = cuts
    while True:  # three replies are as many as one call asks for
        with contextlib.suppress(IdempotencyPersistenceConnectionError, IdempotencyAlreadyInProgressError):
            assert call(name) == f"{name} done"
            break
    front.cuts = cuts
    while True:
        with contextlib.suppress(IdempotencyPersistenceConnectionError):
            assert call(name) == f"{name} done"
            break
    assert call.work.runs == [name]


def test_half_an_item_is_not_none(calling: Calling, front: Front, name: str, asynchronous: bool) -> None:
    call = calling()
    call(name)

    def load() -> Any:
        read = call.layer._load(outages.key_of(name))
        return call._run(read) if asynchronous else read

    assert load() is not None
    front.cuts = 1
    with pytest.raises(IdempotencyPersistenceConnectionError, match="did not serve"):
        load()


def test_a_clock_that_is_wrong_is_reported(calling: Calling, front: Front, name: str) -> None:
    front.answers = [Answer("InvalidSignatureException", 400, "Signature expired: 20261129T1 is earlier")] * 2
    calling().refused(name, IdempotencyPersistenceConfigError, "clock of this machine")


@pytest.fixture
def layer_of(
    asynchronous: bool, front: Front, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, str]], Any]:
    """Create a layer that creates its client from environment variables alone."""

    def layer_of(environment: dict[str, str]) -> Any:
        for variable in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", *ENVIRONMENT):
            monkeypatch.delenv(variable, raising=False)
        for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(variable, "/nowhere")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{front.host}:{front.port}")
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        kind = AsyncDynamoDBPersistenceLayer if asynchronous else DynamoDBPersistenceLayer
        return kind(outages.TABLE)

    return layer_of


@pytest.mark.parametrize(
    ("lacking", "cause"),
    [("AWS_DEFAULT_REGION", "specify a region"), ("AWS_ACCESS_KEY_ID", "locate credentials")],
)
def test_an_environment_without_region_or_credentials(
    lacking: str, cause: str, calling: Calling, layer_of: Callable[..., Any], name: str, pauses: list[float]
) -> None:
    call = calling(layer=layer_of({key: value for key, value in ENVIRONMENT.items() if key != lacking}))
    call.refused(name, IdempotencyPersistenceConfigError, outages.TABLE, cause)
    assert pauses == []
    assert call.work.runs == []


def test_an_environment_with_all_that(calling: Calling, layer_of: Callable[..., Any], name: str) -> None:
    call = calling(layer=layer_of(ENVIRONMENT))
    assert call(name) == call(name) == f"{name} done"
    assert call.work.runs == [name]


@pytest.mark.parametrize(("day", "answer"), [each for each in ONES if each.values[0].requests == 6])
def test_only_the_engine_retries(
    day: BadDay,
    answer: Answer,
    calling: Calling,
    layer_of: Callable[..., Any],
    front: Front,
    name: str,
    pauses: list[float],
) -> None:
    """The layer's own client makes one request for each that the engine asks for."""
    call = calling(layer=layer_of(ENVIRONMENT))
    front.answers = [answer] * 100
    call.refused(name, IdempotencyPersistenceConnectionError, *texts_of(answer))
    assert front.asked == ["PutItem"] * 3 + ["DeleteItem"] * 3
    assert pauses == RETRIED * 2
