"""Worker processes that share a real server are killed and cut off, and give one answer to each key."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import fleet
import journal
from fleet_stores import Store, dynamodb_store, valkey_store
from proxy import Proxy

SEED = 20_261_123
KEYS = 80
KILLS = 4
FAILURES = 40
DROPPED = 0.1
"""So often a request or its reply is lost. Clients do not retry here: the engine has to."""
COMPLETIONS_LOST = 80
"""At first all completions are lost, more than each worker can try: some callers cannot get the result."""
REASONS = {"killed", "outlived", "raised", "untold"}


pytestmark = pytest.mark.once
STORES = {"valkey_server": valkey_store, "dynamodb_server": dynamodb_store}


@pytest.fixture(params=["valkey_server", pytest.param("dynamodb_server", marks=pytest.mark.nightly)])
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
    untold, unavailable = (
        {entry.key for entry in left.entries if entry.what == what} for what in ("untold", "unavailable")
    )
    assert unavailable <= untold
    assert unavailable.isdisjoint(left.answers)
    assert left.answers.keys() | unavailable >= set(range(KEYS))
    assert left.counts()["failed"] >= FAILURES
    assert left.repeated().keys() >= REASONS
    assert fleet.replayed(store.direct, list(left.answers)) == left.answers
