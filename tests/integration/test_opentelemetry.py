"""Metrics and spans, as the SDK of OpenTelemetry exports them."""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    current_attempt,
    idempotent_function,
    set_default_observers,
)
from idemproof import otel as module
from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencySerializationError
from idemproof.otel import Telemetry


class Declined(Exception):  # noqa: N818 - as an application may call it
    pass


class Exported:
    """What a process would export: spans, and metrics by name."""

    def __init__(self, **options: Any) -> None:
        self._reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        self.tracing = TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self._spans))
        self.telemetry = Telemetry(
            tracer_provider=self.tracing, meter_provider=MeterProvider([self._reader]), **options
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def points(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        data = self._reader.get_metrics_data()
        return {
            metric.name: [(dict(point.attributes or {}), point) for point in metric.data.data_points]
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def counts(self) -> dict[tuple[Any, ...], int]:
        found = self.points().get("idemproof.occurrences", [])
        return {
            (each["idemproof.outcome"], each.get("error.type")): point.value
            for each, point in found
            if each["code.function.name"].endswith("pay")
        }


@pytest.fixture
def exported() -> Exported:
    return Exported()


@pytest.fixture(params=["def", "async def"])
def make(request: pytest.FixtureRequest) -> Callable[..., Callable[[Any], Any]]:
    def make(observer: Any, body: Callable[[Any], Any] = lambda order: order, **settings: Any) -> Any:
        config = IdempotencyConfig(
            in_progress_expires_after_seconds=60,
            observers=[] if observer is None else [observer],
            final_errors=(Declined,),
            **settings,
        )
        if request.param == "def":

            def pay(order: Any) -> Any:
                return body(order)

            return idempotent_function(
                pay,
                data_keyword_argument="order",
                persistence_store=InMemoryPersistenceLayer(),
                config=config,
            )

        async def apay(order: Any) -> Any:
            return body(order)

        protected = idempotent_function(
            apay,
            data_keyword_argument="order",
            persistence_store=AsyncInMemoryPersistenceLayer(),
            config=config,
        )
        return lambda order: asyncio.run(protected(order))

    return make


Make = Callable[..., Callable[[Any], Any]]


def test_occurrences_are_counted_by_outcome_and_function(exported: Exported, make: Make) -> None:
    pay = make(exported.telemetry)
    for order in (1, 1, 1, 2):
        pay(order)
    assert exported.counts() == {("claimed", None): 2, ("completed", None): 2, ("replayed", None): 2}


def test_final_errors_are_counted_by_type(exported: Exported, make: Make) -> None:
    def decline(order: Any) -> Any:
        raise Declined("no")

    pay = make(exported.telemetry, decline)
    for _ in range(2):
        with pytest.raises(Declined):
            pay(1)
    name = f"{Declined.__module__}.Declined"
    assert exported.counts() == {("claimed", None): 1, ("completed", name): 1, ("replayed", name): 1}


def test_requests_are_measured_by_what_they_do(exported: Exported, make: Make) -> None:
    def fail(order: Any) -> Any:
        raise ValueError

    pay = make(exported.telemetry, lambda order: order or fail(order))
    pay(1)
    pay(1)
    with pytest.raises(ValueError):
        pay(0)
    points = exported.points()["idemproof.store.duration"]
    assert {each["idemproof.request"]: point.count for each, point in points} == {
        "claim": 3,
        "complete": 1,
        "delete": 1,
    }
    assert all(point.sum > 0 for _, point in points)
    assert points[0][1].explicit_bounds[0] == 0.0005


class Failing(InMemoryPersistenceLayer):
    """Fails at the first request."""

    failed = False

    def _swap(self, *args: Any) -> Any:
        if not self.failed:
            self.failed = True
            raise ConnectionError("no")
        return super()._swap(*args)


def test_a_failed_request_and_the_wait_after_it_are_measured(exported: Exported) -> None:
    config = IdempotencyConfig(in_progress_expires_after_seconds=60, observers=[exported.telemetry])

    @idempotent_function(data_keyword_argument="order", persistence_store=Failing(), config=config)
    def pay(order: int) -> int:
        return order

    assert pay(1) == 1
    points = exported.points()
    errors = [each.get("error.type") for each, _ in points["idemproof.store.duration"]]
    assert sorted(map(str, errors)) == ["ConnectionError", "None", "None"]
    ((_, wait),) = points["idemproof.wait.duration"]
    assert wait.count == 1
    assert wait.sum > 0


def test_a_call_has_a_span_for_its_claim_and_one_for_its_completion(exported: Exported, make: Make) -> None:
    pay = make(exported.telemetry)
    with exported.tracing.get_tracer("test").start_as_current_span("request") as parent:
        pay(1)
        pay(1)
    claim, complete, replay = exported.spans[:3]
    assert [span.name for span in (claim, complete, replay)] == [
        "idemproof claim",
        "idemproof complete",
        "idemproof claim",
    ]
    for span in (claim, complete, replay):
        assert span.parent is not None
        assert span.parent.span_id == parent.get_span_context().span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time < span.end_time
    outcomes = [dict(span.attributes or {})["idemproof.outcome"] for span in (claim, complete, replay)]
    assert outcomes == ["claimed", "completed", "replayed"]
    assert dict(complete.attributes or {})["idemproof.row"] == "ROW-7"


def test_a_renewal_is_measured_and_does_not_begin_the_span_of_the_completion(exported: Exported) -> None:
    ended: list[int] = []
    now = [1_700_000_000_000]

    def pay(order: int) -> int:
        attempt = current_attempt()
        assert attempt is not None
        now[0] += 1000
        attempt.renew()
        ended.append(time.time_ns())
        return order

    config = IdempotencyConfig(
        in_progress_expires_after_seconds=60, clock=lambda: now[0], observers=[exported.telemetry]
    )
    idempotent_function(
        pay, data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer(), config=config
    )(order=1)
    claim, completion = exported.spans
    assert (claim.name, completion.name) == ("idemproof claim", "idemproof complete")
    assert completion.start_time is not None
    assert completion.start_time >= ended[0]
    requests = {each["idemproof.request"] for each, _ in exported.points()["idemproof.store.duration"]}
    assert requests == {"claim", "renew", "complete"}
    assert exported.counts()[("renewed", None)] == 1


def test_a_replay_is_linked_to_the_completion_that_stored_its_result(exported: Exported, make: Make) -> None:
    pay = make(exported.telemetry)
    pay(1)
    pay(2)
    pay(1)
    stored, replay = exported.spans[1], exported.spans[-1]
    assert [link.context for link in replay.links] == [stored.context]
    owner = dict(stored.attributes or {})["idemproof.owner"]
    assert dict(replay.attributes or {})["idemproof.stored_by"] == owner


@pytest.mark.parametrize("cached", [False, True])
def test_the_links_are_bounded_and_the_owner_is_always_told(make: Make, cached: bool) -> None:
    exported = Exported(remembered=1)
    pay = make(exported.telemetry, use_local_cache=cached)
    for order in (1, 2, 1, 2):
        pay(order)
    first, second = exported.spans[-2:]
    assert first.links == ()
    assert len(second.links) == 1
    assert "idemproof.stored_by" in dict(first.attributes or {})


def test_failures_have_the_status_error(exported: Exported, make: Make) -> None:
    pay = make(exported.telemetry, lambda order: object())
    with pytest.raises(IdempotencySerializationError):
        pay(1)
    assert exported.spans[-1].status.status_code is StatusCode.ERROR
    assert dict(exported.spans[-1].attributes or {})["error.type"] == "TypeError"


def test_a_refusal_is_no_failure(exported: Exported) -> None:
    config = IdempotencyConfig(in_progress_expires_after_seconds=60, observers=[exported.telemetry])

    @idempotent_function(
        data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer(), config=config
    )
    def pay(order: int) -> int:
        with pytest.raises(IdempotencyAlreadyInProgressError):
            pay(order)
        return order

    # An observer does not observe the calls that it makes itself; a body's calls are observed.
    pay(1)
    statuses = [(span.name, span.status.status_code) for span in exported.spans]
    assert statuses == [
        ("idemproof claim", StatusCode.UNSET),
        ("idemproof claim", StatusCode.UNSET),
        ("idemproof complete", StatusCode.UNSET),
    ]


def test_without_spans_there_are_only_metrics(make: Make) -> None:
    exported = Exported(spans=False)
    make(exported.telemetry)(1)
    assert exported.spans == []
    assert exported.counts() == {("claimed", None): 1, ("completed", None): 1}


def test_durations_do_not_accumulate_if_nobody_collects(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    monkeypatch.setattr(module, "_MOST_KEPT", 5)
    exported = Exported(spans=False)
    pay = make(exported.telemetry)
    for order in range(20):
        pay(order)
    assert len(exported.telemetry._durations) < 5
    assert sum(point.count for _, point in exported.points()["idemproof.store.duration"]) == 40


def test_a_broken_sdk_does_not_reach_the_call(exported: Exported, make: Make) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no exporter")

    exported.telemetry._tracer.start_span = broken  # type: ignore[union-attr, method-assign]
    assert make(exported.telemetry)(1) == 1


@pytest.fixture
def no_default_observers() -> Iterator[None]:
    yield
    set_default_observers([])


@pytest.mark.usefixtures("no_default_observers")
def test_a_whole_process_is_measured_by_default_observers(exported: Exported, make: Make) -> None:
    pay = make(None)
    pay(1)
    assert set_default_observers([exported.telemetry]) == ()
    pay(1)
    assert exported.counts() == {("replayed", None): 1}
    assert list(set_default_observers([])) == [exported.telemetry]
    pay(1)
    assert exported.counts() == {("replayed", None): 1}


def test_what_it_remembers_of_running_attempts_ends_with_them(exported: Exported, make: Make) -> None:
    pay = make(exported.telemetry)
    for order in range(50):
        pay(order)
    gc.collect()
    assert exported.telemetry._began._entries == {}


@pytest.mark.parametrize("wrong", [-1, True, "many", 1.5])
def test_a_wrong_bound_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="remembered must be"):
        Telemetry(remembered=wrong)
