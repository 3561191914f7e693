"""One layer under many functions, configurations, threads and nested calls; local caches of their own."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from idemproof import (
    CompareAndSwapLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    SQLitePersistenceLayer,
    idempotent_function,
)
from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyValidationError
from idemproof.reference.cache import LocalCache
from idemproof.spec.record import COMPLETED, INPROGRESS

THREADS = 16


@pytest.fixture(params=["memory", "sqlite"])
def layer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CompareAndSwapLayer]:
    if request.param == "memory":
        yield InMemoryPersistenceLayer()
    else:
        sqlite = SQLitePersistenceLayer(tmp_path / "records.db", durable=False)
        yield sqlite
        sqlite.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


def protect(layer: CompareAndSwapLayer, function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    config = IdempotencyConfig(**settings)
    return idempotent_function(function, data_keyword_argument="data", persistence_store=layer, config=config)


class Counted:
    """A body that returns its name, its argument, and how often it has run."""

    def __init__(self, name: str) -> None:
        self.__qualname__ = name
        self.runs: list[Any] = []

    def __call__(self, data: Any) -> Any:
        self.runs.append(data)
        return [self.__qualname__, data]


# One layer, several configurations and functions.


def test_two_configurations_over_one_layer_each_keep_their_own(layer: CompareAndSwapLayer) -> None:
    clock = Clock()
    by_id, by_name = Counted("by id"), Counted("by name")
    first = protect(
        layer, by_id, event_key_jmespath="id", expires_after_seconds=10, hash_function="sha256", clock=clock
    )
    second = protect(
        layer,
        by_name,
        event_key_jmespath="name",
        payload_validation_jmespath="amount",
        expires_after_seconds=100,
        clock=clock,
    )
    payload = {"id": 1, "name": "a", "amount": 5}
    for _ in range(2):
        assert first(payload) == ["by id", payload]
        assert second(payload) == ["by name", payload]
    assert first(payload | {"name": "b", "amount": 6}) == ["by id", payload]
    assert second(payload | {"id": 2}) == ["by name", payload]
    with pytest.raises(IdempotencyValidationError):
        second(payload | {"amount": 6})
    clock.now += 50_000
    first(payload)
    second(payload)
    assert (len(by_id.runs), len(by_name.runs)) == (2, 1)


def test_a_nested_call_stores_each_result_under_its_own_key(layer: CompareAndSwapLayer) -> None:
    inner = Counted("inner")
    inner_protected = protect(layer, inner)
    runs = []

    def outer(data: int) -> Any:
        runs.append(data)
        return ["outer", inner_protected(data)]

    outer_protected = protect(layer, outer)
    for _ in range(2):
        assert outer_protected(1) == ["outer", ["inner", 1]]
        assert inner_protected(1) == ["inner", 1]
    assert (runs, inner.runs) == ([1], [1])


def test_a_nested_call_keeps_its_result_when_the_outer_one_fails(layer: CompareAndSwapLayer) -> None:
    inner = Counted("inner")
    inner_protected = protect(layer, inner)

    def outer(data: int) -> Any:
        inner_protected(data)
        raise ValueError(data)

    outer_protected = protect(layer, outer)
    for _ in range(2):
        with pytest.raises(ValueError, match="1"):
            outer_protected(1)
    assert inner.runs == [1]


def test_recursion_on_the_same_key_is_in_progress_and_no_deadlock(layer: CompareAndSwapLayer) -> None:
    refusals = []

    def body(data: int) -> Any:
        try:
            return protected(data)
        except IdempotencyAlreadyInProgressError as refusal:
            refusals.append(refusal)
        return "done"

    protected = protect(layer, body)
    assert protected(1) == protected(1) == "done"
    assert len(refusals) == 1


def test_recursion_on_other_keys_is_a_call_like_any_other(layer: CompareAndSwapLayer) -> None:
    runs = []

    def body(data: int) -> Any:
        runs.append(data)
        return data + protected(data - 1) if data else 0

    protected = protect(layer, body)
    assert protected(4) == protected(4) == 10
    assert runs == [4, 3, 2, 1, 0]


# Threads.


def in_threads(work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []
    begin = threading.Barrier(THREADS)

    def attempt(number: int) -> None:
        begin.wait()
        try:
            work(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.usefixtures("_hasty_switching")
@pytest.mark.parametrize("cached", [False, True], ids=["uncached", "cached"])
@pytest.mark.parametrize("functions", [1, 4])
def test_every_thread_gets_its_own_function_s_answer_to_its_own_payload(
    layer: CompareAndSwapLayer, cached: bool, functions: int
) -> None:
    payloads = 6 if isinstance(layer, SQLitePersistenceLayer) else 25
    bodies = [Counted(f"function {number}") for number in range(functions)]
    # With fewer places than keys, records come and go.
    protected = [
        protect(layer, body, use_local_cache=cached, local_cache_max_items=max(1, payloads // 2))
        for body in bodies
    ]

    def work(number: int) -> None:
        for step in range(payloads * functions * 2):
            which, data = (number + step) % functions, (step * 7) % payloads
            try:
                answer = protected[which](data)
            except IdempotencyAlreadyInProgressError:
                continue
            assert answer == [f"function {which}", data]

    in_threads(work)
    for body in bodies:
        assert sorted(body.runs) == list(range(payloads))


# Local caches.


class Counting(InMemoryPersistenceLayer):
    """Counts its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        self.requests += 1
        return super()._swap(key, expected, new, ttl_ms)


