"""Whatever keeps DynamoDB from serving is told under its documented name, and no secret is told."""

import asyncio
import contextlib
import http.client
import json
import logging
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import outages
import servers
from idemproof import AsyncDynamoDBPersistenceLayer, DynamoDBPersistenceLayer
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyResultUnavailableError,
)
from outages import COMPLETION_TIMEOUT, RETRIED, Calls, Work
from places import recent_sdk
from servers import Server

pytestmark = [pytest.mark.once, recent_sdk, pytest.mark.usefixtures("pauses")]

COMPOSITE = "outages-composite"
PASSING = {
    "InternalServerError": 500,
    "LimitExceededException": 400,
    "ProvisionedThroughputExceededException": 400,
    "RequestLimitExceeded": 400,
    "ServiceUnavailable": 503,
    "ThrottlingException": 400,
    "TransactionConflictException": 400,
    "TransactionInProgressException": 400,
}
LASTING = {
    "AccessDeniedException": 400,
    "ExpiredTokenException": 400,
    "InvalidSignatureException": 400,
    "UnrecognizedClientException": 400,
}
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": outages.SECRET,
}


class Front(ThreadingHTTPServer):
    """Stands before a DynamoDB, and answers the next requests with an error of its own."""

    daemon_threads = True
    host = "127.0.0.1"

    def __init__(self, behind: Server) -> None:
        super().__init__((self.host, 0), Relay)
        self.port = self.server_port
        self.behind = behind
        self.errors: list[tuple[str, int]] = []
        self.message = ""
        self.asked: list[str] = []


class Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Its head and body would wait for each other's acknowledgement.
    wbufsize = -1
    server: Front

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.headers["X-Amz-Target"].partition(".")[2])
        if self.server.errors:
            code, status = self.server.errors.pop()
            kind = f"com.amazonaws.dynamodb.v20120810#{code}"
            self._answer(status, json.dumps({"__type": kind, "message": self.server.message}).encode())
            return
        behind = http.client.HTTPConnection(self.server.behind.host, self.server.behind.port, timeout=10)
        with contextlib.closing(behind):
            behind.request("POST", "/", body, dict(self.headers))
            reply = behind.getresponse()
            self._answer(reply.status, reply.read())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
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
    front.asked, front.errors, front.message = [], [], "not now"
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
        said = [*logged, *calls.told, repr(calls.layer), str(calls.layer)]
        assert not [text for text in said if outages.SECRET in text]


