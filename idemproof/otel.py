"""OpenTelemetry metrics and spans of idempotent calls. It needs the extra ``otel``.

``idemproof.set_default_observers([Telemetry()])`` measures all calls of a process.
"""

import threading
from collections import deque
from collections.abc import Iterable
from time import time_ns
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TracerProvider

from .reference.requests import StoreRequest
from .spec.occurrences import Kind, Occurrence

__all__ = ["Telemetry"]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""The boundaries of the histograms: a request takes from less than a millisecond to seconds."""

_MOST_KEPT = 2000
"""How many durations are kept until metrics are collected."""

_PHASES = {
    **dict.fromkeys(
        (
            *(Kind.CLAIMED, Kind.TOOK_OVER, Kind.CLAIM_FAILED),
            *(Kind.REPLAYED, Kind.REPLAY_FAILED, Kind.RESULT_UNAVAILABLE),
            *(Kind.IN_PROGRESS, Kind.PAYLOAD_MISMATCH, Kind.PARKED),
        ),
        "idemproof claim",
    ),
    **dict.fromkeys(
        (
            *(Kind.COMPLETED, Kind.RESULT_NOT_STORED, Kind.SUPERSEDED),
            *(Kind.LEASE_LOST, Kind.OUTCOME_UNKNOWN),
        ),
        "idemproof complete",
    ),
    **dict.fromkeys((Kind.RELEASED, Kind.ABANDONED, Kind.NOT_HELD, Kind.RELEASE_FAILED), "idemproof release"),
}
"""The span of each kind of occurrence. The others have none."""

_FAILURES = frozenset(
    (
        *(Kind.CLAIM_FAILED, Kind.REPLAY_FAILED, Kind.RESULT_NOT_STORED),
        *(Kind.LEASE_LOST, Kind.OUTCOME_UNKNOWN, Kind.RELEASE_FAILED),
    )
)


class Telemetry:
    """An observer that reports to OpenTelemetry.

    Metrics: ``idemproof.occurrences``, a counter; ``idemproof.store.duration`` and
    ``idemproof.wait.duration``, histograms in seconds. Spans: ``idemproof claim``, ``idemproof complete`` and
    ``idemproof release``. The span of a replay has a link to the span in which its result was stored, if this
    process stored it.

    Parameters
    ----------
    tracer_provider, meter_provider
        The providers. By default, the global ones.
    spans
        Whether to record spans.
    remembered
        For how many attempts of this process the links of replays are remembered.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        spans: bool = True,
        remembered: int = 1000,
    ) -> None:
        if not isinstance(remembered, int) or isinstance(remembered, bool) or remembered < 0:
            raise ValueError(f"remembered must be an integer, 0 or more, not {remembered!r}.")
        self._tracer = trace.get_tracer("idemproof", tracer_provider=tracer_provider) if spans else None
        meter = metrics.get_meter("idemproof", meter_provider=meter_provider)
        self._lock = threading.Lock()
        self._counts: dict[_Named, _Count] = {}
        self._counter = meter.create_observable_counter(
            "idemproof.occurrences",
            [self._observations],
            unit="{occurrence}",
            description="What happened to idempotent calls.",
        )
        self._requests = meter.create_histogram(
            "idemproof.store.duration",
            unit="s",
            description="How long requests to the store took.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._waits = meter.create_histogram(
            "idemproof.wait.duration",
            unit="s",
            description="How long calls waited between requests.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._durations: deque[tuple[_Named, int]] = deque()
        self._attributes: dict[_Named, dict[str, str]] = {}
        self._began = _Bounded(max(remembered, 1000))
        self._stored_in = _Bounded(remembered)

    def __call__(self, occurrence: Occurrence) -> None:
        """Count an occurrence, and record its span."""
        error = occurrence.error
        counted = occurrence.kind, occurrence.function, None if error is None else _name_of(error)
        with self._lock:
            count = self._counts.get(counted)
            if count is None:
                count = self._counts[counted] = _Count()
            count.number += 1
        if self._tracer is not None:
            name = _PHASES.get(occurrence.kind)
            if name is not None:
                self._record_span(name, occurrence)

    def on_request(self, request: StoreRequest) -> None:
        """Record the duration of a request or a wait."""
        error = None if request.error is None else _name_of(request.error)  # its traceback is not kept
        self._durations.append(((request.kind, request.function, error), request.duration_ns))
        if len(self._durations) >= _MOST_KEPT:
            self._record_durations()
        # Renewals have no span, and must not begin that of the completion.
        if self._tracer is not None and request.owner is not None and request.kind != "renew":
            self._began.keep_first(request.owner, request.began_ns)

    def _record_durations(self) -> None:
        """Hand the durations to the SDK, which takes longer than a call can spare."""
        while True:
            try:
                named, duration_ns = self._durations.popleft()
            except IndexError:
                return
            attributes = self._attributes.get(named)
            if attributes is None:
                kind, function, error = named
                attributes = self._attributes[named] = _attributes_of(function, error)
                if kind != "wait":
                    attributes["idemproof.request"] = kind
            histogram = self._waits if named[0] == "wait" else self._requests
            histogram.record(duration_ns / 1e9, attributes)

    def _observations(self, _: CallbackOptions) -> Iterable[Observation]:
        # The SDK asks for these first, so that the durations are part of the same collection.
        self._record_durations()
        with self._lock:
            counts = [(named, count.number) for named, count in self._counts.items()]
        for (outcome, function, error), count in counts:
            yield Observation(count, {"idemproof.outcome": str(outcome), **_attributes_of(function, error)})

    def _record_span(self, name: str, occurrence: Occurrence) -> None:
        assert self._tracer is not None
        ended = time_ns()
        owner, record, error = occurrence.owner, occurrence.record, occurrence.error
        began = ended if owner is None else self._began.pop(owner) or ended
        attributes: dict[str, Any] = {
            "code.function.name": occurrence.function or "",
            "idemproof.key": occurrence.key,
            "idemproof.outcome": occurrence.kind.value,
        }
        links = []
        if owner is not None:
            attributes["idemproof.owner"] = owner
        if occurrence.row is not None:
            attributes["idemproof.row"] = occurrence.row
        if record is not None and record.owner is not None and record.owner != owner:
            attributes["idemproof.stored_by"] = record.owner
            where: SpanContext | None = self._stored_in.get(record.owner)
            if where is not None:
                links.append(Link(where))
        span = self._tracer.start_span(
            name, kind=SpanKind.INTERNAL, attributes=attributes, links=links, start_time=min(began, ended)
        )
        if error is not None:
            span.set_attribute("error.type", _name_of(error))
        if occurrence.kind in _FAILURES:
            span.set_status(Status(StatusCode.ERROR, occurrence.kind.value))
        if name == "idemproof complete" and owner is not None:
            self._stored_in.put(owner, span.get_span_context())
        span.end(ended)


_Named = tuple[str, str | None, str | None]
"""What happened or was requested, the function, and the type of the error."""


class _Count:
    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


def _attributes_of(function: str | None, error: str | None) -> dict[str, str]:
    attributes = {"code.function.name": function or ""}
    if error is not None:
        attributes["error.type"] = error
    return attributes


class _Bounded:
    """A mapping that forgets its oldest entries. It is thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._entries: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        return self._entries.get(name)

    def pop(self, name: str) -> Any:
        return self._entries.pop(name, None)

    def put(self, name: str, value: Any) -> None:
        with self._lock:
            self._entries[name] = value
            while len(self._entries) > self._most:
                self._entries.pop(next(iter(self._entries)), None)

    def keep_first(self, name: str, value: Any) -> None:
        if name not in self._entries:
            self.put(name, value)


def _name_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
