"""An exception of the body reaches the caller unchanged, and releases the key."""

import asyncio
import gc
import traceback
import weakref

import pytest

from idemproof import InMemoryPersistenceLayer, idempotent_function
from idemproof import errors as idempotency_errors
from protection import Protection

IDEMPOTENCY_ERRORS = [getattr(idempotency_errors, name) for name in idempotency_errors.__all__]


@pytest.mark.parametrize(
    "kind",
    [
        ValueError,
        KeyboardInterrupt,
        SystemExit,
        asyncio.CancelledError,
        StopAsyncIteration,
        *IDEMPOTENCY_ERRORS,
    ],
)
def test_the_body_s_exception_arrives_unchanged_and_frees_the_key(
    protect: Protection,
    layer: InMemoryPersistenceLayer,
    kind: type[BaseException],
    request: pytest.FixtureRequest,
) -> None:
    error = kind("of the body")
    runs = []

    def the_body_itself(data: int) -> str:
        runs.append(data)
        if len(runs) == 1:
            raise error
        return "second"

    pay = protect(the_body_itself)
    with pytest.raises(kind) as caught:
        pay(1)
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert traceback.extract_tb(error.__traceback__)[-1].name == "the_body_itself"
    assert len(layer) == 0
    assert pay(1) == pay(1) == "second"
    assert len(runs) == 2


def test_a_body_may_raise_even_stop_iteration(layer: InMemoryPersistenceLayer) -> None:
    error = StopIteration("of the body")

    def pay(data: int) -> None:
        raise error

    protected = idempotent_function(pay, data_keyword_argument="data", persistence_store=layer)
    with pytest.raises(StopIteration) as caught:
        protected(1)
    assert caught.value is error
    assert len(layer) == 0


def test_a_failed_call_keeps_nothing_alive(protect: Protection) -> None:
    class Precious:
        pass

    kept: list[weakref.ref[Precious]] = []

    def body(data: int) -> None:
        precious = Precious()
        kept.append(weakref.ref(precious))
        raise ValueError(data)

    pay = protect(body)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="1"):
            pay(1)
        assert kept[0]() is None
    finally:
        gc.enable()
