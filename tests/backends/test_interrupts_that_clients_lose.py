"""A client that retries by itself may lose a time limit, so this pair is refused at decoration."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
import redis
import valkey
from botocore.config import Config
from redis.backoff import NoBackoff
from redis.retry import Retry

import servers
from idemproof import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    RedisCachePersistenceLayer,
    idempotent_function,
)
from idemproof.errors import IdempotencyConfigError

NOWHERE = {"host": "127.0.0.1", "port": 1}


class Limit(Exception):  # noqa: N818 - as those of job queues
    """A time limit."""


class SocketLimit(TimeoutError):  # noqa: N818 - same
    """A time limit that a client mistakes for one of its socket."""


def decorate(layer: Any, kind: type[Exception]) -> None:
    idempotent_function(
        lambda p: p,
        data_keyword_argument="p",
        persistence_store=layer,
        config=IdempotencyConfig(interrupts=(kind,), in_progress_expires_after_seconds=30),
    )


def over_redis(**options: Any) -> RedisCachePersistenceLayer:
    return RedisCachePersistenceLayer(client=redis.Redis(**NOWHERE, **options))


def by_client(**retries: Any) -> DynamoDBPersistenceLayer:
    client = servers.dynamodb_client("http://127.0.0.1:1", **({"retries": retries} if retries else {}))
    return DynamoDBPersistenceLayer("records", boto3_client=client)


def by_config(**retries: Any) -> DynamoDBPersistenceLayer:
    return DynamoDBPersistenceLayer(
        "records", boto_config=Config(**({"retries": retries} if retries else {}))
    )


def never() -> Retry:
    return Retry(NoBackoff(), 0)


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("kind", [Limit, SocketLimit, TimeoutError])
@pytest.mark.parametrize(
    "layer",
    [
        InMemoryPersistenceLayer,
        lambda: RedisCachePersistenceLayer(ssl=False, **NOWHERE),
        lambda: over_redis(retry=never()),
        lambda: RedisCachePersistenceLayer(client=valkey.Valkey(**NOWHERE)),
        lambda: DynamoDBPersistenceLayer("records"),
        lambda: by_client(total_max_attempts=1, mode="standard"),
        lambda: by_client(max_attempts=0),
        lambda: by_config(total_max_attempts=1),
        lambda: by_config(max_attempts=0, mode="standard"),
    ],
    ids=["memory", "address", "redis", "valkey", "table", "client 1", "client 0", "config 1", "config 0"],
)
def test_a_client_that_does_not_retry_takes_any_time_limit(
    layer: Callable[[], Any], kind: type[Exception]
) -> None:
    decorate(layer(), kind)


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(
            lambda: over_redis(retry=Retry(NoBackoff(), 3)),
            marks=pytest.mark.skipif(
                not hasattr(Retry, "get_retries"), reason="older releases do not say how often they retry"
            ),
        ),
        lambda: RedisCachePersistenceLayer(client=valkey.Valkey(**NOWHERE, retry_on_timeout=True)),
        lambda: RedisCachePersistenceLayer(client=valkey.Valkey(**NOWHERE, retry_on_error=[ValueError])),
        by_client,
        lambda: by_client(max_attempts=2),
        by_config,
    ],
    ids=["redis", "valkey on timeout", "valkey on error", "client", "client 2", "config"],
)
def test_a_client_that_retries_takes_those_that_are_not_like_its_socket_s(layer: Callable[[], Any]) -> None:
    decorate(layer(), Limit)
    for kind in (SocketLimit, TimeoutError):
        with pytest.raises(IdempotencyConfigError, match=f"interrupts has {kind.__name__}.* is lost"):
            decorate(layer(), kind)


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("mode", ["standard", "adaptive"])
@pytest.mark.parametrize("layer", [by_client, by_config])
@pytest.mark.parametrize("source", ["config", "environment"])
def test_an_sdk_that_retries_after_anything_takes_none(
    layer: Callable[..., Any], mode: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "environment":
        monkeypatch.setenv("AWS_RETRY_MODE", mode)
    made = layer(mode=mode) if source == "config" else layer()
    with pytest.raises(
        IdempotencyConfigError, match=r"interrupts has Limit.*Make the client without retries"
    ):
        decorate(made, Limit)


@pytest.mark.usefixtures("valkey_cluster")
def test_a_cluster_s_client_follows_its_nodes(valkey_cluster: servers.Cluster) -> None:
    node = valkey_cluster.nodes[0]
    layer = RedisCachePersistenceLayer(host=node.host, port=node.port, ssl=False, mode="cluster")
    decorate(layer, Limit)
    with pytest.raises(IdempotencyConfigError, match="interrupts has TimeoutError"):
        decorate(layer, TimeoutError)
    layer.close()


def test_a_fake_client_is_not_called() -> None:
    client = boto3.client("dynamodb", **servers.dynamodb_kwargs("http://127.0.0.1:1"))

    class StandIn:
        put_item = get_item = delete_item = client.get_item

    decorate(DynamoDBPersistenceLayer("records", boto3_client=StandIn()), TimeoutError)
