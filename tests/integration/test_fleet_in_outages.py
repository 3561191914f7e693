"""Ten thousand keys, by workers that are killed, over a server that is paused, restarted and cut off.

No key gets two answers, and no body runs again unless its worker died, it raised, or the store was out of
reach until the lease was over. Outages are shorter than that; on a busy machine several may come together.
"""

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest
import redis

import fleet
import journal
import servers
from fleet_stores import Store, dynamodb_store, redis_makers
from idemproof import RedisCachePersistenceLayer
from proxy import Proxy
from storm import Storm

SEED = 20_261_129
KEYS = 10_000
KILLS = 60
DROPPED = 0.02
LEASE_MS = 8000
BODY_SECONDS = (0.001, 0.002, 0.005, 0.01)
EVERY_WRITE = ("--appendonly", "yes", "--appendfsync", "always")

pytestmark = pytest.mark.nightly


def in_a_storm(store: Store, directory: Path, *, restarts: bool) -> tuple[Any, Storm]:
    """Run a fleet during outages, and return the records and journal that it leaves."""
    with Proxy(store.server, remember=False) as proxy:
        proxy.drop_randomly(random.Random(SEED), DROPPED)
        storm = Storm(proxy, store.server, seed=SEED, restarts=restarts)
        sent = fleet.Fleet(
            directory,
            store.makers(proxy) * 3,
            seed=SEED,
            keys=KEYS,
            kills=KILLS,
            reasons={"killed", "raised"},
            lease_ms=LEASE_MS,
            body_seconds=BODY_SECONDS,
            environment=store.environment(proxy),
            seconds_at_most=1800,
        )
        with storm.raging():
            left = sent.work()
    return left, storm


def judge(left: Any, storm: Storm, direct: Any) -> None:
    print(f"\n{left}; storm: {dict(storm.counts)}")  # noqa: T201 - what the run was worth
    assert journal.breaches(left) == {}
    assert set(left.repeated()) <= {"killed", "raised", "untold"}
    assert left.counts()["lost"] == 0
    for run in left.runs.values():
        if run.end is not None and run.end.what == "untold":  # the machine was busy: outages came together
            assert run.end.ms >= run.lease - LEASE_MS // 10
    assert left.answers.keys() >= set(range(KEYS))
    assert fleet.replayed(direct, list(left.answers)) == left.answers


@pytest.mark.clause("INV-4", "INV-5", "ENG-6")
def test_over_valkey(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.valkey(tmp_path, *EVERY_WRITE))
        client = stack.enter_context(redis.Redis(**servers.redis_kwargs(server)))
        store = Store(server, redis_makers, lambda _: {}, RedisCachePersistenceLayer(client=client))
        left, storm = in_a_storm(store, tmp_path, restarts=True)
        judge(left, storm, store.direct)


@pytest.mark.clause("INV-4", "INV-5", "ENG-6")
def test_over_dynamodb(dynamodb_server: servers.Server, tmp_path: Path) -> None:
    with dynamodb_store(dynamodb_server) as store:
        left, storm = in_a_storm(store, tmp_path, restarts=False)
        judge(left, storm, store.direct)
