"""Lost and late messages, on real connections that break."""

from collections.abc import Callable
from typing import Any

import pytest

from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyPersistenceLayerError
from proxy import Proxy

# A composite key changes where a record is, and nothing about requests.
pytestmark = [
    pytest.mark.once,
    pytest.mark.stores(
        "dynamodb", "dynamodb-async", "valkey", "valkey-async", "redis", "postgres", "postgres-async"
    ),
]

ENGINE_TRIES = 3
PERSISTENT = 100
"""Faults that outlast all tries."""
TICK = 600
"""Milliseconds between two looks at the clock: a second try has other deadlines than the first."""


def count(proxy: Proxy, marker: bytes) -> Callable[[], int]:
    """Return a function that returns the number of such requests since now."""
    before = proxy.requests(marker)
    return lambda: proxy.requests(marker) - before


client_retries = pytest.mark.parametrize("retries", [0, 1], ids=["engine retries", "client retries"])
fault = pytest.mark.parametrize("fault", [Proxy.lose_reply, Proxy.lose_request], ids=["reply", "request"])


@client_retries
@fault
@pytest.mark.parametrize("step", ["claim", "completion"])
def test_a_lost_message_blocks_no_call(store: Any, proxy: Proxy, step: str, fault: Any, retries: int) -> None:
    call = store.protect("done", store.layer(proxy, retries=retries))
    store.clock.step = TICK
    fault(proxy, store.markers[step])
    tries = count(proxy, store.markers[step])
    assert call() == "done"
    assert tries() >= 2
    other = store.protect("again")
    assert other() == call() == "done"
    assert (call.runs, other.runs) == (1, 0)


@client_retries
@fault
def test_a_lost_takeover_blocks_no_call(store: Any, proxy: Proxy, fault: Any, retries: int) -> None:
    store.abandon()
    call = store.protect("done", store.layer(proxy, retries=retries))
    store.clock.step = TICK
    fault(proxy, store.markers["swap"])
    tries = count(proxy, store.markers["swap"])
    assert call() == "done"
    assert tries() == 3  # the takeover twice, the completion
    other = store.protect("again")
    assert other() == "done"
    assert (call.runs, other.runs) == (1, 0)


@client_retries
@fault
def test_the_key_is_free_after_a_lost_release(store: Any, proxy: Proxy, fault: Any, retries: int) -> None:
    declined = ValueError("declined")
    failing = store.protect(declined, store.layer(proxy, retries=retries))
    store.clock.step = TICK
    fault(proxy, store.markers["release"])
    tries = count(proxy, store.markers["release"])
    with pytest.raises(ValueError, match="declined") as raised:
        failing()
    assert raised.value is declined
    assert tries() >= 2
    assert store.records() == {}
    call = store.protect("done")
    assert call() == call() == "done"
    assert (failing.runs, call.runs) == (1, 1)


@client_retries
@fault
def test_a_failed_claim_leaves_no_claim_behind(store: Any, proxy: Proxy, fault: Any, retries: int) -> None:
    call = store.protect("done", store.layer(proxy, retries=retries))
    store.clock.step = TICK
    fault(proxy, store.markers["claim"], times=ENGINE_TRIES * (1 + retries))
    with pytest.raises(IdempotencyPersistenceLayerError):
        call()
    assert call.runs == 0
    assert store.records() == {}
    other = store.protect("done")
    assert other() == "done"
    assert other.runs == 1


@fault
@pytest.mark.clause("ENG-6")
def test_a_result_is_stored_however_many_messages_are_lost_meanwhile(
    store: Any, proxy: Proxy, fault: Any
) -> None:
    call = store.protect("done", store.layer(proxy))
    fault(proxy, store.markers["completion"], times=2 * ENGINE_TRIES - 1)
    tries = count(proxy, store.markers["completion"])
    assert call() == "done"
    assert tries() >= 2 * ENGINE_TRIES
    other = store.protect("again")
    assert other() == "done"
    assert (call.runs, other.runs) == (1, 0)


@fault
def test_a_result_that_may_not_be_stored_is_handed_over_and_nothing_runs_again(
    store: Any, proxy: Proxy, fault: Any
) -> None:
    call = store.protect("done", store.layer(proxy), completion_timeout_seconds=0)
    fault(proxy, store.markers["completion"], times=PERSISTENT)
    tries = count(proxy, store.markers["completion"])
    with pytest.raises(IdempotencyPersistenceLayerError) as raised:
        call()
    assert raised.value.result == "done"
    assert tries() > ENGINE_TRIES  # at last without the result, as REC-6 says
    other = store.protect("again")
    if fault is Proxy.lose_reply:
        assert other() == "done"
    else:
        with pytest.raises(IdempotencyAlreadyInProgressError):
            other()
    assert (call.runs, other.runs) == (1, 0)


@fault
def test_a_lost_release_keeps_what_the_function_raised(store: Any, proxy: Proxy, fault: Any) -> None:
    declined = ValueError("declined")
    call = store.protect(declined, store.layer(proxy))
    fault(proxy, store.markers["release"], times=ENGINE_TRIES)
    with pytest.raises(IdempotencyPersistenceLayerError) as raised:
        call()
    chain: list[BaseException | None] = [raised.value]
    while chain[-1] is not None:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    assert declined in chain
    assert call.runs == 1
    store.outlast_lease()
    assert store.protect("done")() == "done"


@pytest.mark.usefixtures("_abandoned_connections")
@pytest.mark.parametrize("when", ["while the body runs", "afterwards"])
def test_a_late_claim_changes_nothing(store: Any, proxy: Proxy, when: str) -> None:
    def body(order: Any) -> str:
        if when == "while the body runs":
            proxy.release()
        return "done"

    call = store.protect(body, store.layer(proxy))
    proxy.delay_request_and_hang_up(store.markers["claim"])
    assert call() == "done"
    record = store.record()
    proxy.release()
    assert store.record() == record
    other = store.protect("again")
    assert other() == "done"
    assert (call.runs, other.runs) == (1, 0)


@pytest.mark.usefixtures("_abandoned_connections")
def test_a_claim_that_comes_after_its_release_costs_waiting_only(store: Any, proxy: Proxy) -> None:
    failing = store.protect(ValueError("declined"), store.layer(proxy))
    proxy.delay_request_and_hang_up(store.markers["claim"])
    with pytest.raises(ValueError, match="declined"):
        failing()
    assert store.records() == {}
    proxy.release()
    call = store.protect("done")
    with pytest.raises(IdempotencyAlreadyInProgressError) as raised:
        call()
    assert call.runs == 0
    store.clock.now += raised.value.retry_after_ms
    assert call() == "done"


@pytest.mark.usefixtures("_abandoned_connections")
def test_a_late_completion_spares_the_claim_of_the_next_window(store: Any, proxy: Proxy) -> None:
    call = store.protect("old", store.layer(proxy), expires_after_seconds=60)
    proxy.delay_request_and_hang_up(store.markers["completion"])
    assert call() == "old"
    store.clock.advance(seconds=61)
    run = store.begin("new")
    record = store.record()
    proxy.release()
    assert store.record() == record
    assert run.finish() == "new"
    assert call() == "new"


def test_a_late_release_spares_the_next_owner(store: Any, proxy: Proxy) -> None:
    failing = store.protect(ValueError("declined"), store.layer(proxy))
    proxy.delay_request_and_hang_up(store.markers["release"])
    with pytest.raises(ValueError, match="declined"):
        failing()
    run = store.begin("done")
    record = store.record()
    proxy.release()
    assert store.record() == record
    assert run.finish() == "done"
