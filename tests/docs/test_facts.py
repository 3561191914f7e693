"""What the pages say of queues and of other frameworks is what happens."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.utils.decorators import method_decorator
from flask import Flask, request

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyKeyError,
    IdempotencyLeaseLostError,
)
from idemproof.testing import MovableClock

pytestmark = pytest.mark.once

LEASE = 30
BEFORE_THE_CLAIM = 1
"""The seconds from when a worker receives a message to its claim: more for the last of a batch."""


def redelivered(visibility_timeout: int) -> object:
    """Return what a message gets that the queue delivers again while its first worker hangs."""
    clock = MovableClock()
    config = IdempotencyConfig(in_progress_expires_after_seconds=LEASE, clock=clock)
    answers: list[object] = []

    @idempotent_function(
        data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer(), config=config
    )
    def work(order: str) -> str:
        if answers:
            return "done by the second worker"
        answers.append(None)
        clock.advance(seconds=visibility_timeout - BEFORE_THE_CLAIM)
        try:
            answers.append(work(order))
        except IdempotencyAlreadyInProgressError as refusal:
            answers.append(refusal)
        return "late"

    try:
        work("A-17")
    except IdempotencyLeaseLostError:
        pytest.fail("The second worker had finished.")
    return answers[-1]


def test_a_visibility_timeout_as_long_as_the_lease_brings_a_message_back_too_early() -> None:
    assert isinstance(redelivered(LEASE), IdempotencyAlreadyInProgressError)


def test_a_longer_visibility_timeout_lets_the_next_delivery_take_over() -> None:
    assert redelivered(LEASE + BEFORE_THE_CLAIM) == "done by the second worker"


class Counting(InMemoryPersistenceLayer):
    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def _swap(self, *args: Any) -> Any:
        self.requests += 1
        return super()._swap(*args)


@pytest.mark.parametrize(
    ("applied", "requests", "warnings"), [(lambda decorator: decorator, 2, 1), (method_decorator, 5, 4)]
)
def test_a_decorator_applied_on_each_request_has_no_cache_and_warns_each_time(
    applied: Callable[[Any], Any], requests: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = Counting()
    decorator = idempotent_function(
        data_keyword_argument="order",
        persistence_store=store,
        config=IdempotencyConfig(use_local_cache=True),  # and no lease, of which the log warns
    )

    class View:
        @applied(decorator)
        def post(self, order: str) -> str:
            return order

    with caplog.at_level(logging.WARNING, logger="idemproof"):
        assert [View().post("A-17") for _ in range(4)] == ["A-17"] * 4
    assert store.requests == requests
    assert caplog.text.count("no lease") == warnings


@pytest.mark.parametrize(
    ("name", "as_dict", "found"),
    [
        ("idempotency-key", True, False),
        ("Idempotency-Key", True, True),
        ("idempotency-key", False, True),
        ("Idempotency-Key", False, True),
    ],
)
def test_flask_spells_header_names_in_its_own_way(name: str, as_dict: bool, found: bool) -> None:
    app = Flask(__name__)

    @idempotent_function(
        data_keyword_argument="order",
        persistence_store=InMemoryPersistenceLayer(),
        config=IdempotencyConfig(
            f'headers."{name}"', raise_on_no_idempotency_key=True, in_progress_expires_after_seconds=30
        ),
    )
    def create(order: dict[str, Any]) -> str:
        return "created"

    @app.post("/orders")
    def view() -> str:
        headers = dict(request.headers) if as_dict else request.headers
        try:
            return create({"headers": headers})
        except IdempotencyKeyError:
            return "no key"

    answer = app.test_client().post("/orders", headers={"idempotency-key": "k-1"})
    assert answer.text == ("created" if found else "no key")
