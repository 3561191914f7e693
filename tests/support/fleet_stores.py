"""Where fleets work: real servers behind a proxy."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import redis
from aiobotocore.config import AioConfig
from botocore.config import Config

import servers
from idemproof import (
    AsyncDynamoDBPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    DynamoDBPersistenceLayer,
    RedisCachePersistenceLayer,
)
from proxy import Proxy

TABLE = "fleet"
ONCE: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": 1}}


class Store(NamedTuple):
    """A server as the fleet sees it through a proxy, and as it is asked afterwards."""

    server: servers.Server
    makers: Callable[[Proxy], list[Callable[[], Any]]]
    environment: Callable[[Proxy], dict[str, str]]
    direct: RedisCachePersistenceLayer | DynamoDBPersistenceLayer


def redis_makers(proxy: Proxy) -> list[Callable[[], Any]]:
    url = f"redis://{proxy.host}:{proxy.port}/0"
    return [
        partial(RedisCachePersistenceLayer, url=url),
        partial(AsyncRedisCachePersistenceLayer, url=url),
    ]


def dynamodb_makers(proxy: Proxy) -> list[Callable[[], Any]]:
    return [
        partial(DynamoDBPersistenceLayer, TABLE, boto_config=Config(**ONCE)),
        partial(AsyncDynamoDBPersistenceLayer, TABLE, boto_config=AioConfig(**ONCE)),
    ]


def dynamodb_environment(proxy: Proxy) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://{proxy.host}:{proxy.port}",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }


@contextlib.contextmanager
def valkey_store(server: servers.Server) -> Iterator[Store]:
    with redis.Redis(**servers.redis_kwargs(server)) as client:
        client.flushall()
        yield Store(server, redis_makers, lambda _: {}, RedisCachePersistenceLayer(client=client))


@contextlib.contextmanager
def dynamodb_store(server: servers.Server) -> Iterator[Store]:
    with contextlib.closing(servers.dynamodb_client(server)) as client:
        servers.create_table(client, TABLE)
        direct = DynamoDBPersistenceLayer(TABLE, boto3_client=client)
        yield Store(server, dynamodb_makers, dynamodb_environment, direct)
        client.delete_table(TableName=TABLE)
