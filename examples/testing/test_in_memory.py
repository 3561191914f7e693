"""Tests the handler's idempotency without a store, a network or waiting: records are kept in memory."""

import pytest
import seats

from idemproof.testing import MovableClock, count_runs

BOOKING = {"booking_id": "b-1", "seat": "F12", "sent_at": "20:00:00"}


@pytest.mark.usefixtures("idempotency_in_memory")
def test_a_booking_that_comes_twice_sells_one_seat() -> None:
    with count_runs(seats.handler) as runs:
        first = seats.handler(BOOKING, None)
        second = seats.handler(BOOKING | {"sent_at": "20:00:03"}, None)
    runs.assert_once()
    assert second == first


@pytest.mark.usefixtures("idempotency_in_memory")
def test_two_bookings_sell_two_seats() -> None:
    with count_runs(seats.handler) as runs:
        seats.handler(BOOKING, None)
        seats.handler(BOOKING | {"booking_id": "b-2", "seat": "F13"}, None)
    runs.assert_once(operations=2)


@pytest.mark.usefixtures("idempotency_in_memory")
def test_after_ten_minutes_a_booking_is_a_new_one(idempotency_clock: MovableClock) -> None:
    first = seats.handler(BOOKING, None)
    idempotency_clock.advance(seconds=599)
    assert seats.handler(BOOKING, None) == first
    idempotency_clock.advance(seconds=1)
    assert seats.handler(BOOKING, None) != first
