"""A heartbeat and a completion within a transaction do not meet (TXN-3), nor do two completions (TXN-2)."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from attempts import attempt
from idemproof import Record
from idemproof.drivers import heartbeats
from idemproof.errors import IdempotencyLeaseLostError
from transaction_places import Place, SQLitePlace, sqlite_place

pytestmark = pytest.mark.once


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Any]:
    made = sqlite_place(tmp_path)
    yield made
    made.close()


class Watched:
    """Holds renewals back, and notes what is written in which order."""

    def __init__(self, place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self.in_flight, self.may_go_on = threading.Event(), threading.Event()
        swap, stop = place.layer._swap, heartbeats.stop

        def watched(key: str, expected: Any, new: Record | None, ttl_ms: int) -> Any:
            if expected is None or new is None:
                return swap(key, expected, new, ttl_ms)
            self.in_flight.set()
            assert self.may_go_on.wait(60)
            found = swap(key, expected, new, ttl_ms)
            self.order.append("renewed")
            return found

        def stopping(*args: Any) -> None:
            self.may_go_on.set()
            stop(*args)
            self.order.append("stopped")

        monkeypatch.setattr(place.layer, "_swap", watched)
        monkeypatch.setattr(heartbeats, "stop", stopping)


@pytest.mark.clause("TXN-3", "REN-3", "REN-4")
def test_renewal_in_flight_is_awaited_before_the_completion_is_written(
    place: SQLitePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = place.new()
    watched = Watched(place, monkeypatch)

    def body(what: str) -> Any:
        assert watched.in_flight.wait(60)
        with place.transaction(connection):
            answer = attempt().complete(what, within=connection)
            watched.order.append("completed")
            with pytest.raises(IdempotencyLeaseLostError):
                attempt().renew()
        return answer

    protected = place.protect(body, renew_lease=True, in_progress_expires_after_seconds=3)
    assert protected(what="a") == "a"
    assert watched.order[:3] == ["renewed", "stopped", "completed"]
    assert "renewed" not in watched.order[1:]


@pytest.mark.clause("TXN-2", "TXN-4")
def test_two_threads_complete_once(on_postgres: Place) -> None:
    place = on_postgres
    kinds: list[str] = []

    def body(what: str) -> Any:
        own = attempt()
        connections = place.new(), place.new()

        def complete(connection: Any) -> None:
            with place.transaction(connection):
                place.act(connection, what)
                try:
                    own.complete(1, within=connection)
                except Exception as error:
                    kinds.append(getattr(error, "kind", type(error).__name__))
                    raise

        threads = [threading.Thread(target=_quietly, args=(complete, each)) for each in connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return 1

    assert place.protect(body)(what="a") == 1
    assert kinds == ["AlreadyCompleted"]
    assert place.effects() == ["a"]


def _quietly(work: Any, *args: Any) -> None:
    with suppress(Exception):  # noted above
        work(*args)
