"""Valkey treats a huge result as an attack and closes the connection, which looks like an outage."""

import contextlib
from pathlib import Path

import pytest
import redis

import servers
from idemproof import IdempotencyConfig, RedisCachePersistenceLayer, idempotent_function
from idemproof.errors import IdempotencyPersistenceLayerError, IdempotencyResultUnavailableError

LIMIT = 1 << 20


@pytest.mark.clause("ENG-10")
def test_a_result_beyond_the_largest_value_is_marked(tmp_path: Path) -> None:
    runs = []
    with servers.valkey(tmp_path, "--proto-max-bulk-len", str(LIMIT)) as server:
        client = redis.Redis(**servers.redis_kwargs(server))
        layer = RedisCachePersistenceLayer(client=client)

        @idempotent_function(
            data_keyword_argument="p",
            persistence_store=layer,
            config=IdempotencyConfig(in_progress_expires_after_seconds=30, completion_timeout_seconds=0.2),
        )
        def work(p: int) -> str:
            runs.append(p)
            return "x" * (2 * LIMIT)

        with contextlib.closing(client):
            with pytest.raises(IdempotencyPersistenceLayerError, match="will not run again") as caught:
                work(p=1)
            assert len(caught.value.result) == 2 * LIMIT
            with pytest.raises(IdempotencyResultUnavailableError):
                work(p=1)
    assert runs == [1]
