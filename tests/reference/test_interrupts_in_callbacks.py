"""Interrupts in callbacks of a call: a clock, a layer, a serializer, a hook, a log filter."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from idemproof import (
    AsyncCompareAndSwapLayer,
    BasePersistenceLayer,
    CompareAndSwapLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    idempotent_function,
)
from idemproof.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from idemproof.serialization import BaseIdempotencySerializer

NOW = 1_800_000_000_000


class Limit(Exception):  # noqa: N818 - as those of job queues
    """A time limit."""


class Strike:
    """Raises at the n-th call."""

    def __init__(self) -> None:
        self.left = 0
        self.interrupt: BaseException | None = None

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            assert self.interrupt is not None
            raise self.interrupt


strike = Strike()


def struck(request: Callable[..., Any], *args: Any) -> Any:
    """Make a request with a possible interrupt before and after it."""
    strike()
    reply = request(*args)
    strike()
    return reply


class TwoMethods(CompareAndSwapLayer):
    def __init__(self) -> None:
        self.store = InMemoryPersistenceLayer()

    def _load(self, key: str) -> Record | None:
        found: Record | None = struck(self.store._load, key)
        return found

    def _swap(self, *request: Any) -> Record | None:
        found: Record | None = struck(self.store._swap, *request)
        return found


class Awaited(AsyncCompareAndSwapLayer):
    def __init__(self) -> None:
        self.layer = TwoMethods()

    async def _load(self, key: str) -> Record | None:
        return self.layer._load(key)

    async def _swap(self, *request: Any) -> Record | None:
        await asyncio.sleep(0)
        found = self.layer._swap(*request)
        await asyncio.sleep(0)
        return found


class FourMethods(BasePersistenceLayer):
    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}

    def _get_record(self, key: str) -> Any:
        strike()
        if key not in self.rows:
            raise IdempotencyItemNotFoundError
        return self.rows[key]

    def _put_record(self, record: Any) -> None:
        strike()
        if record.idempotency_key in self.rows:
            raise IdempotencyItemAlreadyExistsError(old_data_record=self.rows[record.idempotency_key])
        struck(self.rows.__setitem__, record.idempotency_key, record)

    def _update_record(self, record: Any) -> None:
        struck(self.rows.__setitem__, record.idempotency_key, record)

    def _delete_record(self, record: Any) -> None:
        struck(self.rows.pop, record.idempotency_key, None)


class Overridden(InMemoryPersistenceLayer):
    def _get_record(self, key: str) -> Any:
        return struck(super()._get_record, key)

    def _put_record(self, record: Any) -> None:
        struck(super()._put_record, record)

    def _update_record(self, record: Any) -> None:
        struck(super()._update_record, record)

    def _delete_record(self, record: Any) -> None:
        struck(super()._delete_record, record)


class Serializer(BaseIdempotencySerializer):
    def to_dict(self, data: Any) -> Any:
        strike()
        return {"value": data}

    def from_dict(self, data: Any) -> Any:
        strike()
        return data["value"]


class Context:
    """A Lambda context."""

    def get_remaining_time_in_millis(self) -> int:
        strike()
        return 30_000


def clock() -> int:
    strike()
    return NOW


def key_of(p: int) -> int:
    strike()
    return p


def hook(response: Any, _: Any) -> Any:
    strike()
    return response


class Filter(logging.Filter):
    def filter(self, _: logging.LogRecord) -> bool:
        strike()
        return True


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    logger, filtering = logging.getLogger("idemproof"), Filter()
    level = logger.level
    logger.addFilter(filtering)
    logger.setLevel(logging.DEBUG)
    yield
    strike.left = 0
    logger.removeFilter(filtering)
    logger.setLevel(level)


class Work:
    """A function with all of these callbacks."""

    def __init__(self, layer: Any, body: Callable[[], Any], *, asynchronous: bool, cached: bool) -> None:
        self.effects = 0
        self._body = body
        self._asynchronous = asynchronous
        self._function = idempotent_function(
            self._run_async if asynchronous else self._run,
            key=key_of,
            persistence_store=layer,
            output_serializer=Serializer(),
            key_prefix="work",
            config=IdempotencyConfig(
                clock=clock,
                response_hook=hook,
                interrupts=(Limit,),
                use_local_cache=cached,
                lambda_context=Context(),
                expires_after_seconds=60,
            ),
        )

    def _run(self, p: int) -> Any:
        result = self._body()
        self.effects += 1
        return result

    async def _run_async(self, p: int) -> Any:
        return self._run(p)

    def __call__(self) -> Any:
        return asyncio.run(self._function(p=1)) if self._asynchronous else self._function(p=1)


def returns() -> str:
    return "result"


def declines() -> None:
    raise ValueError("declined")


def outcome(work: Work) -> Any:
    try:
        return work()
    except ValueError as error:
        return str(error)


BLOCKING = (TwoMethods, FourMethods, Overridden)
WAYS = [
    *((layer, False, kind) for layer in BLOCKING for kind in (Limit, KeyboardInterrupt)),
    *((layer, True, Limit) for layer in (*BLOCKING, Awaited)),  # a KeyboardInterrupt ends the event loop
]


@pytest.mark.clause("ENG-4", "ENG-12", "ENG-15")
@pytest.mark.parametrize("body", [returns, declines])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(("layer", "asynchronous", "kind"), WAYS)
def test_it_is_raised_and_the_result_is_stored_or_the_key_free(
    layer: Any, asynchronous: bool, kind: type[BaseException], cached: bool, body: Callable[[], Any]
) -> None:
    usual, points = ("result" if body is returns else "declined"), 0
    while True:
        work = Work(layer(), body, asynchronous=asynchronous, cached=cached)
        strike.left, strike.interrupt = points + 1, kind("struck")
        caught: BaseException | None = None
        try:
            outcome(work)
            outcome(work)  # a replay, or another try
        except kind as interrupt:
            caught = interrupt
        if strike.left > 0:
            break
        points += 1
        assert caught is strike.interrupt, f"at point {points}"
        assert outcome(work) == usual, f"at point {points}"
        assert work.effects == (body is returns), f"at point {points}"
    assert points >= 10
