"""Tests the function's own work with protection switched off: every call runs."""

import pytest
import seats

from idemproof import IdempotencyWarning

BOOKING = {"booking_id": "b-1", "seat": "F12"}


@pytest.mark.usefixtures("idempotency_disabled")
def test_a_ticket_names_the_seat() -> None:
    before = len(seats.sold)
    assert seats.handler(BOOKING, None)["seat"] == "F12"
    assert seats.handler(BOOKING, None)["seat"] == "F12"
    assert len(seats.sold) == before + 2


def test_the_switch_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "true")
    with pytest.warns(IdempotencyWarning, match="switched off"):
        assert seats.handler(BOOKING, None)["seat"] == "F12"
