"""Redis in the test process: fakeredis implements the same commands."""

import fakeredis
import labels
import pytest

PARCEL = {"parcel_id": "40017", "country": "PT"}


@pytest.fixture(autouse=True)
def _fake_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels.store, "client", fakeredis.FakeRedis())  # an empty one for each test


def test_a_parcel_that_comes_twice_gets_one_label() -> None:
    before = len(labels.printed)
    first = labels.print_label(parcel=PARCEL)
    assert labels.print_label(parcel=PARCEL) == first
    assert len(labels.printed) == before + 1
