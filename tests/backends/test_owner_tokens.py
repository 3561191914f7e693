"""Owner tokens have 128 random bits from the system, and are generated each time."""

import os

import pytest

from idemproof.backends.records import new_owner


@pytest.mark.clause("ENG-1")
def test_a_token_is_drawn_from_the_systems_randomness_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def urandom(size: int) -> bytes:
        asked.append(size)
        return bytes([len(asked)]) * size

    monkeypatch.setattr(os, "urandom", urandom)
    assert [new_owner(), new_owner()] == ["01" * 16, "02" * 16]
    assert asked == [16, 16]
