"""Clients that differ from redis-py: Valkey GLIDE, and clients with only get, set and delete."""

import asyncio
import inspect
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest

from idemproof import (
    AsyncCachePersistenceLayer,
    CachePersistenceLayer,
    IdempotencyConfig,
    IdempotencyWarning,
    Record,
    idempotent_function,
)
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS
from places import RedisPlace

FAR = 32_503_680_000
CLAIM = Record("key", INPROGRESS, FAR, FAR * 1000, None, "hash", "mine")
RESULT = Record("key", COMPLETED, FAR, None, '"dönë"', "hash", "mine")
RIVAL = CLAIM._replace(owner="rival")
AN_HOUR = 3_600_000

glide_sync = pytest.importorskip("glide_sync", reason="valkey-glide-sync is missing: pip install it")


class Three:
    """The methods that Powertools needs of a client."""

    def __init__(self) -> None:
        self._redis = fakeredis.FakeRedis(server=fakeredis.FakeServer())

    def get(self, name: Any) -> Any:
        return self._redis.get(name)

    def set(self, name: Any, value: Any, ex: Any = None, px: Any = None, nx: bool = False) -> Any:
        return self._redis.set(name, value, ex=ex, px=px, nx=nx)

    def delete(self, *names: Any) -> Any:
        return self._redis.delete(*names)


class AsyncThree:
    def __init__(self) -> None:
        self._three = Three()

    async def get(self, name: Any) -> Any:
        return self._three.get(name)

    async def set(self, name: Any, value: Any, **options: Any) -> Any:
        return self._three.set(name, value, **options)

    async def delete(self, *names: Any) -> Any:
        return self._three.delete(*names)


def glide(place: RedisPlace) -> Any:
    config = glide_sync.GlideClientConfiguration(
        [glide_sync.NodeAddress(place.host, place.port)], request_timeout=5000
    )
    return glide_sync.GlideClient.create(config)


@pytest.fixture(params=["glide", "three methods"])
def layer(request: pytest.FixtureRequest) -> Iterator[CachePersistenceLayer]:
    if request.param == "glide":
        client = glide(request.getfixturevalue("valkey_place"))
        yield CachePersistenceLayer(client=client)
        client.close()
    else:
        with pytest.warns(IdempotencyWarning, match="not fenced"):
            made = CachePersistenceLayer(client=Three())
        yield made


def test_a_whole_life_of_a_record(layer: CachePersistenceLayer) -> None:
    assert layer._load("key") is None
    assert layer._swap("key", None, CLAIM, AN_HOUR) == CLAIM
    assert layer._swap("key", None, RIVAL, AN_HOUR) == CLAIM
    assert layer._swap("key", RIVAL, RESULT, AN_HOUR) == CLAIM
    assert layer._swap("key", RIVAL, None, 0) == CLAIM
    assert layer._swap("key", CLAIM, RESULT, AN_HOUR) == RESULT
    assert layer._load("key") == RESULT
    assert layer._swap("key", RESULT, RIVAL, AN_HOUR) == RIVAL
    assert layer._swap("key", RIVAL, None, 0) is None
    assert layer._swap("key", RIVAL, RESULT, AN_HOUR) is None
    assert layer._swap("key", None, None, 0) is None


def test_calls_run_once_replay_refuse_and_release(layer: CachePersistenceLayer) -> None:
    runs: list[int] = []

    @idempotent_function(
        data_keyword_argument="n",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=10, payload_validation_jmespath="@"),
    )
    def charge(n: int) -> Any:
        runs.append(n)
        if n == 3:
            raise ZeroDivisionError
        if len(runs) == 1:
            with pytest.raises(IdempotencyAlreadyInProgressError):
                charge(n=n)
        return {"n": n, "text": "ä" * 5}

    assert [charge(n=1), charge(n=1), charge(n=2)] == [{"n": n, "text": "äääää"} for n in (1, 1, 2)]
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            charge(n=3)
    assert runs == [1, 2, 3, 3]


def test_of_threads_one_runs(layer: CachePersistenceLayer) -> None:
    runs: list[int] = []
    answers: list[Any] = []
    barrier = threading.Barrier(8)

    @idempotent_function(
        data_keyword_argument="n",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=10),
    )
    def charge(n: int) -> int:
        runs.append(n)
        return n

    def call() -> None:
        barrier.wait(10)
        try:
            answers.append(charge(n=1))
        except IdempotencyAlreadyInProgressError:
            answers.append("in progress")

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs == [1]
    assert set(answers) <= {1, "in progress"}
    assert len(answers) == 8


