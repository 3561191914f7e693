"""Final errors: stored as the answer, raised again in every repeat, and never changed silently."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from four_methods import FourMethods
from idemproof import (
    Idempotency,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Kind,
    Occurrence,
    idempotent_function,
)
from idemproof.conformance.calls import SimulatedCall
from idemproof.conformance.simulator import World
from idemproof.errors import (
    IdempotencyConfigError,
    IdempotencyError,
    IdempotencyInvalidStatusError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
    IdempotencyUnknownFinalError,
)
from idemproof.reference.engine import Engine
from idemproof.reference.final_errors import FinalErrors, error_text, read
from idemproof.spec.record import COMPLETED, ERROR_UNAVAILABLE, FINAL_ERROR, INPROGRESS, Record
from idemproof.testing import MovableClock, count_runs
from protection import Protection

EngineFactory = Callable[..., Engine]


class Declined(Exception):  # noqa: N818 - as an application may call it
    """An error like most: its arguments are those of its constructor."""


class DeclinedForNow(Declined):
    """A subclass, which is not declared."""


class Limit(Exception):  # noqa: N818 - as an application may call it
    """An error that computes its attributes from its arguments."""

    def __init__(self, amount: int, limit: int) -> None:
        super().__init__(amount, limit)
        self.over = amount - limit

    def __str__(self) -> str:
        return f"{self.over} too much"


class Pickled(Exception):  # noqa: N818 - as an application may call it
    """An error with other arguments than its constructor's, which says how it is rebuilt."""

    def __init__(self, code: int, *, retry: bool) -> None:
        super().__init__(f"code {code}")
        self.code, self.retry = code, retry

    def __reduce__(self) -> Any:
        return Pickled.of, (self.code, self.retry)

    @classmethod
    def of(cls, code: int, retry: bool) -> "Pickled":
        return cls(code, retry=retry)


class Reduced(Exception):  # noqa: N818 - as an application may call it
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self) -> Any:
        return Reduced, (self.code,)


class Formatted(Exception):  # noqa: N818 - as an application may call it
    """An error whose message is made by a constructor that takes something else."""

    def __init__(self, order: str, code: int) -> None:
        super().__init__(f"{order}: {code}")


class Slotted(Exception):  # noqa: N818 - as an application may call it
    __slots__ = ("code",)


class Numbered(Exception):  # noqa: N818 - as an application may call it
    """No two of them are equal."""

    made = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        Numbered.made += 1
        self.number = Numbered.made


class Imposing(Exception):  # noqa: N818 - as an application may call it
    def __new__(cls, *args: Any) -> Any:
        return super().__new__(Declined if args == ("other",) else cls, *args)


DECLARED = (Declined, Limit, Reduced, Formatted, Slotted, Numbered, Pickled, FileNotFoundError, ImportError)


def slotted(code: int) -> Slotted:
    error = Slotted("no")
    error.code = code
    return error


def with_attribute() -> Declined:
    error = Declined("no")
    error.response = {"status": 402}  # type: ignore[attr-defined]
    return error


def body_raising(error: BaseException) -> tuple[Callable[[Any], Any], list[Any]]:
    runs: list[Any] = []

    def body(data: Any) -> Any:
        runs.append(data)
        raise error

    return body, runs


