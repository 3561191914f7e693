"""Logging affects no call, even if filters and handlers raise errors."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyValidationError
from idemproof.testing import MovableClock
from protection import Protection

LOGGER = logging.getLogger("idemproof")


class Failing(logging.Filter):
    """Raises at one kind of event."""

    def __init__(self, event: str, error: BaseException) -> None:
        super().__init__()
        self.event = event
        self.error = error
        self.met = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.idempotency_event == self.event:  # type: ignore[attr-defined]
            self.met += 1
            raise self.error
        return True


class FailingHandler(logging.Handler):
    def __init__(self, failing: Failing) -> None:
        super().__init__()
        self.failing = failing

    def handle(self, record: logging.LogRecord) -> bool:
        return self.failing.filter(record)


@pytest.fixture(params=["filter", "handler"])
def failing(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return what makes the logger fail at an event."""
    level = LOGGER.level
    LOGGER.setLevel(logging.DEBUG)
    undo = []

    def fail(event: str, error: BaseException | None = None) -> Failing:
        found = Failing(event, error or RuntimeError("the logger's trouble"))
        if request.param == "filter":
            LOGGER.addFilter(found)
            undo.append(lambda: LOGGER.removeFilter(found))
        else:
            handler = FailingHandler(found)
            LOGGER.addHandler(handler)
            undo.append(lambda: LOGGER.removeHandler(handler))
        return found

    yield fail
    for each in undo:
        each()
    LOGGER.setLevel(level)


@pytest.mark.parametrize("event", ["claimed", "completed", "replayed", "no lease"])
def test_calls_go_on_when_logging_fails(
    protect: Protection, failing: Any, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[int] = []
    lease = {} if event == "no lease" else {"in_progress_expires_after_seconds": 30}

    def body(data: int) -> int:
        runs.append(data)
        return data

    work = protect(body, **lease)
    met = failing(event)
    assert [work(data=1), work(data=1)] == [1, 1]
    assert runs == [1]
    assert met.met == 1
    assert "the logger's trouble" in capsys.readouterr().err  # where logging shows its own failures


def test_refusals_releases_and_takeovers_go_on_when_logging_fails(failing: Any) -> None:
    clock = MovableClock()
    layer = InMemoryPersistenceLayer()
    config = IdempotencyConfig(
        in_progress_expires_after_seconds=30,
        clock=clock,
        event_key_jmespath="id",
        payload_validation_jmespath="amount",
    )
    inner: list[BaseException] = []

    @idempotent_function(data_keyword_argument="p", persistence_store=layer, config=config)
    def body(p: dict[str, int]) -> str:
        if p["id"] == 1 and not inner:
            try:
                body(p=p)
            except IdempotencyAlreadyInProgressError as refusal:
                inner.append(refusal)
        if p["id"] == 2:
            raise ValueError("declined")
        if p["id"] == 3 and len(inner) == 1:
            inner.append(ValueError())
            clock.advance(31)
            return str(body(p=p))  # takes over, and this one is superseded
        return "done"

    met = {
        event: failing(event)
        for event in ("in progress", "payload mismatch", "released", "took over", "superseded")
    }
    assert body(p={"id": 1, "amount": 1}) == "done"
    assert len(inner) == 1
    with pytest.raises(IdempotencyValidationError):
        body(p={"id": 1, "amount": 2})
    with pytest.raises(ValueError, match="declined"):
        body(p={"id": 2, "amount": 1})
    assert body(p={"id": 3, "amount": 1}) == "done"
    assert {event: each.met > 0 for event, each in met.items()} == dict.fromkeys(met, True)


class TimeLimit(Exception):  # noqa: N818 - as job queues call theirs
    pass


@pytest.mark.clause("ENG-12")
@pytest.mark.parametrize("event", ["claimed", "completed", "replayed"])
@pytest.mark.parametrize("limit", [TimeLimit(), KeyboardInterrupt()], ids=["declared", "KeyboardInterrupt"])
def test_an_interrupt_that_strikes_while_something_is_logged_is_raised(
    protect: Protection, failing: Any, event: str, limit: BaseException
) -> None:
    runs: list[int] = []

    def body(data: int) -> int:
        runs.append(data)
        return data

    work = protect(body, in_progress_expires_after_seconds=30, interrupts=(TimeLimit,))
    if event == "replayed":
        work(data=1)
    met = failing(event, limit)
    with pytest.raises(type(limit)):
        work(data=1)
    met.event = "never"
    assert work(data=1) == 1
    assert runs == [1]


def test_nothing_is_shown_where_logging_shows_nothing(
    protect: Protection, failing: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    failing("claimed")
    assert protect(lambda data: data, in_progress_expires_after_seconds=30)(data=1) == 1
    assert capsys.readouterr().err == ""
