"""The number of requests of a call, counted by the client and on the wire."""

import contextlib
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, idempotent_function
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig as OriginalConfig
from aws_lambda_powertools.utilities.idempotency.persistence.cache import CachePersistenceLayer

from idemproof.errors import IdempotencyAlreadyInProgressError
from places import recent_sdk
from proxy import Proxy

pytestmark = [pytest.mark.once, recent_sdk]


def fresh(store: Any) -> None:
    pass


def completed(store: Any) -> None:
    store.protect()()


def in_progress(store: Any) -> None:
    store.begin()


def abandoned(store: Any) -> None:
    store.abandon(owner="dead")


def abandoned_by_the_original(store: Any) -> None:
    """Let a process of Powertools be killed during a run."""
    if store.commands["claim"] == "INSERT":  # PostgreSQL, for which Powertools has no layer
        store.abandon()
        return
    if hasattr(store, "table"):
        layer = DynamoDBPersistenceLayer(store.table, sort_key_attr=store.sort_key, boto3_client=store.raw)
    else:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of its former name
            layer = CachePersistenceLayer(client=store.raw)
    config = OriginalConfig(lambda_context=SimpleNamespace(get_remaining_time_in_millis=lambda: 1000))

    @idempotent_function(
        data_keyword_argument="order", persistence_store=layer, config=config, key_prefix="orders"
    )
    def killed(order: Any) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        killed(order={"id": 1, "amount": 120})
    store.clock.advance(seconds=60)


@pytest.mark.parametrize(
    ("before", "outcome", "steps"),
    [
        (fresh, "done", ["claim", "complete"]),
        (fresh, ZeroDivisionError(), ["claim", "release"]),
        (completed, "never", ["claim"]),
        (in_progress, "never", ["claim"]),
        (abandoned, "done", ["claim", "swap", "complete"]),
        (abandoned, ZeroDivisionError(), ["claim", "swap", "release"]),
        (abandoned_by_the_original, "done", ["claim", "swap", "complete"]),
    ],
    ids=lambda value: getattr(value, "__name__", None) or type(value).__name__,
)
def test_a_call_costs_so_many_requests(
    store: Any, proxy: Proxy, before: Any, outcome: Any, steps: list[str]
) -> None:
    before(store)
    layer = store.layer(proxy)
    call = store.protect(outcome, layer)
    store.sent.clear()
    on_the_wire = proxy.requests()
    with contextlib.suppress(IdempotencyAlreadyInProgressError, ZeroDivisionError):
        call()
    assert store.sent == store.costs(*steps)
    assert proxy.requests() - on_the_wire == len(steps)
    assert call.runs == (outcome != "never")


redis_stores = pytest.mark.stores("valkey", "valkey-async", "redis")


@redis_stores
def test_a_server_that_forgot_the_script_is_reported_it_once(store: Any) -> None:
    store.raw.script_flush()
    call = store.protect(ZeroDivisionError())
    for commands in (["SET", "EVALSHA", "EVAL"], ["SET", "EVALSHA"]):
        store.sent.clear()
        with pytest.raises(ZeroDivisionError):
            call()
        assert store.sent == commands


@redis_stores
def test_a_foreign_spelling_costs_one_swap_more(store: Any) -> None:
    store.abandon(owner="dead")
    fields = store.record()
    store.write({name: fields[name] for name in sorted(fields, reverse=True)})
    store.sent.clear()
    assert store.protect("done")() == "done"
    assert store.sent == [*store.costs("claim", "refused"), "EVALSHA", *store.costs("complete")]
