"""The clients of the DynamoDB layers are made once, on first use, and can be replaced."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import boto3
import botocore.session
import pytest
from aiobotocore.config import AioConfig
from botocore.config import Config
from botocore.exceptions import NoRegionError

import servers
from idemproof import AsyncDynamoDBPersistenceLayer, DynamoDBPersistenceLayer, Record
from idemproof.backends.dynamodb_clients import returns_conflict
from idemproof.errors import IdempotencyPersistenceConfigError, IdempotencyPersistenceConnectionError
from idemproof.spec.record import COMPLETED
from places import AsyncSession, Table
from sides import Recording, Side

RECORD = Record("key", COMPLETED, 2**40)

ATTRIBUTES = (
    "key_attr",
    "expiry_attr",
    "in_progress_expiry_attr",
    "status_attr",
    "data_attr",
    "validation_key_attr",
    "owner_attr",
)


class Session:
    """A boto3 session that makes the given clients."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.made: list[dict[str, Any]] = []

    def client(self, service: str, **options: Any) -> Any:
        self.made.append({"service": service, **options})
        return self.make()


@pytest.fixture
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables that a client reads."""
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)


# Parameters.


NAMED = ("table_name", "static_pk_value", *ATTRIBUTES)


@pytest.mark.parametrize("parameter", [*NAMED, "sort_key_attr"])
@pytest.mark.parametrize("name", [5, b"id"], ids=repr)
def test_a_name_that_is_none_is_refused(side: Side, parameter: str, name: Any) -> None:
    options = {"table_name": "records", "sort_key_attr": "sk", parameter: name}
    with pytest.raises(IdempotencyPersistenceConfigError, match=parameter):
        side.dynamodb_layer(**options)


@pytest.mark.parametrize("parameter", NAMED)
def test_a_missing_name_is_an_error_before_the_first_request_is_sent(side: Side, parameter: str) -> None:
    client = Mock(spec=["put_item", "get_item", "delete_item"])
    names = {"table": "records", "sort_key_attr": "sk", parameter.replace("table_name", "table"): ""}
    layer = side.dynamodb(client, **names)
    with pytest.raises(IdempotencyPersistenceConfigError, match=f"{parameter} is ''"):
        side.swap(layer, "key", None, RECORD)
    with pytest.raises(IdempotencyPersistenceConfigError, match=f"{parameter} is ''"):
        side.load(layer, "key")
    assert client.method_calls == []


def test_a_missing_name_is_an_error_before_a_client_is_made(side: Side) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="table_name is None"):
        side.load(side.dynamodb_layer(None), "key")


@pytest.mark.parametrize("shards", [0, -1, True, 1.5, "3.0", "", None], ids=repr)
def test_a_number_of_partitions_that_is_none_is_refused(side: Side, shards: Any) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="static_pk_shards must be"):
        side.dynamodb_layer("records", sort_key_attr="sk", static_pk_shards=shards)


def test_partitions_are_refused_without_a_sort_key_to_tell_their_records_apart(side: Side) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="sort_key_attr"):
        side.dynamodb_layer("records", static_pk_shards=2)


@pytest.mark.parametrize("parameter", ATTRIBUTES)
@pytest.mark.parametrize("other", [*ATTRIBUTES, "sort_key_attr"])
def test_two_attributes_of_one_name_are_refused(side: Side, parameter: str, other: str) -> None:
    options = {"sort_key_attr": "sk", parameter: "same", other: "same"}
    if parameter == other:
        side.dynamodb_layer("records", **options)
        return
    with pytest.raises(IdempotencyPersistenceConfigError, match=rf"{parameter}|{other}") as raised:
        side.dynamodb_layer("records", **options)
    assert "'same'" in str(raised.value)


def test_a_client_of_the_other_side_is_refused(
    side: Side, moto_clients: Callable[..., Any], async_dynamodb_client: Any
) -> None:
    blocking = moto_clients(old=False)
    refused, parameter, better = (
        (blocking, "client", "DynamoDBPersistenceLayer")
        if side.asynchronous
        else (async_dynamodb_client, "boto3_client", "AsyncDynamoDBPersistenceLayer")
    )
    with pytest.raises(IdempotencyPersistenceConfigError, match=rf"\b{better}\b"):
        side.dynamodb_layer("records", **{parameter: refused})


@pytest.mark.parametrize("library", ["botocore", "aiobotocore"])
def test_a_library_that_is_not_installed_is_named_with_what_installs_it(
    side: Side, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idemproof.backends.dynamodb.find_spec", lambda name: None if name == library else 1)
    if (library == "aiobotocore") is not side.asynchronous:
        side.dynamodb_layer("records")
        return
    extra = "dynamodb-async" if side.asynchronous else "dynamodb"
    with pytest.raises(IdempotencyPersistenceConfigError, match=rf"{library}.*idemproof\[{extra}\]"):
        side.dynamodb_layer("records")
    side.dynamodb(Mock())  # a client that was brought needs no library


@pytest.mark.parametrize("make", [boto3.client, boto3.resource], ids=["another service", "a resource"])
def test_what_is_no_client_of_dynamodb_is_refused(side: Side, make: Any) -> None:
    service = "sts" if make is boto3.client else "dynamodb"
    with pytest.raises(IdempotencyPersistenceConfigError, match=r"put_item.*boto3\.client"):
        side.dynamodb(make(service, **servers.dynamodb_kwargs("http://127.0.0.1:1")))


def test_a_table_of_boto3s_resources_is_refused() -> None:
    table = boto3.resource("dynamodb", **servers.dynamodb_kwargs("http://127.0.0.1:1")).Table("records")
    with pytest.raises(IdempotencyPersistenceConfigError, match=r"is a resource.*boto3\.client"):
        DynamoDBPersistenceLayer("records", boto3_client=table)
    with pytest.raises(IdempotencyPersistenceConfigError, match=r"is a resource.*boto3\.client"):
        AsyncDynamoDBPersistenceLayer("records", client=table)


def test_a_client_that_is_put_in_place_is_looked_at_too(moto_table: Table) -> None:
    layer = DynamoDBPersistenceLayer("records", boto3_client=moto_table.client)
    with pytest.raises(IdempotencyPersistenceConfigError, match="put_item"):
        layer.client = object()
    assert layer.client is moto_table.client


def test_a_layer_shows_its_table_only(side: Side) -> None:
    assert repr(side.dynamodb_layer("records")) == f"{side.dynamodb_layer.__name__}('records')"


# Making a client.


def test_no_client_is_made_before_the_first_request(moto_table: Table) -> None:
    session = Session(lambda: moto_table.client)
    layer = DynamoDBPersistenceLayer("records", boto3_session=session)
    assert repr(layer)
    assert session.made == []
    layer._load("key")
    layer._load("key")
    assert len(session.made) == 1


@pytest.mark.usefixtures("_hasty_switching")
def test_many_threads_make_one_client(moto_clients: Callable[..., Any]) -> None:
    client = moto_clients(old=False)
    second = threading.Event()
    meeting = threading.Barrier(8, timeout=60)

    def make() -> Any:
        if len(session.made) > 1:
            second.set()
        second.wait(0.2)  # long enough for a thread that does not wait
        return client

    session = Session(make)
    layer = DynamoDBPersistenceLayer("records", boto3_session=session)
    got = []

    def ask() -> None:
        meeting.wait()
        got.append(layer.client)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [client] * 8
    assert len(session.made) == 1


@pytest.mark.usefixtures("_aws")
@pytest.mark.parametrize("by_session", [False, True], ids=["alone", "by a session"])
@pytest.mark.parametrize("configured", [False, True], ids=["default", "configured"])
def test_a_client_waits_a_bounded_time_or_as_configured(by_session: bool, configured: bool) -> None:
    layer = DynamoDBPersistenceLayer(
        "records",
        boto_config=Config(read_timeout=3, region_name="us-west-1") if configured else None,
        boto3_session=Session(botocore.session.get_session) if by_session else None,
    )
    if by_session:
        assert layer.client is not None
        (made,) = layer._session.made
        assert made["service"] == "dynamodb"
        config = made["config"]
    else:
        config = layer.client.meta.config
        assert layer.client.meta.service_model.service_name == "dynamodb"
        layer.client.close()
    if configured:
        assert (config.read_timeout, config.region_name) == (3, "us-west-1")
    else:
        assert (config.connect_timeout, config.read_timeout) == (5, 10)
        assert config.retries["total_max_attempts"] == 1


@pytest.mark.usefixtures("_aws")
@pytest.mark.parametrize("configured", [False, True], ids=["default", "configured"])
def test_an_async_client_waits_a_bounded_time_or_as_configured(configured: bool) -> None:
    seen = []

    class Noting(AsyncSession):
        def create_client(self, service: str, **options: Any) -> Any:
            seen.append((service, options["config"]))
            return super().create_client(service, **options)

    layer = AsyncDynamoDBPersistenceLayer(
        "records", boto_config=AioConfig(read_timeout=3) if configured else None, session=Noting("http://x")
    )
    asyncio.run(layer._get_client())
    ((service, config),) = seen
    assert service == "dynamodb"
    assert config.read_timeout == (3 if configured else 10)
    assert configured or (config.connect_timeout, config.retries["total_max_attempts"]) == (5, 1)


def test_a_failure_to_make_a_client_has_its_documented_name_and_is_retried(moto_table: Table) -> None:
    def fail() -> Any:
        raise NoRegionError

    session = Session(fail)
    layer = DynamoDBPersistenceLayer("records", boto3_session=session)
    for _ in range(2):
        with pytest.raises(IdempotencyPersistenceConfigError, match="region") as raised:
            layer._load("key")
        assert isinstance(raised.value.__cause__, NoRegionError)
    session.make = lambda: moto_table.client
    assert layer._load("key") is None


def test_a_failure_to_make_an_async_client_has_its_documented_name_and_is_retried(
    dynamodb_server: servers.Server, table: Table
) -> None:
    failing = [True, True]

    class Failing(AsyncSession):
        def create_client(self, service: str, **options: Any) -> Any:
            if failing and failing.pop():
                raise NoRegionError
            return super().create_client(service, **options)

    layer = AsyncDynamoDBPersistenceLayer(table.name, session=Failing(dynamodb_server))

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(IdempotencyPersistenceConfigError, match=r"'key'.*region"):
                await layer._load("key")
        assert await layer._load("key") is None

    asyncio.run(main())


# Replacing it.


def test_a_client_can_be_replaced(moto_table: Table, side: Side) -> None:
    first, second = Recording(moto_table.client), Recording(moto_table.client)
    layer, other = side.dynamodb(first), side.dynamodb(second)
    assert side.swap(layer, "key", None, RECORD) == RECORD
    layer.client = other.client
    assert side.load(layer, "key") == RECORD
    assert (first.methods, second.methods) == (["put_item"], ["get_item"])


@pytest.mark.parametrize("old", [True, False], ids=["by an older one", "by a newer one"])
def test_a_replaced_client_may_be_of_another_sdk(moto_table: Table, old_moto_table: Table, old: bool) -> None:
    tables = [moto_table, old_moto_table]
    before, after = tables if old else reversed(tables)
    layer = DynamoDBPersistenceLayer("records", boto3_client=before.client)
    assert layer._swap("key", None, RECORD, 1) == RECORD
    layer.client = recording = Recording(after.client)
    assert layer._swap("key", None, RECORD._replace(owner="another"), 1) == RECORD
    # The one that is installed may be old itself.
    assert recording.methods == (["put_item"] if returns_conflict(after.client) else ["put_item", "get_item"])
    assert not (old and returns_conflict(after.client))


# Async clients and event loops.


def test_each_event_loop_has_one_client_which_is_closed_with_it(
    dynamodb_server: servers.Server, table: Table
) -> None:
    session = AsyncSession(dynamodb_server)
    layer = AsyncDynamoDBPersistenceLayer(table.name, session=session)
    records = [RECORD._replace(idempotency_key=str(number)) for number in range(20)]

    async def store() -> None:
        keys = [record.idempotency_key for record in records]
        stored = await asyncio.gather(
            *(layer._swap(k, None, r, 1) for k, r in zip(keys, records, strict=True))
        )
        assert stored == records

    asyncio.run(store())
    assert session.opened == 1

    async def load() -> None:
        assert await asyncio.gather(*(layer._load(record.idempotency_key) for record in records)) == records
        await layer.close()
        assert await layer._load("0") == records[0]

    asyncio.run(load())
    assert session.opened == 3


# Failures.


class Refusing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def put_item(self, **request: Any) -> Any:
        raise self.error

    get_item = delete_item = put_item


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("AccessDeniedException", IdempotencyPersistenceConfigError),
        ("ResourceNotFoundException", IdempotencyPersistenceConfigError),
        ("UnrecognizedClientException", IdempotencyPersistenceConfigError),
        ("ValidationException", IdempotencyPersistenceConfigError),
        ("ProvisionedThroughputExceededException", IdempotencyPersistenceConnectionError),
        ("ThrottlingException", IdempotencyPersistenceConnectionError),
        ("InternalServerError", IdempotencyPersistenceConnectionError),
        ("TransactionConflictException", IdempotencyPersistenceConnectionError),
        ("Unheard of", IdempotencyPersistenceConnectionError),
    ],
)
@pytest.mark.parametrize(
    ("expected", "new"), [(None, None), (None, RECORD), (RECORD, RECORD), (RECORD, None)], ids=repr
)
def test_each_error_of_dynamodb_has_its_documented_name(
    side: Side, code: str, named: type[Exception], expected: Any, new: Any
) -> None:
    error = botocore.exceptions.ClientError({"Error": {"Code": code, "Message": "because"}}, "PutItem")
    layer = side.dynamodb(Refusing(error))
    with pytest.raises(named, match=r"'records'.*'key'.*because") as raised:
        side.swap(layer, "key", expected, new)
    assert type(raised.value) is named
    assert raised.value.__cause__ is error


def test_a_missing_table_is_reported_as_missing(dynamodb_client: Any, side: Side) -> None:
    layer = side.dynamodb(dynamodb_client, "not-there")
    with pytest.raises(IdempotencyPersistenceConfigError, match="'not-there'"):
        side.swap(layer, "key", None, RECORD)