@pytest.mark.clause("FIN-1", "FIN-3", "ENG-11")
@pytest.mark.parametrize("cached", [False, True], ids=["no cache", "local cache"])
@pytest.mark.parametrize(
    "error",
    [
        Declined(),
        Declined("no", 5, None, [1, {"a": 1.5}], True, "ключ \ud800"),
        Limit(7, 5),
        Reduced(5),
        FileNotFoundError(2, "missing", "a.txt"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_repeats_raise_an_equal_error_and_the_first_caller_gets_the_error_itself(
    protect: Protection, error: Exception, cached: bool
) -> None:
    body, runs = body_raising(error)
    work = protect(body, final_errors=DECLARED, use_local_cache=cached)
    with pytest.raises(type(error)) as first:
        work(data=1)
    assert first.value is error
    replayed = []
    for _ in range(2):
        with pytest.raises(type(error)) as again:
            work(data=1)
        replayed.append(again.value)
        assert again.value is not error
        assert (type(again.value), again.value.args, str(again.value)) == (
            type(error),
            error.args,
            str(error),
        )
        assert {**vars(again.value), "__notes__": None} == {**vars(error), "__notes__": None}
        assert "Idemproof replayed this error for" in again.value.__notes__[0]
    assert replayed[0] is not replayed[1]  # each caller may add to its own
    assert len(runs) == 1


@pytest.mark.clause("FIN-1")
def test_a_cause_and_notes_do_not_keep_an_error_from_being_final(protect: Protection) -> None:
    def body(data: Any) -> Any:
        runs.append(data)
        error = Declined("no")
        error.add_note("of the first call")
        raise error from ValueError("of the bank")

    runs: list[Any] = []
    work = protect(body, final_errors=DECLARED)
    with pytest.raises(Declined) as first:
        work(data=1)
    assert isinstance(first.value.__cause__, ValueError)
    with pytest.raises(Declined) as again:
        work(data=1)
    assert again.value.__cause__ is None
    assert again.value.__notes__ != first.value.__notes__
    assert len(runs) == 1


@pytest.mark.clause("FIN-6")
@pytest.mark.parametrize("error", [DeclinedForNow("no"), ValueError("no"), KeyboardInterrupt()])
def test_other_errors_release(protect: Protection, error: BaseException) -> None:
    body, runs = body_raising(error)
    work = protect(body, final_errors=DECLARED)
    for _ in range(2):
        with pytest.raises(type(error)):
            work(data=1)
    assert len(runs) == 2


@pytest.mark.clause("FIN-6", "ENG-14")
def test_an_error_of_the_engine_itself_is_not_final(world: World, make_engine: EngineFactory) -> None:
    async def inner() -> None: ...

    def body() -> Any: ...

    body.__wrapped__ = inner  # type: ignore[attr-defined]
    engine = Engine(
        IdempotencyConfig(clock=world.clock, final_errors=(TypeError,)),
        next_owner=world.next_owner,
        function=body,
    )
    call = world.call(engine).until_running()
    coroutine = inner()
    call.finish(coroutine)
    coroutine.close()
    while call.ended is None:
        call.step()
    assert isinstance(call.value, TypeError)
    assert world.record is None


@pytest.mark.clause("FIN-4", "REC-6")
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Declined(object()), "not JSON serializable"),
        (Declined((1, 2)), "becomes a list"),
        (Declined({1: 2}), "of its arguments"),
        (Declined(b"bytes"), "not JSON serializable"),
        (Formatted("o-1", 5), "does not accept the arguments (str) (TypeError)"),
        (with_attribute(), "$.response"),
        (slotted(5), "$.code"),
        (Numbered("no"), "$.number"),
        (Pickled(5, retry=True), "__reduce__"),
        (ImportError("no", name="module"), "$.name"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_that_does_not_come_back_is_reported_with_the_error(
    protect: Protection, layer: InMemoryPersistenceLayer, error: Exception, why: str
) -> None:
    body, runs = body_raising(error)
    work = protect(body, final_errors=DECLARED)
    with pytest.raises(IdempotencySerializationError) as first:
        work(data=1)
    assert first.value.raised is error
    assert first.value.__cause__ is error
    assert (first.value.function_returned, first.value.result) == (False, None)
    assert why in str(first.value)
    with pytest.raises(IdempotencyResultUnavailableError, match="ended with a final error") as again:
        work(data=1)
    assert again.value.raised is None
    assert len(runs) == 1


@pytest.mark.clause("FIN-4", "REC-6")
def test_an_error_too_large_for_the_store_has_a_marker_of_its_own(
    world: World, make_engine: EngineFactory
) -> None:
    error = Declined("x" * 1000)
    call = raised(world, make_engine(final_errors=(Declined,)), error)
    call.interrupt(IdempotencyRecordTooLargeError("400 KB at most"))
    while call.ended is None:
        call.step()
    assert isinstance(call.value, IdempotencyPersistenceLayerError)
    assert "it is too large for the store" in str(call.value)
    assert call.value.raised is error
    assert world.record is not None
    assert (world.record.status, world.record.response_data) == (COMPLETED, ERROR_UNAVAILABLE)
    assert call.occurrences[-1].kind is Kind.RESULT_NOT_STORED


def raised(world: World, engine: Engine, error: Exception) -> SimulatedCall:
    call = world.call(engine).until_running()
    call.fail(error)
    return call


def finished(call: SimulatedCall) -> SimulatedCall:
    while call.ended is None:
        call.step()
    return call


def stored(world: World) -> str | None:
    return None if world.record is None else world.record.response_data


@pytest.mark.clause("ENG-7", "ENG-9", "FIN-1")
def test_a_lost_lease_and_an_unknown_outcome_carry_the_error(
    world: World, make_engine: EngineFactory
) -> None:
    engine, error = make_engine(final_errors=(Declined,)), Declined("no")
    late = world.call(engine).until_running()
    world.now += 10_000
    world.call(engine).until_running()  # it takes over
    late.fail(error)
    lost = finished(late).value
    assert isinstance(lost, IdempotencyLeaseLostError)
    assert (lost.raised, lost.__cause__) == (error, error)
    assert "its final error, carried by this error" in str(lost)

    unknown = raised(World(), engine, error)
    while unknown.ended is None:
        unknown.step("refused")
    assert isinstance(unknown.value, IdempotencyPersistenceLayerError)
    assert unknown.value.raised is error
    assert "not known whether its final error" in str(unknown.value)


@pytest.mark.clause("ENG-8", "FIN-3")
@pytest.mark.parametrize("late_error", [True, False], ids=["raises", "returns"])
@pytest.mark.parametrize("first_error", [True, False], ids=["an error counts", "a result counts"])
def test_a_superseded_attempt_answers_as_stored(
    world: World, make_engine: EngineFactory, late_error: bool, first_error: bool
) -> None:
    engine = make_engine(final_errors=(Declined,))
    late = world.call(engine).until_running()
    world.now += 10_000
    quick = world.call(engine).until_running()
    for call, fails, said in ((quick, first_error, "quick"), (late, late_error, "late")):
        if fails:
            call.fail(Declined(said))
        else:
            call.finish(said)
        finished(call)
    if first_error:
        assert (late.ended, type(late.value), late.value.args) == ("raised", Declined, ("quick",))
    else:
        assert (late.ended, late.value) == ("returned", "quick")
    last = late.occurrences[-1]
    assert last.kind is Kind.SUPERSEDED
    assert isinstance(last.error, Declined if late_error else type(None))


@pytest.mark.clause("ENG-8", "FIN-4")
def test_a_superseded_error_is_carried_if_the_stored_answer_is_not_readable(
    world: World, make_engine: EngineFactory
) -> None:
    engine, error = make_engine(final_errors=(Declined,)), Declined("late")
    late = world.call(engine).until_running()
    world.now += 10_000
    finished(raised(world, engine, Declined(object())))
    late.fail(error)
    assert isinstance(finished(late).value, IdempotencyResultUnavailableError)
    assert (late.value.raised, late.value.function_returned) == (error, False)


@pytest.mark.clause("ENG-12", "ENG-15", "FIN-1")
@pytest.mark.parametrize("fate", ["interrupted", "interrupted after"])
def test_an_interrupt_waits_until_the_error_is_stored(
    world: World, make_engine: EngineFactory, fate: Any
) -> None:
    engine, error = make_engine(final_errors=(Declined,)), Declined("no")
    call = raised(world, engine, error)
    call.step(fate)
    assert isinstance(finished(call).value, KeyboardInterrupt)
    assert (stored(world) or "").startswith(FINAL_ERROR)
    assert isinstance(world.call(engine).run().value, Declined)


@pytest.mark.clause("INV-6", "FIN-1")
def test_a_lost_reply_changes_nothing(world: World, make_engine: EngineFactory) -> None:
    call = raised(world, make_engine(final_errors=(Declined,)), Declined("no"))
    call.step("reply lost")
    assert finished(call).value.args == ("no",)
    assert [each.kind for each in call.occurrences] == [Kind.CLAIMED, Kind.COMPLETED]


@pytest.mark.clause("FIN-5")
def test_a_type_that_is_no_longer_declared_is_reported_by_name(protect: Protection) -> None:
    body, runs = body_raising(Declined("no", 5))
    before, after = protect(body, final_errors=(Declined,)), protect(body)
    with pytest.raises(Declined):
        before(data=1)
    with pytest.raises(IdempotencyUnknownFinalError) as refusal:
        after(data=1)
    assert refusal.value.type_name.endswith("test_final_errors.Declined")
    assert refusal.value.arguments == ("no", 5)
    assert "Nothing ran" in str(refusal.value)
    assert len(runs) == 1


@pytest.mark.clause("FIN-5")
def test_a_stored_name_is_never_imported(layer: InMemoryPersistenceLayer, protect: Protection) -> None:
    work = protect(body_raising(Declined("no"))[0], final_errors=(Declined,), expires_after_seconds=10**9)
    with pytest.raises(Declined):
        work(data=1)
    (key,) = layer._records
    record = layer._records[key]
    for name in ("os.system", "builtins.SystemExit", "builtins.ValueError"):
        layer._records[key] = record._replace(response_data=error_text(name, '["echo"]'))
        with pytest.raises(IdempotencyUnknownFinalError, match=f"final error {name}, "):
            work(data=1)


@pytest.mark.clause("FIN-5")
@pytest.mark.parametrize(
    ("changed", "problem"),
    [(["a", 1, 2], "does not accept its stored arguments"), (["other"], "returned a")],
)
def test_a_type_that_has_changed_is_reported(changed: list[Any], problem: str) -> None:
    kind = Limit if "accept" in problem else Imposing
    name = f"{kind.__module__}.{kind.__qualname__}"
    with pytest.raises(IdempotencyUnknownFinalError, match=problem) as refusal:
        FinalErrors((Limit, Imposing)).rebuild(error_text(name, json.dumps(changed)), "key")
    assert (refusal.value.type_name, refusal.value.arguments) == (name, tuple(changed))


@pytest.mark.clause("FIN-2", "REC-7")
@pytest.mark.parametrize(
    "text",
    [
        "idemproof:error:",
        "idemproof:error:[]",
        'idemproof:error:{"type": "a.B"}',
        'idemproof:error:{"type": "a.B", "arguments": {}}',
        'idemproof:error:{"type": 1, "arguments": []}',
        'idemproof:error:{"type": "", "arguments": []}',
        'idemproof:error:{"type": "a.B", "arguments": [], "more": 1}',
        "idemproof:unheard-of",
    ],
)
def test_another_text_is_corrupt(world: World, make_engine: EngineFactory, text: str) -> None:
    world.record = Record(world.KEY, COMPLETED, world.now // 1000 + 60, None, text)
    call = world.call(make_engine(final_errors=(Declined,))).run()
    assert isinstance(call.value, IdempotencyInvalidStatusError)
    assert "is not a final error" in str(call.value)


@pytest.mark.clause("FIN-2")
def test_the_text_is_not_json_and_names_the_type(world: World, make_engine: EngineFactory) -> None:
    finished(raised(world, make_engine(final_errors=(Declined,)), Declined("no", 5)))
    name = f"{Declined.__module__}.Declined"
    assert stored(world) == f'idemproof:error:{{"arguments": ["no", 5], "type": "{name}"}}'
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(stored(world) or "")


def test_the_response_hook_gets_results_alone(protect: Protection) -> None:
    hooked: list[Any] = []
    work = protect(
        body_raising(Declined("no"))[0],
        final_errors=(Declined,),
        response_hook=lambda response, _: hooked.append(response),
    )
    for _ in range(2):
        with pytest.raises(Declined):
            work(data=1)
    assert hooked == []


def test_observers_see_that_an_operation_completed_with_an_error(protect: Protection) -> None:
    seen: list[Occurrence] = []
    work = protect(body_raising(Declined("no"))[0], final_errors=(Declined,), observers=[seen.append])
    for _ in range(2):
        with pytest.raises(Declined):
            work(data=1)
    assert [(each.kind, each.row, type(each.error)) for each in seen if each.kind is not Kind.NO_LEASE] == [
        (Kind.CLAIMED, "ROW-1", type(None)),
        (Kind.COMPLETED, "ROW-7", Declined),
        (Kind.REPLAYED, "ROW-5", Declined),
    ]


def test_the_core_replays_final_errors_too() -> None:
    core = Idempotency(InMemoryPersistenceLayer(), IdempotencyConfig(final_errors=(Declined,)))
    runs: list[int] = []

    def decline() -> None:
        runs.append(1)
        raise Declined("no")

    async def decline_later() -> None:
        decline()

    for _ in range(2):
        with pytest.raises(Declined):
            core.run("order 1", decline)
        with pytest.raises(Declined):
            asyncio.run(core.arun("order 2", decline_later))
    assert len(runs) == 2


def test_an_operator_sees_and_forgets_a_final_error() -> None:
    core = Idempotency(InMemoryPersistenceLayer(), IdempotencyConfig(final_errors=(Declined,)))

    def decline() -> None:
        raise Declined("no")

    with pytest.raises(Declined):
        core.run("order", decline)
    record = core.records.inspect("order")
    assert record is not None
    assert (record.status, read(str(record.response_data))[1]) == (COMPLETED, ["no"])
    core.records.forget("order")
    assert core.run("order", lambda: "accepted").value == "accepted"


# What cannot be declared.


class Interrupting(Exception):  # noqa: N818 - as an application may call it
    pass


class JobTimeoutException(Exception):  # noqa: N818 - the name of a known time limit
    pass


def same_name() -> Any:
    other = type("Declined", (Exception,), {"__module__": __name__})
    other.__qualname__ = "Declined"
    return other


class Local(Exception):  # noqa: N818 - as an application may call it
    __qualname__ = "function.<locals>.Local"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([Declined], "must be a tuple of classes"),
        (Declined, "must be a tuple of classes"),
        ((Declined("no"),), "must be a tuple of classes"),
        ((int,), "must be a tuple of classes"),
        (("Declined",), "must be a tuple of classes"),
        ((KeyboardInterrupt,), "is an interrupt and no answer"),
        ((asyncio.CancelledError,), "is an interrupt and no answer"),
        ((GeneratorExit,), "is an interrupt and no answer"),
        ((BaseException,), "is an interrupt and no answer"),
        ((Exception,), "Name the types that are raised"),
        ((IdempotencyError,), "errors of this library"),
        ((IdempotencyLeaseLostError,), "errors of this library"),
        ((StopIteration,), "ends generators"),
        ((StopAsyncIteration,), "ends generators"),
        ((ExceptionGroup,), "Raise one exception"),
        ((Interrupting,), "is an interrupt too"),
        ((JobTimeoutException,), "is an interrupt too"),
        ((Local,), "Define it in a module"),
        ((Declined, same_name()), "two classes that are both called"),
    ],
)
def test_what_cannot_be_an_answer_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(IdempotencyConfigError, match=message):
        IdempotencyConfig(final_errors=wrong, interrupts=(Interrupting,))


def test_a_type_may_be_named_twice() -> None:
    assert IdempotencyConfig(final_errors=(Declined, Declined)).final_errors == (Declined, Declined)


def test_a_claim_that_is_still_in_progress_is_no_error(world: World, make_engine: EngineFactory) -> None:
    engine = make_engine(final_errors=(Declined,))
    call = raised(world, engine, Declined("no"))
    assert world.record is not None
    assert world.record.status == INPROGRESS
    assert world.call(engine).run().ended == "raised"  # in progress
    assert finished(call).value.args == ("no",)


# Over layers of every kind, and through the drivers.


class OwnUpdates(InMemoryPersistenceLayer):
    """Overrides a documented method, and so is called by the documented methods."""

    def _update_record(self, data_record: Any) -> None:
        self.updated = getattr(self, "updated", 0) + 1
        super()._update_record(data_record)


@pytest.mark.parametrize("kind", [OwnUpdates, FourMethods, InMemoryPersistenceLayer])
@pytest.mark.parametrize("arguments", [("no",), (object(),)], ids=["storable", "not storable"])
def test_final_errors_over_layers_of_every_kind(kind: Any, arguments: tuple[Any, ...]) -> None:
    body, runs = body_raising(Declined(*arguments))
    work = Protection(kind(), asynchronous=False)(
        body, final_errors=(Declined,), in_progress_expires_after_seconds=30
    )
    expected = Declined if arguments == ("no",) else IdempotencyResultUnavailableError
    with pytest.raises((Declined, IdempotencySerializationError)):
        work(data=1)
    for _ in range(2):
        with pytest.raises(expected):
            work(data=1)
    assert len(runs) == 1


@pytest.mark.clause("ENG-8", "FIN-3")
@pytest.mark.parametrize("standing", ["a result", "an error"])
def test_the_drivers_answer_a_superseded_error_as_stored(protect: Protection, standing: str) -> None:
    clock = MovableClock()
    ends: list[Any] = []

    def body(data: Any) -> Any:
        ends.append(data)
        if len(ends) > 1:
            if standing == "a result":
                return standing
            raise Declined(standing)
        clock.advance(31)
        with contextlib.suppress(Declined):
            work(data=1)  # it takes over, and completes first
        raise Declined("late")

    work = protect(body, final_errors=(Declined,), in_progress_expires_after_seconds=30, clock=clock)
    if standing == "a result":
        assert work(data=1) == standing
    else:
        with pytest.raises(Declined, match=standing):
            work(data=1)
    assert len(ends) == 2


class Unprintable(Exception):  # noqa: N818 - as an application may call it
    def __str__(self) -> str:
        raise ValueError


def test_an_error_that_cannot_be_compared_is_reported(protect: Protection) -> None:
    error = Unprintable("no")
    work = protect(body_raising(error)[0], final_errors=(Unprintable,))
    with pytest.raises(IdempotencySerializationError, match="cannot be compared") as refusal:
        work(data=1)
    assert refusal.value.raised is error


def test_runs_of_tests_tell_how_they_ended() -> None:
    work = idempotent_function(
        body_raising(Declined("no"))[0],
        data_keyword_argument="data",
        persistence_store=InMemoryPersistenceLayer(),
        config=IdempotencyConfig(final_errors=(Declined,), in_progress_expires_after_seconds=30),
    )
    with count_runs(work) as runs:
        for data in (1, 1, 2):
            with pytest.raises(Declined):
                work(data=data)
    runs.assert_once(operations=2)
    with pytest.raises(AssertionError, match="raised Declined"):
        runs.assert_once()
