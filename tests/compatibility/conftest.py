"""One store shared with the original, and calls of either side behind one interface.

Keys have a prefix that is new for each test, so that tests share tables and servers, never records.
"""

import contextlib
import datetime as dt
import hashlib
import json
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import boto3
import fakeredis
import moto
import pytest
import redis
import time_machine
from aws_lambda_powertools.utilities import idempotency as original
from aws_lambda_powertools.utilities.idempotency.persistence.cache import (
    CachePersistenceLayer as OriginalCachePersistenceLayer,
)

import idemproof
import servers
from both_sides import either_place, either_side, moto_dynamodb  # noqa: F401 - fixtures

LEASE_MS = 10_000
WINDOW_SECONDS = 3600
START_MS = 1_900_000_000_250

NAMES = {
    "key": "id",
    "status": "status",
    "expiry": "expiration",
    "lease": "in_progress_expiration",
    "data": "data",
    "hash": "validation",
    "owner": "owner",
}
OPTIONS = {
    "key": "key_attr",
    "status": "status_attr",
    "expiry": "expiry_attr",
    "lease": "in_progress_expiry_attr",
    "data": "data_attr",
    "hash": "validation_key_attr",
}
OTHER_NAMES = {"status": "state", "expiry": "ends", "lease": "held", "data": "answer", "hash": "sum"}


class Kind(NamedTuple):
    """A store: its family, whether its server is real, and the names in it that are not the usual ones."""

    family: str
    real: bool = False
    names: Mapping[str, str] = MappingProxyType({})
    sort_key: str | None = None

    @property
    def tags(self) -> set[str]:
        usual = not self.names and self.sort_key is None
        return {self.family, "real" if self.real else "imitated", "usual" if usual else "renamed"}

    def options(self, side: str) -> dict[str, Any]:
        options = {OPTIONS[role]: name for role, name in self.names.items() if role in OPTIONS}
        if side == "ours" and "owner" in self.names:
            options["owner_attr"] = self.names["owner"]
        if self.sort_key is not None:
            options |= {"sort_key_attr": self.sort_key, "static_pk_value": "partition"}
        return options


