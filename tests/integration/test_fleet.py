"""Worker processes that share a real server are killed and cut off, and give one answer to each key."""

import contextlib
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from aiobotocore.config import AioConfig
from botocore.config import Config

import fleet
import journal
import servers
from idemproof import (
    AsyncDynamoDBPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    DynamoDBPersistenceLayer,
    RedisCachePersistenceLayer,
)
from proxy import Proxy

SEED = 20_261_123
KEYS = 200
KILLS = 8
FAILURES = 40
DROPPED = 0.1
"""So often a request or its reply is lost. Clients do not retry here: the engine has to."""
COMPLETIONS_LOST = 20
"""At first all completions are lost, more than each worker can try: some callers cannot be told."""
REASONS = {"killed", "outlived", "raised", "untold"}
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


pytestmark = pytest.mark.once
STORES = {"valkey_server": valkey_store, "dynamodb_server": dynamodb_store}


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with STORES[request.param](request.getfixturevalue(request.param)) as made:
        yield made


# One test, as several would be spread over processes, and each of these would send out a fleet.
def test_a_fleet_under_fire_gives_one_answer_to_each_key(store: Store, tmp_path: Path) -> None:
    with Proxy(store.server, remember=False) as proxy:
        proxy.lose_request(to=b"COMPLETED", times=COMPLETIONS_LOST)
        proxy.drop_randomly(random.Random(SEED), DROPPED)
        left = fleet.Fleet(
            tmp_path,
            store.makers(proxy) * 2,
            seed=SEED,
            keys=KEYS,
            kills=KILLS,
            failures=FAILURES,
            reasons=REASONS,
            environment=store.environment(proxy),
        ).work()
    print(f"\n{left}")  # noqa: T201 - what the run was worth
    assert journal.breaches(left) == {}
    assert len(left.killed) >= KILLS
    assert left.answers.keys() >= set(range(KEYS))
    assert left.counts()["failed"] >= FAILURES
    assert left.repeated().keys() >= REASONS
    assert fleet.replayed(store.direct, list(left.answers)) == left.answers
