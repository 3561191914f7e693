"""Factories and layers that cannot be tested: the errors and reports say what to do."""

import _thread
import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from idemproof import (
    AsyncInMemoryPersistenceLayer,
    CompareAndSwapLayer,
    InMemoryPersistenceLayer,
    Record,
    SQLitePersistenceLayer,
)
from idemproof.backends.base import BasePersistenceLayer
from idemproof.conformance import FactoryError, Profile, Report, check

pytestmark = pytest.mark.once

PATIENT = Profile("tiny", 2, 5, 5, 1, 0.2, 0.2, 1, 60)
HASTY = PATIENT._replace(patience=0.5)
"""For factories and layers that hang."""


def judged(factory: Callable[[], Any], profile: Profile = PATIENT, **options: Any) -> Report:
    return check(factory, profile=profile, seed=1, tiers=["contract"], **options)


def refused(factory: Any, profile: Profile = PATIENT) -> str:
    with pytest.raises(FactoryError) as caught:
        judged(factory, profile)
    return str(caught.value)


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Return an event that is set only after the test."""
    event = threading.Event()
    yield event
    event.set()


# Wrong factories.


def test_a_layer_is_not_a_factory() -> None:
    assert refused(InMemoryPersistenceLayer()).startswith(
        "This is a layer (InMemoryPersistenceLayer), not a factory."
    )
    assert refused("layer").startswith("'layer' is not a factory: it cannot be called. Pass a function")


def test_a_factory_with_required_arguments_is_refused_with_their_names() -> None:
    said = refused(SQLitePersistenceLayer)
    assert said.startswith("The factory SQLitePersistenceLayer cannot be called without arguments: missing")
    assert "'path'" in said


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "The factory returned None: is a return statement missing?"),
        (
            InMemoryPersistenceLayer,
            "The factory returned the class InMemoryPersistenceLayer. Return an instance",
        ),
        ((), "The factory returned a tuple of 0 objects."),
        ([InMemoryPersistenceLayer()] * 3, "The factory returned a list of 3 objects."),
        (len, "The factory returned the function len: call it, and return its result."),
        (
            object(),
            "The factory returned a object, which is not a persistence layer: it lacks _get_record, _put",
        ),
        ((None, None), "The factory returned a pair that contains the same object twice."),
        ((InMemoryPersistenceLayer(), None), "The factory returned None"),
        ((InMemoryPersistenceLayer(), InMemoryPersistenceLayer()), "do not see each other's records"),
    ],
)
def test_the_error_describes_an_object_that_is_not_a_layer(made: Any, said: str) -> None:
    assert said in refused(lambda: made)


def test_a_class_that_has_the_methods_must_also_inherit() -> None:
    class Methods:
        _get_record = _put_record = _update_record = _delete_record = print

    assert "it has the methods, but the wrong base class" in refused(Methods)
    assert "Let its class inherit from BasePersistenceLayer" in refused(Methods)


def test_a_factory_with_a_yield_is_recognised() -> None:
    def factory() -> Iterator[Any]:
        yield InMemoryPersistenceLayer()

    assert refused(factory).startswith("The factory returned a generator, because it contains a yield.")


def test_a_pair_of_the_same_object_is_refused() -> None:
    layer = InMemoryPersistenceLayer()
    assert "the same object twice" in refused(lambda: (layer, layer))


def test_a_pair_of_different_kinds_is_refused(four_methods: type[BasePersistenceLayer]) -> None:
    assert "a two-method layer and a four-method layer" in refused(
        lambda: (InMemoryPersistenceLayer(), four_methods())
    )


@pytest.fixture
def four_methods() -> type[BasePersistenceLayer]:
    class FourMethods(BasePersistenceLayer):
        def _get_record(self, idempotency_key: str) -> Any: ...
        def _put_record(self, data_record: Any) -> None: ...
        def _update_record(self, data_record: Any) -> None: ...
        def _delete_record(self, data_record: Any) -> None: ...

    return FourMethods


def test_a_factory_that_raises_is_quoted_once_with_its_cause() -> None:
    def factory() -> Any:
        raise ConnectionError("connection refused on port 6379.")

    with pytest.raises(FactoryError) as caught:
        judged(factory)
    assert str(caught.value) == (
        "The factory raised ConnectionError: connection refused on port 6379. Call it on its own first: it "
        "must return a layer that is ready for use."
    )
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_an_abstract_class_is_quoted() -> None:
    assert "The factory raised TypeError: Can't instantiate abstract class" in refused(BasePersistenceLayer)


def test_a_factory_that_works_once_gets_the_advice_that_it_is_called_again() -> None:
    made: list[Any] = []

    def factory() -> Any:
        if made:
            raise OSError("the file is locked")
        made.append(InMemoryPersistenceLayer())
        return made[0]

    assert (
        "raised OSError at its second call: the file is locked. The suite calls it more than once"
        in refused(factory)
    )


def test_a_factory_that_returns_different_kinds_is_refused() -> None:
    layers = [InMemoryPersistenceLayer(), (InMemoryPersistenceLayer(), InMemoryPersistenceLayer())]
    assert "one layer at its first call, and a pair at its second" in refused(lambda: layers.pop(0))


def test_a_factory_that_hangs_is_not_waited_for(never: threading.Event) -> None:
    assert refused(never.wait, HASTY).startswith(
        "The factory has not returned within 0.5 seconds. Is its store running"
    )


def test_an_async_factory_that_hangs_is_not_waited_for() -> None:
    async def factory() -> Any:
        await asyncio.get_running_loop().create_future()

    assert refused(factory, HASTY).startswith("The factory has not returned within 0.5 seconds.")


def test_a_second_call_that_hangs_is_reported_as_such(never: threading.Event) -> None:
    layers = [InMemoryPersistenceLayer()]

    def factory() -> Any:
        return layers.pop() if layers else never.wait()

    assert "within 0.5 seconds at its second call" in refused(factory, HASTY)


def test_what_the_factory_prints_is_noted_and_kept_from_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    def factory() -> Any:
        print("connecting\n" * 100)  # noqa: T201 - the test is about printing
        return InMemoryPersistenceLayer()

    (note,) = judged(factory).notes
    assert note.startswith("The layer or its factory printed: connecting\nconnecting")
    assert len(note) < 300
    assert capsys.readouterr().out == ""


# Layers that fail.


class Printing(InMemoryPersistenceLayer):
    def _load(self, key: str) -> Record | None:
        print("loading")  # noqa: T201 - the test is about printing
        return super()._load(key)


class Raising(CompareAndSwapLayer):
    def _load(self, key: str) -> Record | None:
        raise ConnectionError("connection refused")

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        raise SystemExit("enough")


def test_the_output_of_a_layer_becomes_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    report = judged(Printing)
    assert report.keeps("contract")
    assert "printed: loading" in report.notes[0]
    assert capsys.readouterr().out == ""


def test_a_layer_that_raises_at_once_is_quoted_with_the_line() -> None:
    report = judged(Raising)
    assert report.tiers["contract"] == "broken"
    assert "kept" not in {each.verdict for each in report.checks}
    whys = {finding.why for finding in report.findings}
    assert any(why.startswith("The layer raised ConnectionError: connection refused (line ") for why in whys)
    assert all(Path(__file__).name in why for why in whys if "raised" in why)
    assert {finding.seen_in for finding in report.findings if not finding.lines} == {None}


class Hanging(InMemoryPersistenceLayer):
    never: threading.Event

    def _load(self, key: str) -> Record | None:
        self.never.wait()
        return super()._load(key)


class AsyncHanging(AsyncInMemoryPersistenceLayer):
    async def _load(self, key: str) -> Record | None:
        await asyncio.get_running_loop().create_future()
        raise AssertionError


@pytest.mark.parametrize("layer", [Hanging, AsyncHanging])
def test_a_layer_that_hangs_ends_the_run_with_a_finding(
    layer: Any, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hanging, "never", never, raising=False)
    first, *rest = judged(layer, HASTY).checks
    assert first.verdict == "broken"
    assert first.findings[0].why.startswith("The layer has not answered a request for")
    assert "it hangs. No further check ran." in first.findings[0].why
    assert {each.verdict for each in rest} == {"not judged"}
    assert all(first.name in str(each.why_not) for each in rest)


class Closing(InMemoryPersistenceLayer):
    def close(self) -> None:
        raise OSError("no such socket")


class ClosingForEver(InMemoryPersistenceLayer):
    def close(self) -> None:
        Hanging.never.wait()


def test_an_error_while_closing_becomes_a_note(
    never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hanging, "never", never, raising=False)
    report = judged(Closing)
    assert report.keeps("contract")
    assert (
        "Closing the Closing raised OSError: no such socket. It may leave connections open." in report.notes
    )


def test_a_close_that_hangs_is_no_verdict(never: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hanging, "never", never, raising=False)
    report = judged(ClosingForEver, HASTY)
    assert report.aborted == "Closing the ClosingForEver did not end within 0.5 seconds: it hangs."
    assert not report.keeps("contract")
    assert json.loads(report.as_json())["aborted"] == report.aborted


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise OSError


class RaisesTheUnreadable(InMemoryPersistenceLayer):
    def _load(self, key: str) -> Record | None:
        raise UnreadableError


def test_an_error_without_a_message_is_a_finding() -> None:
    report = judged(RaisesTheUnreadable)
    assert "UnreadableError: (its message cannot be read: __str__ raised OSError)" in report.findings[0].why


class Looked(InMemoryPersistenceLayer):
    """Answers every question about it with an error, as some proxies do."""

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)

    def __bool__(self) -> bool:
        raise LookupError

    def __len__(self) -> int:
        raise LookupError

    def __repr__(self) -> str:
        raise LookupError

    def __eq__(self, _: object) -> bool:
        raise LookupError

    __hash__ = InMemoryPersistenceLayer.__hash__


def test_objects_that_raise_when_they_are_looked_at_are_judged_or_refused() -> None:
    report = judged(Looked)
    assert report.keeps("contract")

    class Silent:
        def __getattr__(self, name: str) -> Any:
            raise LookupError(name)

        def __repr__(self) -> str:
            raise LookupError

    assert refused(Silent()) == (
        "an object of the type Silent is not a factory: it cannot be called. Pass a function without "
        "parameters that returns a persistence layer, or a pair of layers over one store."
    )
    assert refused(Silent).startswith("What the factory returned cannot be inspected: looking at it raised L")


class Huge(InMemoryPersistenceLayer):
    """Returns megabytes that nobody has stored."""

    def _load(self, key: str) -> Record | None:
        found = super()._load(key)
        return None if found is None else found._replace(response_data="x" * 5_000_000)


def test_the_report_on_megabytes_is_short() -> None:
    report = judged(Huge)
    assert report.findings
    assert len(report.as_json()) < 300_000


def test_layers_that_can_be_closed_are_closed() -> None:
    closed: list[object] = []

    class Closable(AsyncInMemoryPersistenceLayer):
        async def aclose(self) -> None:
            closed.append(self)

    judged(Closable)
    assert len(closed) == 2


# Interruptions.


def test_an_interruption_returns_the_findings_so_far() -> None:
    begun: list[str] = []

    def progress(asked: Any, number: int, _all: int) -> None:
        begun.append(asked.name)
        if number == 2:
            raise KeyboardInterrupt

    report = judged(InMemoryPersistenceLayer, progress=progress)
    assert not report.finished
    assert not report.keeps()
    verdicts = [each.verdict for each in report.checks]
    assert verdicts[:2] == ["kept", "kept"]
    assert set(verdicts[2:]) == {"not judged"}
    assert {each.why_not for each in report.checks[2:]} == {"it was interrupted"}


@pytest.mark.usefixtures("_heeding_interrupts")
@pytest.mark.parametrize("hangs", [False, True])
def test_an_interruption_during_a_request_ends_the_run(hangs: bool, never: threading.Event) -> None:
    class Interrupting(InMemoryPersistenceLayer):
        requests = 0

        def _load(self, key: str) -> Record | None:
            self.requests += 1
            if self.requests == 10:
                _thread.interrupt_main()
                if hangs:
                    never.wait()
            return super()._load(key)

    report = judged(Interrupting)
    assert not report.finished
    assert report.checks[0].verdict == "kept"
    assert report.checks[-1].why_not == "it was interrupted"
    assert not report.findings


@pytest.mark.usefixtures("_heeding_interrupts")
def test_an_interruption_in_the_factory_reaches_the_caller(never: threading.Event) -> None:
    def factory() -> Any:
        _thread.interrupt_main()
        return never.wait()

    with pytest.raises(KeyboardInterrupt):
        judged(factory)


class RaisesWhenItWrites(CompareAndSwapLayer):
    def _load(self, key: str) -> Record | None:
        return None

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return json.loads(new)  # type: ignore[arg-type]


def test_an_error_at_the_first_write_is_reported_once_with_its_place() -> None:
    report = judged(RaisesWhenItWrites)
    [finding] = report.findings
    assert "The layer raised TypeError: the JSON object must be str" in finding.why
    assert f"of {__file__}, in _swap). This was its first write, so no check ran." in finding.why
    assert finding.clauses == ("CAS-3",)
    assert {each.verdict for each in report.checks[1:]} == {"not judged"}
    assert not report.keeps()


class AnswersWithDictionaries(InMemoryPersistenceLayer):
    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Any:
        found = super()._swap(key, expected, new, ttl_ms)
        return found and found._asdict()


def test_an_answer_of_the_wrong_type_is_named() -> None:
    report = judged(AnswersWithDictionaries)
    assert report.findings
    assert all("AttributeError" not in finding.why for finding in report.findings)
    assert any("returned a dict for" in finding.why for finding in report.findings)