KINDS = {
    "moto": Kind("dynamodb"),
    "moto-composite": Kind("dynamodb", sort_key="sk"),
    "moto-renamed": Kind("dynamodb", names={"key": "pk", "owner": "who"} | OTHER_NAMES),
    "dynamodb": Kind("dynamodb", real=True),
    "dynamodb-composite-renamed": Kind(
        "dynamodb", real=True, names={"key": "pk"} | OTHER_NAMES, sort_key="sk"
    ),
    "fakeredis": Kind("redis"),
    "fakeredis-renamed": Kind("redis", names={"owner": "who"} | OTHER_NAMES),
    "valkey": Kind("redis", real=True),
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stores(*tags): only stores that have all these tags")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames:
        tags = {tag for mark in metafunc.definition.iter_markers("stores") for tag in mark.args}
        # In the process and by a server, moto is one DynamoDB: the latter will do where either would.
        twice = set() if "imitated" in tags else {"moto"}
        names = [name for name, kind in KINDS.items() if tags <= kind.tags and name not in twice]
        assert names, f"no store has {tags}"
        metafunc.parametrize("store", names, indirect=True)


class Reply(NamedTuple):
    """The reply to a caller: an answer as JSON text, or the name of an error."""

    answer: str | None
    refusal: str | None = None


class Side(NamedTuple):
    package: Any
    redis_layer: Any


SIDES = {
    "ours": Side(idemproof, idemproof.CachePersistenceLayer),
    "original": Side(original, OriginalCachePersistenceLayer),
}
REQUESTS = {
    *("put_item", "get_item", "update_item", "delete_item"),
    *("get", "set", "delete", "eval", "evalsha", "execute_command"),
}


def label(method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return what a request is for: the same word in all stores."""
    if method == "execute_command":
        return "claim" if b"NX" in args else "swap"
    if method == "set":
        if not kwargs.get("nx"):
            return "write"
        return "lock" if kwargs.get("name", "").endswith(":lock") else "claim"
    if method == "put_item":
        # The original takes over by the condition with which it claims; ours names what it expects.
        return "swap" if "#status = :status" in kwargs["ConditionExpression"] else "claim"
    if method == "delete_item" and "ConditionExpression" in kwargs:
        return "swap"
    names = {"get_item": "read", "get": "read", "update_item": "write"}
    return names.get(method) or ("release" if method.startswith("delete") else "swap")


class Client:
    """A store's client of one side, which reports each request before and after it is sent."""

    def __init__(self, client: Any, side: str, store: "Store") -> None:
        self._client = client
        self._side = side
        self._store = store
        if hasattr(client, "meta"):
            # Without its events, on which the original would register again for each layer.
            self.meta = SimpleNamespace(service_model=client.meta.service_model)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in REQUESTS:
            return found

        def request(*args: Any, **kwargs: Any) -> Any:
            what = label(name, args, kwargs)
            self._store.before(self._side, what)
            reply = self._store.send(self._side, name, found, args, kwargs)
            self._store.after(self._side, what)
            return reply

        return request


@contextlib.contextmanager
def known_warning() -> Iterator[None]:
    """Let the original warn that it knows no lease."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Couldn't determine the remaining time left", UserWarning)
        yield


def idle(side: str, what: str) -> None:
    """Do nothing before or after a request."""


def plainly(side: str, method: str, request: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Send a request as it is."""
    return request(*args, **kwargs)


class Store:
    """A table or a server, which both sides use."""

    # What happens around each request, unless a test sets something else on its store.
    before: Callable[[str, str], None] = staticmethod(idle)
    after: Callable[[str, str], None] = staticmethod(idle)
    send: Callable[..., Any] = staticmethod(plainly)

    def __init__(self, kind: Kind, client: Any, table: str) -> None:
        self.kind = kind
        self.family = kind.family
        self.prefix = uuid.uuid4().hex
        self._client = client
        self._table = table
        self._names = NAMES | dict(kind.names)
        # One of ours serves all functions; of the original's, each function needs its own.
        self._ours = self._layer("ours")

    def _layer(self, side: str) -> Any:
        client = Client(self._client, side, self)
        options = self.kind.options(side)
        if self.kind.family == "dynamodb":
            return SIDES[side].package.DynamoDBPersistenceLayer(self._table, boto3_client=client, **options)
        with warnings.catch_warnings():
            # The name of the original's layer that is not deprecated is an alias of the one that is.
            warnings.simplefilter("ignore", DeprecationWarning)
            return SIDES[side].redis_layer(client=client, **options)

    def call(
        self,
        side: str,
        body: Callable[[Any], Any] = lambda order: order,
        *,
        lease_ms: int | None = LEASE_MS,
        validate: bool = False,
        **settings: Any,
    ) -> Callable[[Any], Reply]:
        """Return a protected function; its lease is what a Lambda context says, on either side."""
        package = SIDES[side].package
        config = package.IdempotencyConfig(
            event_key_jmespath="id",
            payload_validation_jmespath="amount" if validate else "",
            lambda_context=None
            if lease_ms is None
            else SimpleNamespace(get_remaining_time_in_millis=lambda: lease_ms),
            **({"expires_after_seconds": WINDOW_SECONDS} | settings),
        )

        @package.idempotent_function(
            data_keyword_argument="order",
            persistence_store=self._ours if side == "ours" else self._layer(side),
            config=config,
            key_prefix=self.prefix,
        )
        def function(order: Any) -> Any:
            return body(order)

        def call(order: Any) -> Reply:
            try:
                with known_warning() if lease_ms is None else contextlib.nullcontext():
                    return Reply(json.dumps(function(order=order), sort_keys=True, default=str))
            except Exception as error:
                return Reply(None, type(error).__name__)

        return call

    def interpose(self, side: str, what: str, act: Callable[[], Any]) -> None:
        """Run ``act`` once, just before ``side`` sends its next request of this kind."""

        def before(asking: str, asked: str) -> None:
            if (asking, asked) == (side, what):
                del self.before
                act()

        self.before = before

    def key(self, order: Any) -> str:
        digest = hashlib.md5(json.dumps(order["id"]).encode(), usedforsecurity=False).hexdigest()
        return f"{self.prefix}#{digest}"

    def record(self, order: Any) -> dict[str, Any] | None:
        """Return the stored record of ``order``: its present attributes, with the names of ``NAMES``."""
        return self.fields(self._read(self.key(order)))

    def fields(self, stored: Any) -> dict[str, Any] | None:
        """Return an item or a text of the store as a record."""
        if not stored:
            return None
        if self.kind.family == "dynamodb":
            values = {name: int(value["N"]) if "N" in value else value["S"] for name, value in stored.items()}
        else:
            values = json.loads(stored)
        return {role: values[name] for role, name in self._names.items() if name in values and role != "key"}

    def key_of(self, item: Any) -> str:
        """Return the idempotency key of an item of the table."""
        key: str = item[self.kind.sort_key or self._names["key"]]["S"]
        return key

    def forget(self, order: Any) -> None:
        """Delete the record of ``order``, as a server does on request."""
        self._client.delete(self.key(order))

    def _read(self, key: str) -> Any:
        if self.kind.family == "redis":
            return self._client.get(key)
        names = {self._names["key"]: {"S": key}}
        if self.kind.sort_key is not None:
            names = {self._names["key"]: {"S": "partition"}, self.kind.sort_key: {"S": key}}
        return self._client.get_item(TableName=self._table, Key=names, ConsistentRead=True).get("Item")


def live(record: dict[str, Any] | None, now_ms: int) -> bool:
    """Return whether a record counts: a claim until its lease ends, all else until it expires."""
    if record is None:
        return False
    if record["status"] == "INPROGRESS" and "lease" in record:
        return bool(now_ms < record["lease"])
    return bool(now_ms < record["expiry"] * 1000)


def create_table(client: Any, name: str, kind: Kind) -> None:
    keys = {kind.names.get("key", "id"): "HASH"} | ({kind.sort_key: "RANGE"} if kind.sort_key else {})
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": role} for key, role in keys.items()],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        BillingMode="PAY_PER_REQUEST",
    )


@pytest.fixture(scope="module")
def backing(request: pytest.FixtureRequest) -> Iterator[Callable[[str], tuple[Any, str]]]:
    """Return each kind's client and table, made when first asked for."""
    made: dict[str, tuple[Any, str]] = {}
    with contextlib.ExitStack() as stack:

        def make(kind: Kind) -> tuple[Any, str]:
            if kind.family == "redis":
                settings: dict[str, Any] = {}
                if kind.real:
                    settings = servers.redis_kwargs(request.getfixturevalue("valkey_server"))
                client = stack.enter_context((redis.Redis if kind.real else fakeredis.FakeRedis)(**settings))
                return client, ""
            if kind.real:
                server = request.getfixturevalue("dynamodb_server")
                client = servers.dynamodb_client(server, max_pool_connections=20)
            else:
                stack.enter_context(moto.mock_aws())
                client = boto3.Session().client("dynamodb", region_name="eu-central-1")
            stack.enter_context(contextlib.closing(client))
            name = f"records-{uuid.uuid4().hex}"
            create_table(client, name, kind)
            if kind.real:
                stack.callback(client.delete_table, TableName=name)
            return client, name

        def get(name: str) -> tuple[Any, str]:
            if name not in made:
                made[name] = make(KINDS[name])
            return made[name]

        yield get


@pytest.fixture
def store(request: pytest.FixtureRequest, backing: Callable[[str], tuple[Any, str]]) -> Store:
    return Store(KINDS[request.param], *backing(request.param))


@pytest.fixture
def lives() -> Callable[[dict[str, Any] | None, int], bool]:
    return live


class Clock:
    """The time of the whole process, which only changes when a test moves it."""

    def __init__(self, traveller: Any) -> None:
        self._traveller = traveller
        self.set(START_MS)

    def set(self, milliseconds: int) -> None:
        self.now = milliseconds
        # Half a millisecond more, because some code computes with floats and rounds down.
        moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=milliseconds + 0.5)
        self._traveller.move_to(moment)

    def pass_by(self, milliseconds: int) -> None:
        self.set(self.now + milliseconds)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with time_machine.travel(0, tick=False) as traveller:
        yield Clock(traveller)
