"""Worker processes: the factories they accept, the orders they carry out, and that they always end."""

import functools
import importlib.util
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import stress_layers as layers
from idemproof import InMemoryPersistenceLayer
from idemproof.conformance.harness.messages import Failed, Look, Seen, Start, Up
from idemproof.conformance.harness.processes import Process, place_of
from idemproof.conformance.suite.checks import NotJudged, NotOffered
from idemproof.conformance.suite.clock import BEGIN_MS

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[3]


class Factories:
    @staticmethod
    def make() -> InMemoryPersistenceLayer:
        return InMemoryPersistenceLayer()

    def files(self) -> Any:
        return layers.files()

    def __call__(self) -> Any:
        return layers.files()


def test_another_process_can_import_a_factory_at_the_top_of_a_module() -> None:
    for fit in (layers.sqlite, Factories.make, InMemoryPersistenceLayer):
        assert pickle.loads(place_of(fit).pickled) is fit
    for unfit in (lambda: None, functools.partial(lambda: None), None):
        with pytest.raises(NotOffered, match="at the top of a module"):
            place_of(unfit)


@pytest.mark.parametrize("factory", [functools.partial(layers.files), Factories().files, Factories()])
def test_a_process_accepts_every_factory_that_pickle_supports(
    factory: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("RECORDS", str(tmp_path))
    with Process(start(factory)) as process:
        process.wait_until_up()
        process.send(Look("x"))
        assert process.hear() == Seen(None)


def test_a_factory_in_the_main_program_is_refused_with_advice() -> None:
    program = (
        "from idemproof.conformance.harness.processes import place_of\n"
        "def make(): ...\n"
        "try: place_of(make)\n"
        "except Exception as refusal: print(refusal)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "is not the main program" in done.stdout


def start(factory: Any) -> Start:
    location = place_of(factory)
    # Without what `python -m pytest` adds: then the test packages cannot be imported by name.
    paths = tuple(path for path in location.paths if Path(path).resolve() != ROOT)
    return Start(location._replace(paths=paths), BEGIN_MS + 5, movable_clock=True)


def test_a_process_carries_out_orders_and_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("RECORDS", str(tmp_path))
    before = set(threading.enumerate())
    with Process(start(layers.files)) as process:
        process.wait_until_up()
        process.send(Look("x"))
        assert process.hear() == Seen(None)
        process.kill()
        process.send(Look("x"))
        assert process.rest() == []
    assert not set(threading.enumerate()) - before


def printing() -> InMemoryPersistenceLayer:
    print("a layer that prints")  # noqa: T201 - what the test is about
    return InMemoryPersistenceLayer()


def not_a_layer() -> str:
    return "no layer"


def test_a_process_finds_a_factory_by_its_file_and_may_print() -> None:
    with Process(start(printing)) as process:
        process.wait_until_up()


def test_a_process_finds_a_factory_that_is_not_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "layers_of_nowhere.py"
    source.write_text(
        "from idemproof import InMemoryPersistenceLayer as Layer\ndef make():\n    return Layer()\n"
    )
    spec = importlib.util.spec_from_file_location("layers_of_nowhere", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "layers_of_nowhere", module)
    with Process(start(module.make)) as process:
        process.wait_until_up()


def test_a_factory_that_returns_no_layer_is_reported() -> None:
    with (
        Process(start(not_a_layer)) as process,
        pytest.raises(NotJudged, match="returned a str, not a layer"),
    ):
        process.wait_until_up()


def test_processes_without_a_shared_timer_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    with Process(start(printing)) as process:
        monkeypatch.setattr(process, "hear", lambda: Up(0))
        with pytest.raises(NotJudged, match="do not share a timer"):
            process.wait_until_up()


def test_a_failure_in_another_process_is_reported() -> None:
    with Process(start(printing)) as process:
        process._replies.put(Failed("no such store"))
        replies = []
        with pytest.raises(NotJudged, match="no such store"):
            replies += [process.hear(), process.hear()]
