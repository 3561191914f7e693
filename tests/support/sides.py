"""The blocking and the async side of a layer behind one interface, with clients that record requests."""

import asyncio
import inspect
from collections.abc import Callable
from hashlib import md5
from typing import Any

from idemproof import (
    AsyncDynamoDBPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    Record,
    RedisCachePersistenceLayer,
    idempotent_function,
)
from idemproof.drivers.exchanges import Ask

PAYLOAD = "order"
KEY = "work#" + md5(b'"order"').hexdigest()
"""The key of every call of a function of ``Side.function``."""


class Recording:
    """A client that records requests, and forwards them to ``client``."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.asked: list[Ask] = []

    @property
    def methods(self) -> list[str]:
        return [ask.method for ask in self.asked]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        if not inspect.isroutine(found):
            return found

        def ask(*args: Any, **kwargs: Any) -> Any:
            self.asked.append(Ask(name, args, kwargs))
            return found(*args, **kwargs)

        return ask


class _Awaited:
    """A blocking client with async methods."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        async def ask(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return found(*args, **kwargs)

        return ask


class Side:
    """Makes layers and functions of one side, and calls them as if they were blocking."""

    def __init__(self, runner: asyncio.Runner, *, asynchronous: bool) -> None:
        self.asynchronous = asynchronous
        self._runner = runner

    @property
    def dynamodb_layer(self) -> Any:
        return AsyncDynamoDBPersistenceLayer if self.asynchronous else DynamoDBPersistenceLayer

    @property
    def redis_layer(self) -> Any:
        return AsyncRedisCachePersistenceLayer if self.asynchronous else RedisCachePersistenceLayer

    def dynamodb(self, client: Any, table: str = "records", **options: Any) -> Any:
        """Return a layer over a blocking client."""
        if self.asynchronous:
            return AsyncDynamoDBPersistenceLayer(table, client=_Awaited(client), **options)
        return DynamoDBPersistenceLayer(table, boto3_client=client, **options)

    def redis(self, client: Any, **options: Any) -> Any:
        """Return a layer over a blocking client."""
        return self.redis_layer(client=_Awaited(client) if self.asynchronous else client, **options)

    def load(self, layer: Any, key: str) -> Record | None:
        record: Record | None = self.wait(layer._load(key))
        return record

    def swap(
        self, layer: Any, key: str, expected: Record | None, new: Record | None, ttl_ms: int = 3_600_000
    ) -> Record | None:
        record: Record | None = self.wait(layer._swap(key, expected, new, ttl_ms if new else 0))
        return record

    def function(self, layer: Any, body: Callable[[], Any], **settings: Any) -> Callable[[], Any]:
        """Return a call of an idempotent function whose key is ``KEY``, and whose body is ``body``."""
        config = IdempotencyConfig(**{"in_progress_expires_after_seconds": 60} | settings)
        decorate = idempotent_function(
            data_keyword_argument="payload", persistence_store=layer, config=config, key_prefix="work"
        )
        if not self.asynchronous:
            return lambda: decorate(lambda payload: body())(payload=PAYLOAD)

        @decorate
        async def work(payload: str) -> Any:
            return body()

        return lambda: self.wait(work(payload=PAYLOAD))

    def wait(self, reply: Any) -> Any:
        return self._runner.run(reply) if inspect.iscoroutine(reply) else reply
