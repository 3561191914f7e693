"""The core API and observers, as their examples show them."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import idemproof
from idemproof import Kind

Load = Callable[[str], ModuleType]


def test_a_message_is_charged_once(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = load("core/payments.py")
    message = {"order": "A-17", "amount": 12}
    assert example.on_message(message) == "charged: 12"
    assert example.on_message(message) == "replayed: 12"
    assert example.payments.stored_key("order A-17") == "payments#order A-17"
    assert example.payments.records.inspect("order A-17").response_data == '{"charged": 12, "order": "A-17"}'


def test_each_turn_is_reported(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    example = load("options/observed.py")
    for _ in range(2):
        assert example.charge("A-17") == "charged A-17"
    assert [each.kind for each in example.seen] == [Kind.CLAIMED, Kind.COMPLETED, Kind.REPLAYED]
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [["claimed", "ROW-1"], ["completed", "ROW-7"], ["replayed", "ROW-5"]]


def test_a_process_is_measured(load: Load) -> None:
    try:
        example = load("options/telemetry.py")
        assert [example.charge("A-17") for _ in range(2)] == ["charged A-17"] * 2
    finally:
        (telemetry,) = idemproof.set_default_observers([])
    assert sum(count.number for count in telemetry._counts.values()) == 3