def test_a_cached_answer_asks_the_layer_nothing() -> None:
    layer = Counting()
    pay = protect(layer, Counted("pay"), use_local_cache=True, event_key_jmespath="[tenant, order]")
    payload = {"tenant": "#1", "order": "a#b"}
    assert pay(payload) == pay(payload) == pay(payload | {"other": 1}) == ["pay", payload]
    assert layer.requests == 2


def test_a_cached_answer_is_over_when_the_record_is() -> None:
    layer, clock, body = Counting(), Clock(), Counted("pay")
    pay = protect(layer, body, use_local_cache=True, expires_after_seconds=60, clock=clock)
    pay(1)
    clock.now += 59_999
    pay(1)
    assert (layer.requests, len(body.runs)) == (2, 1)
    clock.now += 1
    pay(1)
    assert len(body.runs) == 2
    pay(1)
    assert (layer.requests, len(body.runs)) == (5, 2)


def test_a_cached_answer_is_for_its_own_payload_only() -> None:
    layer, body = Counting(), Counted("pay")
    settings = {"event_key_jmespath": "id", "payload_validation_jmespath": "amount"}
    pay = protect(layer, body, use_local_cache=True, **settings)
    pay({"id": 1, "amount": 5})
    with pytest.raises(IdempotencyValidationError):
        pay({"id": 1, "amount": 6})
    assert (len(body.runs), layer.requests) == (1, 2)


def test_a_cache_is_never_shared_between_functions() -> None:
    layers = Counting(), Counting()
    config = {"use_local_cache": True, "clock": Clock()}
    bodies = Counted("same"), Counted("same")
    first, second = (protect(*pair, **config) for pair in zip(layers, bodies, strict=True))
    first(1)
    second(1)
    assert (bodies[0].runs, bodies[1].runs) == ([1], [1])
    third = protect(layers[0], Counted("same"), **config)
    assert third(1) == ["same", 1]
    assert layers[0].requests == 3


def test_replays_fill_the_cache_and_refusals_do_not() -> None:
    layer = Counting()
    protect(layer, Counted("pay"))(1)
    elsewhere = protect(layer, Counted("pay"), use_local_cache=True)
    for _ in range(3):
        elsewhere(1)
    assert layer.requests == 3
    key, record = next(iter(layer._records.items()))
    layer._records[key] = record._replace(status=INPROGRESS, response_data=None)
    another = protect(layer, Counted("pay"), use_local_cache=True)
    for number in (4, 5):
        with pytest.raises(IdempotencyAlreadyInProgressError):
            another(1)
        assert layer.requests == number


def completed(key: str, response: str = "1") -> Record:
    return Record(key, COMPLETED, 2_000_000_000, None, response, None, "owner")


def test_the_least_recently_used_record_makes_room() -> None:
    cache = LocalCache(2)
    for key in ("a", "b"):
        cache.put(completed(key))
    assert cache.get("a") == completed("a")
    cache.put(completed("c"))
    assert [cache.get(key) is None for key in "abc"] == [False, True, False]
    cache.put(completed("a", "2"))
    cache.put(completed("d"))
    assert [cache.get(key) is None for key in "acd"] == [False, True, False]
    assert cache.get("a") == completed("a", "2")


def test_a_cache_keeps_results_only_and_forgets_only_on_request() -> None:
    cache = LocalCache(2)
    cache.put(completed("a")._replace(status=INPROGRESS))
    assert len(cache) == 0
    old, new = completed("a", "1"), completed("a", "2")
    cache.put(old)
    cache.put(new)
    cache.discard(old)
    assert cache.get("a") is new
    cache.discard(new)
    assert cache.get("a") is None
    cache.discard(new)


def test_a_cache_touches_its_records_only_under_its_lock() -> None:
    class Guarded(OrderedDict[str, Record]):
        def __getattribute__(self, name: str) -> Any:
            assert cache._lock._is_owned(), name
            return super().__getattribute__(name)

        def __getitem__(self, key: str) -> Record:
            assert cache._lock._is_owned()
            return super().__getitem__(key)

        def __setitem__(self, key: str, record: Record) -> None:
            assert cache._lock._is_owned()
            super().__setitem__(key, record)

        def __delitem__(self, key: str) -> None:
            assert cache._lock._is_owned()
            super().__delitem__(key)

    cache = LocalCache(1)
    cache._records = Guarded()
    cache.put(completed("a"))
    cache.put(completed("b"))
    assert cache.get("b") == completed("b")
    cache.discard(completed("b"))
    cache.discard(completed("a"))
    assert not cache._lock._is_owned()


@pytest.mark.usefixtures("_hasty_switching")
def test_a_cache_stays_bounded_and_whole_under_threads() -> None:
    size = 8
    cache = LocalCache(size)
    sizes: list[int] = []

    def work(number: int) -> None:
        for step in range(400):
            key = str((number * 31 + step * 17) % 24)
            found = cache.get(key)
            assert found is None or found == completed(key)
            cache.put(completed(key))
            if step % 5 == 0 and found is not None:
                cache.discard(found)
            with cache._lock:
                sizes.append(len(cache))

    in_threads(work)
    assert max(sizes) <= size
