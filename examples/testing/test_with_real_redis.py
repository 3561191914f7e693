"""Sends the same requests as in production, to a Redis or Valkey server on this machine.

Start it with ``docker run -p 6379:6379 valkey/valkey``.
"""

import os
from collections.abc import Iterator

import labels
import pytest
import redis


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    url = os.environ.get("REDIS_URL", "redis://localhost:6379")
    with redis.Redis.from_url(url) as client:
        monkeypatch.setattr(labels.store, "client", client)
        yield client


def test_a_parcel_that_comes_twice_gets_one_label(client: redis.Redis) -> None:
    parcel = {"parcel_id": os.urandom(8).hex(), "country": "PT"}  # the server may outlive the test
    before = len(labels.printed)
    known = set(client.keys("*print_label#*"))
    first = labels.print_label(parcel=parcel)
    assert labels.print_label(parcel=parcel) == first
    assert len(labels.printed) == before + 1
    [key] = set(client.keys("*print_label#*")) - known
    assert 3500 < client.ttl(key) < 3700  # seconds until the server deletes it
