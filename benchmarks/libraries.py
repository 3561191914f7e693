"""The compared libraries, each configured for production as its documentation describes.

A ``runs`` list grows by one with each run of the work, to detect a body that ran twice or not at all.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

import aws_lambda_powertools.utilities.idempotency as powertools
import idemkit
import jmespath
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
)
from aws_lambda_powertools.utilities.jmespath_utils import PowertoolsFunctions
from measuring import CACHED, FIRST, REPLAY, Act, Contestant, Step, by_steps
from payloads import Kind, Payload

IDEMPROOF, POWERTOOLS, IDEMKIT, BARE = "idemproof", "Powertools", "idemkit", "bare"

Function = Callable[..., Any]

# More than the payloads of a round, so that every cached replay is from the cache.
CACHED_ITEMS = 10**6


class InDictionary(powertools.BasePersistenceLayer):  # type: ignore[misc]  # untyped here
    """The smallest layer that the documentation of Powertools allows. It has no layer in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, Any] = {}

    def _get_record(self, idempotency_key: str) -> Any:
        try:
            return self.records[idempotency_key]
        except KeyError:
            raise IdempotencyItemNotFoundError from None

    def _put_record(self, data_record: Any) -> None:
        current = self.records.get(data_record.idempotency_key)
        if current is not None and not current.is_expired:
            raise IdempotencyItemAlreadyExistsError(old_data_record=current)
        self.records[data_record.idempotency_key] = data_record

    def _update_record(self, data_record: Any) -> None:
        self.records[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record: Any) -> None:
        self.records.pop(data_record.idempotency_key, None)


class Context:
    """A Lambda context with half a minute left."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds left."""
        return 30_000


def worked(kind: Kind, runs: list[Any], *, asynchronous: bool = False) -> Function:
    """Return the work to protect."""

    def handle(payload: Payload) -> Payload:
        runs.append(None)
        return kind.answer(payload)

    async def handle_async(payload: Payload) -> Payload:
        return handle(payload)

    return handle_async if asynchronous else handle


def by_jmespath(
    library: Any,
    layer: Any,
    kind: Kind,
    runs: list[Any],
    *,
    cached: bool = False,
    asynchronous: bool = False,
    key_prefix: str | None = None,
) -> Function:
    """Return work that Idemproof or Powertools protects, with the same parameters."""
    config = library.IdempotencyConfig(
        **kind.expressions,
        use_local_cache=cached,
        local_cache_max_items=CACHED_ITEMS,
        lambda_context=Context(),
    )
    protected: Function = library.idempotent_function(
        worked(kind, runs, asynchronous=asynchronous),
        data_keyword_argument="payload",
        persistence_store=layer,
        config=config,
        key_prefix=key_prefix,
    )
    return protected


def by_idemkit(
    backend: Any, kind: Kind, runs: list[Any], *, cached: bool = False, asynchronous: bool = False
) -> Function:
    """Return work that idemkit protects."""
    config = idemkit.MethodConfig(
        **kind.selectors,
        scope=lambda: "benchmarks",
        use_local_cache=cached,
        local_cache_max_items=CACHED_ITEMS,
    )
    protect = idemkit.idempotent if asynchronous else idemkit.idempotent_sync
    protected: Function = protect(backend=backend, config=config)(
        worked(kind, runs, asynchronous=asynchronous)
    )
    return protected


def idemkit_memory() -> Any:
    """Return idemkit's store in memory, with enough capacity."""
    return idemkit.InMemoryBackend(max_size=CACHED_ITEMS)


def idemkit_redis(port: int, db: int, **options: Any) -> Any:
    """Return idemkit's store over Redis."""
    return idemkit.RedisBackend.from_url(f"redis://127.0.0.1:{port}/{db}", **options)


def derivation(kind: Kind) -> Function:
    """Return the work with only the steps that a key needs before it: search, JSON, hash."""
    options = jmespath.Options(custom_functions=PowertoolsFunctions())
    searches = [jmespath.compile(expression).search for expression in kind.expressions.values()]

    def call(payload: Payload) -> Payload:
        for selected in [search(payload, options) for search in searches] or [payload]:
            hashlib.md5(json.dumps(selected, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
        return kind.answer(payload)

    return call


def first_and_replay(
    name: str, kind: Kind, runs: list[Any], plain: Act, cached: Act | None = None
) -> Contestant:
    """Return a contestant with a first call and a replay, and again with its local cache, if it has one."""
    steps = [Step(FIRST, plain, kind.answer, runs=True), Step(REPLAY, plain, kind.answer, runs=False)]
    if cached is not None:
        steps += [Step(None, cached, kind.answer), Step(CACHED, cached, kind.answer, runs=False)]
    return by_steps(name, steps, runs)


def closing(runner: asyncio.Runner, close: Function) -> Callable[[], None]:
    """Return a function that awaits ``close`` in the runner's event loop."""

    async def closed() -> None:
        await close()

    return lambda: runner.run(closed())
