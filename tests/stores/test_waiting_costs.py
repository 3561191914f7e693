"""What a thousand calls that wait for one key cost a server."""

from collections.abc import Iterator

import pytest
import redis

import servers
from idemproof import RedisCachePersistenceLayer
from idemproof.spec.waiting import poll_ms
from waiting_calls import claims_of_waiters

pytestmark = pytest.mark.once


@pytest.fixture
def client(valkey_server: servers.Server) -> Iterator[redis.Redis]:
    with redis.Redis(**servers.redis_kwargs(valkey_server)) as made:
        made.flushall()
        yield made
        made.flushall()


@pytest.mark.clause("WAIT-2")
def test_a_thousand_waiters_send_valkey_one_command_for_each_claim(client: redis.Redis) -> None:
    layer = RedisCachePersistenceLayer(client=client)
    claims_of_waiters(1, 1, layer)  # which learns what the server can do
    client.flushall()
    client.config_resetstat()
    claims = claims_of_waiters(1000, 3, layer)
    stats = client.info("commandstats")
    sent = sum(
        command["calls"]
        for name, command in stats.items()
        if name.removeprefix("cmdstat_") in ("set", "get", "eval", "evalsha")
    )
    running = 1  # the claim of the call that they wait for
    assert sent == running + sum(claims.values())
    assert claims[0] <= 6 * 1000
    assert sum(claims.values()) <= 1000 * (6 + 2 * 1000 / poll_ms(1000, 1.0) + 2)