@pytest.mark.parametrize("code", PASSING)
def test_what_may_pass_is_tried_again(
    code: str, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    front.errors = [(code, PASSING[code])]
    call = calling()
    assert call(name) == f"{name} done"
    assert pauses == RETRIED[:1]
    assert front.asked == ["PutItem", "PutItem", "UpdateItem"]
    assert call.work.runs == [name]


@pytest.mark.parametrize("code", PASSING)
def test_what_does_not_pass_is_told(
    code: str, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    front.errors = [(code, PASSING[code])] * 6
    call = calling()
    call.refused(name, IdempotencyPersistenceConnectionError, outages.TABLE, code, "not now")
    assert front.asked == ["PutItem"] * 3 + ["DeleteItem"] * 3
    assert pauses == RETRIED * 2
    assert call.work.runs == []


@pytest.mark.parametrize("code", LASTING)
def test_what_will_not_pass_is_not_tried_again(
    code: str, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    front.errors = [(code, LASTING[code])] * 2
    call = calling()
    call.refused(name, IdempotencyPersistenceConfigError, outages.TABLE, code, "not now")
    assert front.asked == ["PutItem", "DeleteItem"]  # the claim, and its release
    assert pauses == []
    assert call.work.runs == []


@pytest.mark.clause("ENG-6")
@pytest.mark.parametrize("code", [*PASSING, *LASTING])
def test_a_result_that_is_refused_once_is_stored(
    code: str, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    """Credentials are being renewed, a policy is spreading: then there is time to wait."""
    call = calling()
    call.work.during = lambda: front.errors.append((code, (PASSING | LASTING)[code]))
    assert [call(name), call(name)] == [f"{name} done"] * 2
    if code == "AccessDeniedException":
        # Once without UpdateItem, the layer completes by PutItem, and the refusal costs no waiting.
        assert front.asked == ["PutItem", "UpdateItem", "PutItem", "PutItem"]
        assert pauses == []
    else:
        assert front.asked == ["PutItem", "UpdateItem", "UpdateItem", "PutItem"]
        assert pauses == RETRIED[:1]
    assert call.work.runs == [name]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", IdempotencyPersistenceConnectionError),
        ("AccessDeniedException", IdempotencyPersistenceConfigError),
    ],
)
def test_a_result_that_cannot_be_stored_reaches_its_caller(
    code: str,
    kind: type[IdempotencyPersistenceLayerError],
    calling: Calling,
    front: Front,
    name: str,
    pauses: list[float],
) -> None:
    call = calling()
    call.work.during = lambda: front.errors.extend([(code, 400)] * 100)
    error = call.refused(name, IdempotencyPersistenceLayerError, "ran", "not known", code)
    assert error.result == f"{name} done"
    assert type(error.__cause__) is kind
    claim, *completions = front.asked
    assert claim == "PutItem"
    if code == "AccessDeniedException":
        assert completions[:1] == ["UpdateItem"]
        assert set(completions[1:]) == {"PutItem"}
    else:
        assert set(completions) == {"UpdateItem"}
    assert sum(pauses) == pytest.approx(COMPLETION_TIMEOUT)
    assert call.work.runs == [name]


@pytest.mark.clause("ENG-10")
@pytest.mark.parametrize("code", ["ValidationException", "ItemCollectionSizeLimitExceededException"])
def test_a_record_that_an_index_does_not_take_is_marked(
    code: str, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    call = calling()
    call.work.during = lambda: front.errors.append((code, 400))
    error = call.refused(name, IdempotencyPersistenceLayerError, "ran", "will not run again", code)
    assert error.result == f"{name} done"
    call.refused(name, IdempotencyResultUnavailableError)
    assert pauses == []
    assert call.work.runs == [name]


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


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ValidationException", "Item size has exceeded the maximum allowed size"),
        ("ValidationException", "Size of hashkey has exceeded the maximum size limit of2048 bytes"),
        (
            "ValidationException",
            "Size of all range keys has exceeded the size limit of 1024 bytes",
        ),
        ("ItemCollectionSizeLimitExceededException", "Collection size exceeded."),
    ],
)
def test_a_result_that_a_table_has_no_room_for_is_known_to_be_too_large(
    code: str, message: str, calling: Calling, front: Front, name: str, pauses: list[float]
) -> None:
    call = calling()
    front.message = message
    call.work.during = lambda: front.errors.append((code, 400))
    error = call.refused(name, IdempotencyPersistenceLayerError, "too large")
    assert error.result == f"{name} done"
    call.refused(name, IdempotencyResultUnavailableError)
    assert front.asked == [
        "PutItem",
        "UpdateItem",
        "UpdateItem",
        "PutItem",
    ]  # the claim, the result, what stands for it, the repeat
    assert pauses == []
    assert call.work.runs == [name]


@pytest.mark.parametrize("message", ["Signature expired: 20261129T1 is earlier", "Signature not yet current"])
def test_a_clock_that_is_wrong_is_told(
    calling: Calling, front: Front, name: str, pauses: list[float], message: str
) -> None:
    front.errors = [("InvalidSignatureException", 400)] * 2
    front.message = message
    call = calling()
    call.refused(name, IdempotencyPersistenceConfigError, outages.TABLE, message, "clock of this machine")
    assert call.work.runs == []


@pytest.fixture
def layer_of(
    asynchronous: bool, front: Front, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, str]], Any]:
    """Make a layer that makes its client, of nothing but an environment."""

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


@pytest.mark.parametrize("code", PASSING)
def test_only_the_engine_retries(
    code: str, calling: Calling, layer_of: Callable[..., Any], front: Front, name: str, pauses: list[float]
) -> None:
    """The layer's own client makes one request for each that the engine asks for."""
    call = calling(layer=layer_of(ENVIRONMENT))
    front.errors = [(code, PASSING[code])] * 100
    call.refused(name, IdempotencyPersistenceConnectionError, code)
    assert front.asked == ["PutItem"] * 3 + ["DeleteItem"] * 3
    assert pauses == RETRIED * 2
