"""Servers that quote requests: no credential is in an error's text, chain, notes or log."""

import asyncio
import json
import logging
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
import pytest
import redis
import valkey
from aiobotocore.session import get_session
from botocore.config import Config
from redis import asyncio as redis_async

from idemproof import (
    AsyncDynamoDBPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    RedisCachePersistenceLayer,
    idempotent_function,
)
from idemproof.backends.credentials import texts, without_aws_secrets
from idemproof.errors import IdempotencyPersistenceLayerError

SECRET = "s3cret-Of-Mine"
Address = tuple[str, int]


@pytest.fixture
def quoting_redis() -> Iterator[Address]:
    """Answer each command with an error that quotes it."""

    class Quoting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while sent := self.request.recv(65536):
                words = " ".join(sent.decode().split("\r\n")[2::2])
                reply = f"-ERR unknown command {words.split()[0]}, args: {words}\r\n"
                self.request.sendall(reply.encode() * sent.count(b"*"))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Quoting) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address  # type: ignore[misc]
        server.shutdown()


@pytest.fixture
def quoting_aws() -> Iterator[Address]:
    """Refuse each signature, and quote the request that should have been signed."""

    class Quoting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            headers = "\n".join(f"{name.lower()}:{value}" for name, value in self.headers.items())
            reply = {
                "__type": "com.amazon.coral.service#InvalidSignatureException",
                "message": f"The Canonical String for this request should have been 'POST\n/\n\n{headers}'",
            }
            body = json.dumps(reply).encode()
            self.send_response(400)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Quoting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address  # type: ignore[misc]
    server.shutdown()
    server.server_close()


class Rotating(redis.CredentialProvider):
    """Returns a token without storing it."""

    def get_credentials(self) -> tuple[str, str]:
        return "u", SECRET


class Provider(redis.UsernamePasswordCredentialProvider):
    pass


def failure_of(layer: Any) -> IdempotencyPersistenceLayerError:
    """Return the error of a call over a blocking or async layer."""
    config = IdempotencyConfig(in_progress_expires_after_seconds=3000)
    protect = idempotent_function(data_keyword_argument="p", persistence_store=layer, config=config)

    @protect
    async def body(p: int) -> None: ...

    def call() -> None:
        if type(layer).__name__.startswith("Async"):
            asyncio.run(body(p=1))
        else:
            protect(lambda p: p)(p=1)

    with pytest.raises(IdempotencyPersistenceLayerError) as caught:
        call()
    return caught.value


def assert_kept_secret(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    assert [text for text in texts(error) if SECRET in text] == []
    assert SECRET not in caplog.text


@pytest.mark.parametrize("provider", [lambda: Provider("u", SECRET), Rotating])
@pytest.mark.parametrize("library", [redis, valkey, redis_async])
def test_what_a_credential_provider_gave(
    quoting_redis: Address, provider: Callable[[], Any], library: Any, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = quoting_redis
    kind = library.Valkey if library is valkey else library.Redis
    client = kind(host=host, port=port, credential_provider=provider())
    layer: Any = (
        AsyncRedisCachePersistenceLayer(client=client)
        if library is redis_async
        else RedisCachePersistenceLayer(client=client)
    )
    with caplog.at_level(logging.DEBUG, "idemproof"):
        error = failure_of(layer)
    assert_kept_secret(error, caplog)
    assert "would show the password" in str(error)


@pytest.mark.parametrize("where", ["environment", "client"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_session_token_of_aws(
    quoting_aws: Address,
    where: str,
    asynchronous: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = {
        "region_name": "eu-west-1",
        "endpoint_url": "http://{}:{}".format(*quoting_aws),
        "config": Config(retries={"total_max_attempts": 1}),
    }
    if where == "environment":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-access-key")
        monkeypatch.setenv("AWS_SESSION_TOKEN", SECRET)
    else:
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        given |= {
            "aws_access_key_id": "AKIDEXAMPLE",
            "aws_secret_access_key": "secret-access-key",
            "aws_session_token": SECRET,
        }
    with caplog.at_level(logging.DEBUG, "idemproof"):
        if asynchronous:

            async def ask() -> BaseException:
                del given["config"]
                async with get_session().create_client("dynamodb", **given) as client:
                    layer = AsyncDynamoDBPersistenceLayer("records", client=client)
                    with pytest.raises(IdempotencyPersistenceLayerError) as caught:
                        await layer._load("k")
                    return caught.value

            error = asyncio.run(ask())
        else:
            error = failure_of(
                DynamoDBPersistenceLayer("records", boto3_client=boto3.client("dynamodb", **given))
            )
    assert_kept_secret(error, caplog)
    assert "InvalidSignatureException" in str(error)
    assert "x-amz-security-token:***" in str(error)  # the rest is shown
    assert getattr(error, "may_pass", False) is True


def test_an_unknown_token_is_hidden_where_it_is_named() -> None:
    refused = IdempotencyPersistenceLayerError(f'{{"X-Amz-Security-Token": "{SECRET}"}} is not valid')
    assert str(without_aws_secrets(refused)) == '{"X-Amz-Security-Token": "***"} is not valid'
    sound = IdempotencyPersistenceLayerError("Signature expired")
    assert without_aws_secrets(sound) is sound
