"""How long a store that hangs holds a call is what pages say, reckoned from the settings by calls."""

import re
from pathlib import Path
from typing import Any

import pytest

from idemproof import (
    CompareAndSwapLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
    idempotent_function,
)
from idemproof.backends import dynamodb_clients
from idemproof.errors import IdempotencyPersistenceConnectionError, IdempotencyPersistenceLayerError

pytestmark = pytest.mark.once

PAGES = Path(__file__).parents[2] / "docs"


class Hanging(CompareAndSwapLayer):
    """A store whose requests fail after some seconds, from the first one on or once the body runs."""

    def __init__(self, seconds: float, *, nothing_written: bool = False) -> None:
        self.store = InMemoryPersistenceLayer()
        self.milliseconds = round(seconds * 1000)
        self.nothing_written = nothing_written
        self.hangs = True
        self.now = 1_000_000
        self.requests = 0

    def _load(self, key: str) -> Record | None:
        raise NotImplementedError

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if not self.hangs:
            return self.store._swap(key, expected, new, ttl_ms)
        self.now += self.milliseconds
        self.requests += 1
        error = IdempotencyPersistenceConnectionError("no answer")
        error.nothing_written = self.nothing_written  # type: ignore[attr-defined]  # as SQLite's layer says
        raise error


def held(layer: Hanging, monkeypatch: pytest.MonkeyPatch, *, after_the_body: bool) -> tuple[float, int]:
    """Return for how many seconds, and with how many requests, a hanging store holds a call."""

    def pause(seconds: float) -> None:
        layer.now += round(seconds * 1000)

    monkeypatch.setattr("idemproof.drivers.blocking.pause", pause)
    layer.hangs = not after_the_body

    def body(p: int) -> int:
        layer.hangs = True
        return p

    call = idempotent_function(
        body,
        data_keyword_argument="p",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=3600, clock=lambda: layer.now),
    )
    begun = layer.now
    with pytest.raises(IdempotencyPersistenceLayerError) as reported:
        call(p=1)
    assert reported.value.function_returned is after_the_body
    return (layer.now - begun) / 1000, layer.requests


def page(name: str) -> str:
    return re.sub(r"\s+", " ", (PAGES / "how-to" / name).read_text(encoding="utf-8"))


def claim_and_result(monkeypatch: pytest.MonkeyPatch, seconds: float, **more: Any) -> list[tuple[int, int]]:
    found = [
        held(Hanging(seconds, **more), monkeypatch, after_the_body=after_the_body)
        for after_the_body in (False, True)
    ]
    return [(int(waited), requests) for waited, requests in found]  # the engine's own pauses are short


def test_for_dynamodb(monkeypatch: pytest.MonkeyPatch) -> None:
    connect, read = dynamodb_clients.CONNECT_SECONDS, dynamodb_clients.READ_SECONDS
    text = page("use-dynamodb.md")
    assert f"{connect} seconds to connect and {read} to be answered" in text
    claim, result = claim_and_result(monkeypatch, connect + read)
    assert (claim[1], result[1]) == (6, 4)
    assert f"holds a call for {claim[0]} seconds (three requests of {connect + read} seconds" in text
    assert f"holds the call for {result[0]} seconds after that: three requests for the result, one" in text
    waited, requests = held(Hanging(0), monkeypatch, after_the_body=False)
    assert f"answers with errors holds it for {waited} seconds and {requests} requests" in text


def test_for_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = RedisCachePersistenceLayer(host="127.0.0.1", port=1, ssl=False)
    options = layer.client.connection_pool.connection_kwargs
    connect, read = (int(options[name]) for name in ("socket_connect_timeout", "socket_timeout"))
    text = page("use-redis.md")
    assert f"waits {connect} seconds for a connection and {read} for a reply" in text
    claim, result = claim_and_result(monkeypatch, connect + read)
    assert f"does not answer holds a call for {claim[0]} seconds" in text
    assert f"while the function runs holds the call for {result[0]} seconds after that" in text


def test_for_sqlite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    timeout = SQLitePersistenceLayer(tmp_path / "records.db")._timeout
    claim, result = claim_and_result(monkeypatch, timeout, nothing_written=True)
    assert claim == (int(timeout), 1)
    assert f"`timeout_seconds`, which is {result[0]} seconds by default" in page("use-sqlite.md")
    assert result == (int(4 * timeout), 4)


def test_an_outage_of_the_length_that_is_reported_is_outlasted(monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.sub(r"\s+", " ", (PAGES / "explanation" / "time.md").read_text(encoding="utf-8"))
    [(work, lease, outage)] = re.findall(
        r"at most (\d+) seconds and a lease of (\d+) seconds, .* outage of (\d+) s", text
    )
    layer = Hanging(0)
    layer.hangs = False
    back: list[int] = []

    def pause(seconds: float) -> None:
        layer.now += round(seconds * 1000)
        layer.hangs = layer.now < back[0]

    monkeypatch.setattr("idemproof.drivers.blocking.pause", pause)

    def body(p: int) -> int:
        layer.now += int(work) * 1000
        back.append(layer.now + int(outage) * 1000 - 1)
        layer.hangs = True
        return p

    call = idempotent_function(
        body,
        data_keyword_argument="p",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=int(lease), clock=lambda: layer.now),
    )
    assert [call(p=1), call(p=1)] == [1, 1]
    assert len(back) == 1
