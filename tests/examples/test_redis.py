"""The examples of Redis and Valkey, each against a real server."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import servers
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyValidationError,
)

Load = Callable[[str], ModuleType]
Event = Callable[[str], Any]


@pytest.fixture
def valkey(valkey_server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A client of an empty server, to which examples are led."""
    monkeypatch.setenv("REDIS_HOST", valkey_server.host)
    monkeypatch.setenv("REDIS_PORT", str(valkey_server.port))
    with redis.Redis(**servers.redis_kwargs(valkey_server)) as client:
        client.flushall()
        yield client


def only_record(client: redis.Redis) -> dict[str, Any]:
    [key] = client.keys()
    record: dict[str, Any] = json.loads(client.get(key))
    return record


def test_a_host(load: Load, event: Event, context: Any, valkey: redis.Redis) -> None:
    cinema = load("redis/by_host.py")
    booking = event("redis/by_host.json")
    ticket = {"ticket": "T-1", "seat": "F12"}
    assert cinema.handler(booking, context) == cinema.handler(booking, context) == ticket
    assert cinema.handler(booking | {"booking_id": "b-2292"}, context)["ticket"] == "T-2"
    assert cinema.seats_sold == ["F12", "F12"]
    assert len(valkey.keys()) == 2
    cinema.store.close()


def test_a_client(load: Load, event: Event, context: Any, valkey: redis.Redis) -> None:
    parcels = load("redis/by_client.py")
    parcel = event("redis/by_client.json")
    assert parcels.handler(parcel, context) == parcels.handler(parcel, context) == {"label": "PT-40017"}
    assert parcels.labels_printed == ["40017"]
    assert json.loads(only_record(valkey)["data"]) == {"label": "PT-40017"}
    assert "parcels" in [client["name"] for client in valkey.client_list()]
    parcels.client.close()


def test_renamed_attributes(load: Load, event: Event, context: Any, valkey: redis.Redis) -> None:
    cinema = load("redis/renamed_attributes.py")
    held = []

    class Seats(list[str]):
        def append(self, seat: str) -> None:
            held.append(only_record(valkey))
            super().append(seat)

    cinema.seats_sold = Seats()
    booking = event("redis/renamed_attributes.json")
    assert cinema.handler(booking, context) == cinema.handler(booking, context)
    with pytest.raises(IdempotencyValidationError):
        cinema.handler(booking | {"seat": "F13"}, context)
    assert cinema.seats_sold == ["F12"]
    [key] = valkey.keys()
    assert key.startswith(b"cinema#")
    assert set(held[0]) == {"held_until", "expires_at", "state", "fingerprint", "held_by"}
    record = only_record(valkey)
    assert set(record) == {"expires_at", "state", "answer", "fingerprint", "held_by"}
    assert record["state"] == "COMPLETED"
    cinema.store.close()


@pytest.fixture
def secret(aws: None, redis_tls_server: servers.Server) -> dict[str, Any]:
    """What Secrets Manager knows of a Redis that speaks TLS."""
    found = {
        "host": redis_tls_server.host,
        "port": redis_tls_server.port,
        "username": "default",
        "password": redis_tls_server.password,
    }
    boto3.client("secretsmanager").create_secret(Name="billing/redis", SecretString=json.dumps(found))
    return found


