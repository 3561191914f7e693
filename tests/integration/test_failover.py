"""After a failover the old primary is read-only, and pooled connections still lead there."""

import asyncio
import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio

import failover
import failover_load
from failover import Pair
from idemproof import AsyncRedisCachePersistenceLayer, RedisCachePersistenceLayer
from idemproof.errors import IdempotencyError
from outages import Calls, Work

Open = Callable[[Pair, Callable[[Any], Any], contextlib.ExitStack], Any]


@pytest.fixture(scope="module")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with failover.pair(tmp_path_factory.mktemp("failover")) as made:
        yield made


@pytest.fixture
def pair(_servers: Pair) -> Pair:
    _servers.catch_up()
    return _servers


def own(asynchronous: bool, pair: Pair, run: Callable[[Any], Any], stack: contextlib.ExitStack) -> Any:
    kind: Any = AsyncRedisCachePersistenceLayer if asynchronous else RedisCachePersistenceLayer
    layer = kind(host=pair.relay.host, port=pair.relay.port, ssl=False)
    stack.callback(lambda: run(layer.close()) if asynchronous else layer.close())
    return layer


def brought(
    library: Any, blocking: bool, pair: Pair, run: Callable[[Any], Any], stack: contextlib.ExitStack
) -> Any:
    where = {"host": pair.relay.host, "port": pair.relay.port}
    kind = library.Redis if hasattr(library, "Redis") else library.Valkey
    if blocking:
        client = kind(connection_pool=library.BlockingConnectionPool(max_connections=5, timeout=5, **where))
    else:
        client = kind(**where)
    if library.__name__.endswith("asyncio"):
        stack.callback(lambda: run(client.connection_pool.disconnect()))
        return AsyncRedisCachePersistenceLayer(client=client)
    stack.callback(client.connection_pool.disconnect)
    return RedisCachePersistenceLayer(client=client)


LAYERS: dict[str, Open] = {
    "own": partial(own, False),
    "own-async": partial(own, True),
    **{
        f"{library.__name__}{'-blocking-pool' if blocking else ''}": partial(brought, library, blocking)
        for library in (redis, valkey, redis.asyncio, valkey.asyncio)
        for blocking in (False, True)
    },
}


BLOCKING = [name for name in LAYERS if "async" not in name]


@pytest.fixture(params=LAYERS)
def calls(pair: Pair, request: pytest.FixtureRequest) -> Iterator[Calls]:
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        layer = LAYERS[request.param](pair, runner.run, stack)
        yield Calls(layer, Work(), runner.run)


def test_the_next_calls_go_to_the_new_primary(pair: Pair, calls: Calls, name: str) -> None:
    calls(f"{name} before")
    for number in range(2):
        pair.fail_over()
        with contextlib.suppress(IdempotencyError):  # the first or the second gets through
            calls(f"{name} {number}")
        assert calls(f"{name} {number}") == f"{name} {number} done"
        assert calls(f"{name} before") == f"{name} before done"
    assert calls.work.runs == [f"{name} before", f"{name} 0", f"{name} 1"]


@pytest.mark.parametrize("calls", BLOCKING, indirect=True)
def test_many_connections_that_lead_to_the_old_primary_are_all_given_up(
    pair: Pair, calls: Calls, name: str
) -> None:
    pool = calls.layer.client.connection_pool
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # one library wants no name, the other needs it
        taken = [pool.get_connection("PING") for _ in range(5)]
    for connection in taken:
        pool.release(connection)
    pair.fail_over()
    with contextlib.suppress(IdempotencyError):
        calls(name)
    assert calls(name) == f"{name} done"


def test_a_result_is_stored_though_the_store_fails_over_while_the_function_runs(
    pair: Pair, calls: Calls, name: str
) -> None:
    calls(f"{name} before")
    calls.work.during = pair.fail_over
    assert calls(name) == f"{name} done"
    calls.work.during = lambda: None
    assert calls(name) == f"{name} done"
    assert calls.work.runs == [f"{name} before", name]


def test_a_claim_is_released_by_a_script_though_the_store_fails_over(
    pair: Pair, calls: Calls, name: str
) -> None:
    """The old primary says READONLY within the script."""

    def fail() -> None:
        pair.fail_over()
        raise ZeroDivisionError

    calls(f"{name} before")
    calls.work.during = fail
    with pytest.raises(ZeroDivisionError):
        calls(name)
    calls.work.during = lambda: None
    assert calls(name) == f"{name} done"
    assert calls.work.runs == [f"{name} before", name, name]


@pytest.mark.nightly
def test_failovers_under_load_lose_what_was_not_replicated_and_nothing_else(tmp_path: Path) -> None:
    keys, failovers = 2000, 3
    lost: Counter[int] = Counter()
    with failover.pair(tmp_path) as pair:
        where = {"host": pair.relay.host, "port": pair.relay.port}
        layers = [each.format(**where) for each in (failover_load.BLOCKING, failover_load.ASYNC)]
        with failover_load.Workers(tmp_path, keys, layers * 4) as workers:
            for part in range(1, failovers + 1):
                workers.wait_for_answers(part / (failovers + 1))
                lost.update(workers.names[name] for name in pair.fail_over_under_load(0.05))
            heard = workers.finish()
    repeated = sum(map(len, heard.runs.values())) - keys
    print(  # noqa: T201 - what the run was worth
        f"\n{failovers} failovers, {sum(lost.values())} writes not replicated, "
        f"{repeated} repeated runs, {dict(heard.failed)}"
    )
    assert {key: times for key, times in heard.runs.items() if len(times) > 1 + lost[key]} == {}
    assert {key: found for key, found in heard.answers.items() if len(found) > 1 + lost[key]} == {}
    assert sum(lost.values()) > 0