def test_glide_is_fenced_and_its_errors_have_their_names(valkey_place: RedisPlace) -> None:
    client = glide(valkey_place)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = CachePersistenceLayer(client=client)
    assert layer._swap("key", None, CLAIM, AN_HOUR) == CLAIM
    # Another text of the same record: the script compares the stored text.
    text = client.get("key")
    client.set("key", text.replace(b": ", b":"))
    assert layer._swap("key", CLAIM, RESULT, AN_HOUR) == RESULT
    client.close()
    with pytest.raises(IdempotencyPersistenceConnectionError, match="'key'"):
        layer._load("key")


def test_a_glide_client_that_reads_from_replicas_is_refused(valkey_place: RedisPlace) -> None:
    config = glide_sync.GlideClientConfiguration(
        [glide_sync.NodeAddress(valkey_place.host, valkey_place.port)],
        read_from=glide_sync.ReadFrom.PREFER_REPLICA,
    )
    client = glide_sync.GlideClient.create(config)
    try:
        with pytest.raises(IdempotencyPersistenceConfigError, match="replicas"):
            CachePersistenceLayer(client=client)
    finally:
        client.close()


def test_a_client_of_three_methods_is_warned_of_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", IdempotencyWarning)
        layer = CachePersistenceLayer(client=Three())
        layer._swap("key", None, CLAIM, AN_HOUR)
        layer._swap("key", CLAIM, RESULT, AN_HOUR)
    assert len(caught) == 1


def test_a_client_of_the_other_side_is_refused() -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="AsyncRedisCachePersistenceLayer"):
        CachePersistenceLayer(client=AsyncThree())
    with pytest.raises(IdempotencyPersistenceConfigError, match="RedisCachePersistenceLayer"):
        AsyncCachePersistenceLayer(client=Three())


def test_an_async_client_of_three_methods_works() -> None:
    with pytest.warns(IdempotencyWarning, match="AsyncThree"):
        layer = AsyncCachePersistenceLayer(client=AsyncThree())

    @idempotent_function(data_keyword_argument="n", persistence_store=layer)
    async def charge(n: int) -> int:
        return n

    assert inspect.iscoroutinefunction(charge)

    async def scenario() -> list[int]:
        return [await charge(n=1) for _ in range(2)]

    assert asyncio.run(scenario()) == [1, 1]


def test_a_client_that_is_set_later_is_checked_on_first_use() -> None:
    layer = CachePersistenceLayer(client=fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    layer.client = object()
    with pytest.raises(IdempotencyPersistenceConfigError, match="object has no get"):
        layer._load("key")
    layer.client = Three()
    with pytest.warns(IdempotencyWarning, match="not fenced"):
        assert layer._swap("key", None, CLAIM, AN_HOUR) == CLAIM


class LosesAReply(Three):
    """Acquires the first lock, but loses the reply."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0

    def set(self, name: Any, value: Any, ex: Any = None, px: Any = None, nx: bool = False) -> Any:
        done = super().set(name, value, ex, px, nx)
        if name.endswith(":lock") and not self.lost:
            self.lost += 1
            raise ConnectionError("the reply is lost")
        return done


@pytest.mark.filterwarnings("ignore:LosesAReply has only get, set and delete")
def test_a_takeover_knows_its_own_lock_when_the_reply_was_lost() -> None:
    client = LosesAReply()
    layer = CachePersistenceLayer(client=client)
    layer._swap("key", None, CLAIM, AN_HOUR)
    with pytest.raises(IdempotencyPersistenceConnectionError):
        layer._swap("key", CLAIM, RIVAL, AN_HOUR)
    third = RIVAL._replace(owner="third")
    assert layer._swap("key", CLAIM, third, AN_HOUR) == CLAIM
    assert layer._swap("key", CLAIM, RIVAL, AN_HOUR) == RIVAL
    assert client.lost == 1


@pytest.mark.filterwarnings("ignore:Three has only get, set and delete")
def test_a_renewal_and_a_completion_need_no_lock() -> None:
    client = Three()
    layer = CachePersistenceLayer(client=client)
    layer._swap("key", None, CLAIM, AN_HOUR)
    client.set("key:lock", "True")
    renewed = CLAIM._replace(in_progress_expiry_timestamp=FAR * 1000 + 1)
    assert layer._swap("key", CLAIM, renewed, AN_HOUR) == renewed
    assert layer._swap("key", renewed, RESULT, AN_HOUR) == RESULT
