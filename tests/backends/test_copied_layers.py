"""Copies and pickles of layers with clients have their own names, locks and connections."""

import asyncio
import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import boto3
import pytest
import redis
import redis.asyncio
from botocore.config import Config

from idemproof import (
    AsyncDynamoDBPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    DynamoDBPersistenceLayer,
    Record,
    RedisCachePersistenceLayer,
)
from idemproof.errors import IdempotencyPersistenceConfigError
from places import RedisPlace, Table

RECORD = Record("key", "COMPLETED", 2**33, response_data="1", owner="mine")

Copy = Callable[[Any], Any]
COPIES: dict[str, Copy] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
}
BY_COPYING = [copy.copy, copy.deepcopy]

MADE_HERE: dict[str, Callable[[], Any]] = {
    "dynamodb": lambda: DynamoDBPersistenceLayer("table", boto_config=Config(read_timeout=3)),
    "dynamodb-async": lambda: AsyncDynamoDBPersistenceLayer("table"),
    "redis": lambda: RedisCachePersistenceLayer(host="127.0.0.1", port=1, password="hush"),
    "redis-async": lambda: AsyncRedisCachePersistenceLayer("redis://127.0.0.1:1"),
    "redis without a place": RedisCachePersistenceLayer,
}


@pytest.fixture(params=COPIES)
def copied(request: pytest.FixtureRequest) -> Copy:
    return COPIES[request.param]


@pytest.fixture(params=MADE_HERE)
def layer(request: pytest.FixtureRequest) -> Any:
    return MADE_HERE[request.param]()


def test_what_is_copied_says_the_same(layer: Any, copied: Copy) -> None:
    layer.status_attr = "state"
    twin = copied(layer)
    assert type(twin) is type(layer)
    assert repr(twin) == repr(layer)
    assert twin.status_attr == "state"


def test_a_name_that_is_set_on_a_copy_is_its_own(layer: Any, copied: Copy) -> None:
    twin = copied(layer)
    twin.status_attr = "twin's"
    assert layer.status_attr == getattr(layer, layer._names_holder).status_attr == "status"
    assert getattr(twin, twin._names_holder).status_attr == "twin's"


def test_nothing_that_connects_or_locks_is_shared(layer: Any, copied: Copy) -> None:
    if isinstance(layer, DynamoDBPersistenceLayer):
        layer._set_client(object())
    twin = copied(layer)
    for name in ("client", "_client", "_created_client", "_clients", "_lock"):
        made = vars(layer).get(name)
        assert made is None or vars(twin)[name] is not made


def test_what_a_subclass_keeps_is_copied(copied: Copy) -> None:
    layer = Subclass("table")
    twin = copied(layer)
    assert twin.extra == ["of a subclass"]
    assert (twin.extra is layer.extra) is (copied is copy.copy)


class Subclass(DynamoDBPersistenceLayer):
    def __init__(self, table: str) -> None:
        super().__init__(table)
        self.extra = ["of a subclass"]


def test_a_pickled_layer_finds_the_records(valkey_place: RedisPlace, copied: Copy) -> None:
    layer = RedisCachePersistenceLayer(valkey_place.url)
    assert layer._swap("key", None, RECORD, 60_000) == RECORD
    twin = copied(layer)
    assert twin._load("key") == RECORD
    layer.close()
    assert twin._load("key") == RECORD
    twin.close()


def test_an_async_layer_that_is_copied_while_it_is_open_opens_its_own(
    valkey_place: RedisPlace, copied: Copy
) -> None:
    async def main() -> None:
        layer = AsyncRedisCachePersistenceLayer(valkey_place.url)
        assert await layer._swap("key", None, RECORD, 60_000) == RECORD
        twin = copied(layer)
        assert await twin._load("key") == RECORD
        await layer.close()
        assert await twin._load("key") == RECORD
        await twin.close()

    asyncio.run(main())


def brought() -> dict[str, Callable[[], Any]]:
    session = boto3.Session(region_name="eu-central-1")
    return {
        "dynamodb-session": lambda: DynamoDBPersistenceLayer("table", boto3_session=session),
        "redis": lambda: RedisCachePersistenceLayer(client=redis.Redis()),
        "redis-async": lambda: AsyncRedisCachePersistenceLayer(client=redis.asyncio.Redis()),
    }


@pytest.mark.parametrize("made", brought())
def test_a_layer_with_a_supplied_client_cannot_be_pickled(made: str) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match=r"pickled with the (session|client)"):
        pickle.dumps(brought()[made]())


def test_a_client_of_dynamodb_keeps_a_layer_from_being_pickled(table: Table) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="with the client"):
        pickle.dumps(DynamoDBPersistenceLayer(table.name, boto3_client=table.client))


@pytest.mark.parametrize("copied_by", BY_COPYING)
def test_copies_share_supplied_clients(table: Table, copied_by: Copy) -> None:
    layer = DynamoDBPersistenceLayer(table.name, boto3_client=table.client)
    twin = copied_by(layer)
    assert twin.client is layer.client is table.client
    assert twin._swap("key", None, RECORD, 60_000) == RECORD
    assert layer._load("key") == RECORD
    twin.client = replaced = boto3.Session(region_name="eu-central-1").client("dynamodb")
    assert (twin.client, layer.client) == (replaced, table.client)
    replaced.close()


@pytest.mark.parametrize("copied_by", BY_COPYING)
@pytest.mark.parametrize("made", brought())
def test_copies_share_clients_and_sessions(made: str, copied_by: Copy) -> None:
    layer = brought()[made]()
    twin = copied_by(layer)
    for name in ("client", "_session"):
        if not inspect.isdatadescriptor(getattr(type(layer), name, None)):
            assert vars(twin).get(name) is vars(layer).get(name)
