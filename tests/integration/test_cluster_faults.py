"""A cluster loses a primary, or moves slots: claims, results and replays stay correct."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio
from redis.crc import key_slot

import failover_load
import sentinels
import sharded
from idemproof import AsyncRedisCachePersistenceLayer, RedisCachePersistenceLayer
from idemproof.errors import IdempotencyPersistenceConnectionError
from outages import Calls, Work, key_of
from servers import Server
from sharded import Sharded

pytestmark = [pytest.mark.once, pytest.mark.waits]

BLOCKING = "RedisCachePersistenceLayer(host='{host}', port={port}, ssl=False, mode='cluster')"


@pytest.fixture(scope="module")
def _servers(valkey_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharded]:
    with sharded.sharded(tmp_path_factory.mktemp("sharded")) as made:
        yield made


@pytest.fixture
def cluster(_servers: Sharded) -> Iterator[Sharded]:
    yield _servers
    for node in _servers.nodes:
        if not node.alive():
            node.restart()
    _servers.wait_until_whole()


def own(kind: Any, node: Server, _run: Callable[[Any], Any]) -> Any:
    return kind(host=node.host, port=node.port, ssl=False, mode="cluster")


def brought(client: Any, node: Server, run: Callable[[Any], Any]) -> Any:
    async def opened() -> Any:
        return await client(host=node.host, port=node.port)

    if "asyncio" in client.__module__:
        return AsyncRedisCachePersistenceLayer(client=run(opened()))
    return RedisCachePersistenceLayer(client=client(host=node.host, port=node.port))


LAYERS: dict[str, Callable[..., Any]] = {
    "own": partial(own, RedisCachePersistenceLayer),
    "own-async": partial(own, AsyncRedisCachePersistenceLayer),
    "redis": partial(brought, redis.RedisCluster),
    "redis-async": partial(brought, redis.asyncio.RedisCluster),
    "valkey": partial(brought, valkey.ValkeyCluster),
    "valkey-async": partial(brought, valkey.asyncio.ValkeyCluster),
}


@pytest.fixture(params=LAYERS)
def calls(cluster: Sharded, request: pytest.FixtureRequest) -> Iterator[Calls]:
    asynchronous = request.param.endswith("async")
    with asyncio.Runner() as runner:
        # A node that stays, from which a client learns about the others.
        layer = LAYERS[request.param](cluster.primaries[2], runner.run)
        yield Calls(layer, Work(), runner.run, completion_timeout_seconds=60)
        client = layer.client
        if client is None:
            runner.run(layer.close())
        elif asynchronous:
            runner.run(client.aclose())
        else:
            client.close()


def at(cluster: Sharded, node: Server, name: str) -> str:
    """Return the name of an operation whose record is at ``node``."""
    names = (f"{name} {number}" for number in range(1000))
    return next(each for each in names if cluster.node_of(key_of(each)) is node)


def persist(calls: Calls, name: str) -> None:
    """Call until the cluster serves it."""

    def served() -> bool:
        with contextlib.suppress(IdempotencyPersistenceConnectionError):
            return bool(calls(name))
        return False

    sentinels.until("the call is served", served)


@pytest.mark.parametrize("when", ["between calls", "while the function runs"])
def test_a_replica_takes_over(cluster: Sharded, calls: Calls, name: str, when: str) -> None:
    primary = cluster.replicated
    first, second = at(cluster, primary, f"{name} before"), at(cluster, primary, name)

    def die() -> None:
        cluster.catch_up()
        primary.kill()

    calls(first)
    if when == "between calls":
        die()
        with contextlib.suppress(IdempotencyPersistenceConnectionError):
            calls(second)
        cluster.wait_for_another_than(primary, key_of(second))
    else:
        calls.work.during = die
    persist(calls, second)
    calls.work.during = lambda: None
    assert [calls(second), calls(first)] == [f"{second} done", f"{first} done"]
    assert calls.work.runs == [first, second]


@pytest.mark.parametrize("calls", ["own", "own-async"], indirect=True)
def test_a_layers_own_client_retries_as_often_as_it_takes_to_follow_the_nodes(calls: Calls) -> None:
    layer = calls.layer
    client = layer.client or calls._run(layer._clients.get())
    assert client.retry.get_retries() == 1  # the engine retries


@pytest.mark.parametrize("calls", ["own", "own-async", "valkey"], indirect=True)
def test_a_cluster_that_lacks_a_primary_refuses_by_name_until_it_is_back(
    cluster: Sharded, calls: Calls, name: str, pauses: list[float]
) -> None:
    dead = cluster.primaries[1]
    elsewhere, there = at(cluster, cluster.primaries[2], name), at(cluster, dead, name)
    calls(before := at(cluster, cluster.primaries[2], f"{name} before"))
    dead.kill()
    cluster.wait_until_missed()
    for each in (elsewhere, there):
        calls.refused(each, IdempotencyPersistenceConnectionError, "did not serve")
    assert calls.work.runs == [before]
    dead.restart()
    cluster.wait_until_whole()
    for each in (elsewhere, there):
        persist(calls, each)
        assert calls(each) == f"{each} done"
    assert calls(before) == f"{before} done"
    assert calls.work.runs == [before, elsewhere, there]


def test_slots_move_between_calls_and_while_functions_run(cluster: Sharded, calls: Calls, name: str) -> None:
    source, target = cluster.primaries[1:]
    name = at(cluster, source, name)
    slot = key_slot(key_of(name).encode())
    calls(name)
    calls.work.during = lambda: cluster.move(slot, source, target)
    for _ in range(3):
        # The record of one moves away while its function runs; the other's was away before.
        again = next(
            each
            for each in (f"{name} {number}" for number in range(200_000))
            if key_slot(key_of(each).encode()) == slot and each not in calls.work.runs
        )
        assert [calls(again), calls(again), calls(name)] == [f"{again} done"] * 2 + [f"{name} done"]
        source, target = target, source
    calls.work.during = lambda: None
    assert len(calls.work.runs) == len(set(calls.work.runs)) == 4
    if cluster.node_of(key_of(name)) is not cluster.primaries[1]:
        cluster.move(slot, cluster.primaries[2], cluster.primaries[1])


def test_a_slot_that_is_half_moved(cluster: Sharded, calls: Calls, name: str) -> None:
    source, target = cluster.primaries[1:]
    name = at(cluster, source, name)
    slot = key_slot(key_of(name).encode())
    calls(name)
    cluster.begin_to_move(slot, source, target)
    try:
        assert calls(name) == f"{name} done"
        cluster.move_keys(slot, source, target)
        assert calls(name) == f"{name} done"  # by ASK
        fresh = next(
            each
            for each in (f"{name} {number}" for number in range(200_000))
            if key_slot(key_of(each).encode()) == slot
        )
        assert [calls(fresh), calls(fresh)] == [f"{fresh} done"] * 2
    finally:
        cluster.end_move(slot, source, target)
    assert calls(name) == f"{name} done"
    assert calls.work.runs == [name, fresh]
    cluster.move(slot, target, source)


@pytest.mark.nightly
def test_under_load_nothing_is_lost_or_repeated_while_slots_move(cluster: Sharded, tmp_path: Path) -> None:
    where = {"host": cluster.primaries[2].host, "port": cluster.primaries[2].port}
    layers = [each.format(**where) for each in (BLOCKING, f"Async{BLOCKING}")]
    keys, moves = 200, 0
    source, target = cluster.primaries[1:]
    mine = [key_slot(key) for key in failover_load.names(keys) if at_node(cluster, key, source)]
    finished: list[failover_load.Heard] = []
    with failover_load.Workers(tmp_path, keys, layers * 2) as workers:
        waiting = threading.Thread(target=lambda: finished.append(workers.finish()))
        waiting.start()
        # There and back, so that slots move from before the first call until after the last.
        while waiting.is_alive():
            for here, there in ((source, target), (target, source)):
                for slot in mine:
                    cluster.move(slot, here, there)
                    moves += 1
        waiting.join()
    [heard] = finished
    print(f"\n{moves} slots moved, {dict(heard.failed)}")  # noqa: T201 - what it was worth
    assert heard.said == []
    assert mine
    assert {key: ran for key, ran in heard.runs.items() if len(ran) != 1} == {}
    assert {key: found for key, found in heard.answers.items() if len(found) != 1} == {}


def at_node(cluster: Sharded, key: bytes, node: Server) -> bool:
    return cluster.node_of(key.decode()) is node
