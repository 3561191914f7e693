"""Beside the utilities of Powertools: batches, validation, tracing, event source data classes."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
from aws_lambda_powertools.utilities.validation.exceptions import SchemaValidationError

from idemproof.errors import IdempotencyKeyError

Load = Callable[[str], ModuleType]
Event = Callable[[str], Any]

pytestmark = pytest.mark.usefixtures("aws", "clock")


def items(example: ModuleType) -> list[dict[str, Any]]:
    return example.store.client.scan(TableName="IdempotencyTable")["Items"]


class TestBatchProcessor:
    def test_only_the_message_that_failed_is_asked_for_again(
        self, load: Load, event: Event, context: object
    ) -> None:
        example = load("together/batch_processor.py")
        batch = event("together/batch_processor.json")
        failed = batch["Records"][1]
        answer = example.handler(batch, context)
        assert answer == {"batchItemFailures": [{"itemIdentifier": failed["messageId"]}]}
        assert example.printed == ["PX-4001", "PX-4003"]
        assert [item["status"] for item in items(example)] == [{"S": "COMPLETED"}] * 2

    def test_a_batch_that_comes_again_prints_only_what_was_not_printed(
        self, load: Load, event: Event, context: object
    ) -> None:
        example = load("together/batch_processor.py")
        batch = event("together/batch_processor.json")
        example.handler(batch, context)
        batch["Records"][1]["body"] = json.dumps({"number": "PX-4002", "city": "Ghent"})
        assert example.handler(batch, context) == {"batchItemFailures": []}
        assert example.printed == ["PX-4001", "PX-4003", "PX-4002"]

    def test_each_message_holds_its_key_for_the_time_that_the_invocation_has_left(
        self, load: Load, event: Event, context: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        example = load("together/batch_processor.py")
        left = iter([30_000, 20_000, 10_000])
        monkeypatch.setattr(context, "get_remaining_time_in_millis", lambda: next(left))
        held: list[int] = []
        print_label = example.print_label

        def look_at_the_claim(parcel: dict[str, str]) -> str:
            claims = [item for item in items(example) if item["status"] == {"S": "INPROGRESS"}]
            held.extend(int(claim["in_progress_expiration"]["N"]) for claim in claims)
            return print_label(parcel)

        monkeypatch.setattr(example, "print_label", look_at_the_claim)
        now = time.time_ns() // 1_000_000
        example.handler(event("together/batch_processor.json"), context)
        assert held == [now + 30_000, now + 20_000, now + 10_000]


class TestAsyncBatchProcessor:
    def test_only_the_message_that_failed_is_asked_for_again(
        self, load: Load, event: Event, context: object
    ) -> None:
        example = load("together/async_batch_processor.py")
        batch = event("together/async_batch_processor.json")
        failed = batch["Records"][1]
        answer = example.handler(batch, context)
        assert answer == {"batchItemFailures": [{"itemIdentifier": failed["messageId"]}]}
        assert sorted(example.charged) == ["sub-1", "sub-3"]

    def test_a_bill_that_comes_in_another_message_is_not_charged_again(
        self, load: Load, event: Event, context: object
    ) -> None:
        example = load("together/async_batch_processor.py")
        batch = event("together/async_batch_processor.json")
        example.handler(batch, context)
        twin = batch["Records"][0] | {"messageId": "4c2b9d1e-8f8a-4f3e-9d55-1f2e3d4c0009"}
        assert example.handler({"Records": [twin]}, context) == {"batchItemFailures": []}
        assert sorted(example.charged) == ["sub-1", "sub-3"]


class TestJSONSchemaValidator:
    def test_a_repeat_in_another_envelope_moves_nothing(
        self, load: Load, event: Event, context: object
    ) -> None:
        example = load("together/json_schema_validator.py")
        delivered = event("together/json_schema_validator.json")
        first = example.handler(delivered, context)
        again = example.handler(delivered | {"id": "another", "time": "2025-06-14T11:21:00Z"}, context)
        assert again == first
        assert example.moved == [4200]

    def test_the_order_is_the_key(self, load: Load, event: Event, context: object) -> None:
        example = load("together/json_schema_validator.py")
        delivered = event("together/json_schema_validator.json")
        first = example.handler(delivered, context)
        other = delivered | {"detail": delivered["detail"] | {"order": "T-2025-0097"}}
        assert example.handler(other, context) != first
        assert example.moved == [4200, 4200]

    def test_what_fails_the_schema_leaves_no_record(self, load: Load, event: Event, context: object) -> None:
        example = load("together/json_schema_validator.py")
        delivered = event("together/json_schema_validator.json")
        delivered["detail"]["cents"] = 0
        with pytest.raises(SchemaValidationError):
            example.handler(delivered, context)
        assert example.moved == []
        assert items(example) == []


class TestTracer:
    @pytest.fixture(autouse=True)
    def _without_daemon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")

    def test_a_replay_is_traced_too_but_not_the_sale_in_it(
        self, load: Load, event: Event, context: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        example = load("together/tracer.py")
        names: list[str] = []

        class Recorder:
            @contextmanager
            def in_subsegment(self, name: str) -> Iterator[MagicMock]:
                names.append(name)
                yield MagicMock()

        monkeypatch.setattr(example.tracer, "provider", Recorder())
        order = event("together/tracer.json")
        first = example.handler(order, context)
        assert [name.rpartition(".")[2] for name in names] == ["## handler", "sell"]
        assert example.handler(order, context) == first
        assert [name.rpartition(".")[2] for name in names] == ["## handler", "sell", "## handler"]
        assert example.sold == ["E2"]


class TestEventSources:
    def test_a_request_that_is_sent_again_is_answered_and_starts_nothing(
        self, load: Load, event: Event, context: object
    ) -> None:
        example = load("together/event_sources.py")
        request = event("together/event_sources.json")
        first = example.handler(request, context)
        assert example.handler(request | {"rawQueryString": "retry=1"}, context) == first
        assert example.started == ["monthly"]
        assert example.welcomed == ["c-88"]

    def test_another_key_is_another_subscription_of_a_customer_who_was_welcomed(
        self, load: Load, event: Event, context: object
    ) -> None:
        example = load("together/event_sources.py")
        request = event("together/event_sources.json")
        first = example.handler(request, context)
        headers = request["headers"] | {"idempotency-key": "cd2f3f6b-3a43-4e1b-8e6d-8d4d6a7f1c22"}
        assert example.handler(request | {"headers": headers}, context) != first
        assert example.started == ["monthly", "monthly"]
        assert example.welcomed == ["c-88"]

    def test_a_request_without_a_key_is_refused(self, load: Load, event: Event, context: object) -> None:
        example = load("together/event_sources.py")
        request = event("together/event_sources.json")
        del request["headers"]["idempotency-key"]
        with pytest.raises(IdempotencyKeyError):
            example.handler(request, context)
        assert example.started == []