@pytest.fixture
def _trusted(redis_tls_server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system trust who vouches for that server."""
    monkeypatch.setenv("SSL_CERT_FILE", str(redis_tls_server.ca_file))


@pytest.mark.usefixtures("secret", "_trusted")
def test_a_secret(load: Load, event: Event, context: Any, redis_tls_server: servers.Server) -> None:
    with redis.Redis(**servers.redis_kwargs(redis_tls_server)) as client:
        client.flushall()
    billing = load("redis/with_secrets_manager.py")
    due = event("redis/with_secrets_manager.json")
    assert billing.handler(due, context) == billing.handler(due, context) == {"bill": 1, "cents": 1290}
    assert billing.handler(due | {"period": "2031-06"}, context)["bill"] == 2
    assert billing.bills == [("s-81", "2031-05"), ("s-81", "2031-06")]
    billing.store.close()


@pytest.mark.usefixtures("aws", "_trusted")
def test_iam(
    load: Load,
    event: Event,
    context: Any,
    redis_tls_server: servers.Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_HOST", redis_tls_server.host)
    monkeypatch.setenv("REDIS_PORT", str(redis_tls_server.port))
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    with redis.Redis(**servers.redis_kwargs(redis_tls_server)) as client:
        client.flushall()
        # ElastiCache verifies the token; this server takes any, and shows who came.
        client.acl_setuser("cinema", enabled=True, nopass=True, commands=["+@all"], keys=["*"])
        cinema = load("redis/with_iam.py")
        booking = event("redis/by_host.json")
        ticket = {"ticket": "T-1", "seat": "F12"}
        assert cinema.handler(booking, context) == cinema.handler(booking, context) == ticket
        assert "cinema" in [each["user"] for each in client.client_list()]
        cinema.client.close()
        client.acl_deluser("cinema")
    user, token = cinema.IAMCredentials("cinema", "tickets", "eu-central-1").get_credentials()
    assert user == "cinema"
    assert token.startswith("tickets/?Action=connect&User=cinema&X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert "%2Feu-central-1%2Felasticache%2Faws4_request&" in token
    assert "X-Amz-Expires=900" in token


@pytest.mark.usefixtures("_trusted")
def test_with_another_password_nothing_is_billed(
    load: Load, event: Event, context: Any, secret: dict[str, Any]
) -> None:
    wrong = json.dumps(secret | {"password": "guessed"})
    boto3.client("secretsmanager").put_secret_value(SecretId="billing/redis", SecretString=wrong)
    billing = load("redis/with_secrets_manager.py")
    with pytest.raises(IdempotencyPersistenceConfigError) as refusal:
        billing.handler(event("redis/with_secrets_manager.json"), context)
    assert "guessed" not in str(refusal.value)
    assert billing.bills == []
    billing.store.close()


@pytest.mark.usefixtures("secret")
def test_an_untrusted_server_gets_no_password(load: Load, event: Event, context: Any) -> None:
    billing = load("redis/with_secrets_manager.py")
    with pytest.raises(IdempotencyPersistenceConnectionError, match="certificate"):
        billing.handler(event("redis/with_secrets_manager.json"), context)
    assert billing.bills == []
    billing.store.close()


@pytest.fixture
def choosy_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.Server]:
    """A Redis that lets in only who has a certificate, with a folder of those that it accepts."""
    with servers.running(servers.redis7, tmp_path) as server:
        with redis.Redis(**servers.redis_kwargs(server)) as client:
            client.config_set("tls-auth-clients", "yes")
        folder = tmp_path / "certificates"
        folder.mkdir()
        # The authority of the test has certified one name, for servers and clients alike.
        for made, delivered in (
            ("server.pem", "client.crt"),
            ("server.key", "client.key"),
            ("ca.pem", "authority.pem"),
        ):
            shutil.copy(server.directory / made, folder / delivered)
        monkeypatch.setenv("CERTIFICATES", str(folder))
        monkeypatch.setenv("REDIS_HOST", server.host)
        monkeypatch.setenv("REDIS_PORT", str(server.port))
        monkeypatch.setenv("REDIS_PASSWORD", str(server.password))
        yield server


def test_certificates(load: Load, event: Event, context: Any, choosy_server: servers.Server) -> None:
    bank = load("redis/with_local_certificates.py")
    transfer = event("redis/with_local_certificates.json")
    booked = {"transfer_id": "t-5530", "booked": 1}
    assert bank.handler(transfer, context) == bank.handler(transfer, context) == booked
    assert len(bank.transfers) == 1
    once = Retry(NoBackoff(), 0)
    with (
        redis.Redis(**servers.redis_kwargs(choosy_server, retry=once)) as without_certificate,
        pytest.raises(redis.ConnectionError),
    ):
        without_certificate.ping()
    bank.client.close()
