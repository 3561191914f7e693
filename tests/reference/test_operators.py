"""What operators do with records: in every state, racing with calls, and over layers of every kind."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from four_methods import FourMethods
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    Idempotency,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Kind,
    Occurrence,
    Record,
    SQLitePersistenceLayer,
)
from idemproof.conformance.simulator import World
from idemproof.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyConfigError,
    IdempotencyInconsistentStateError,
    IdempotencyInvalidStatusError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyPersistenceLayerError,
    IdempotencySerializationError,
    IdempotencyValidationError,
)
from idemproof.reference.engine import Engine
from idemproof.reference.records import _forgetting, _inspecting, _resolving
from idemproof.spec.commands import Emit, Load
from idemproof.spec.invariants import broken_by_history
from idemproof.spec.record import COMPLETED, INPROGRESS, RESULT_UNAVAILABLE
from idemproof.testing import MovableClock

KEY = "order-1"
LEASE, WINDOW = 30, 3600


class Fixed:
    """A core over one layer, and a clock that both go by."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.clock = MovableClock()
        self.seen: list[Occurrence] = []
        config = IdempotencyConfig(
            clock=self.clock,
            in_progress_expires_after_seconds=LEASE,
            expires_after_seconds=WINDOW,
            use_local_cache=True,
            observers=[self.seen.append],
        )
        self.core = Idempotency(layer, config)
        self.records = self.core.records

    def crash(self) -> None:
        """Leave a claim behind, as a worker does that dies."""
        steps = self.core._core.engine.steps(KEY, "a hash")
        command = next(steps)
        while isinstance(command, Emit):
            command = next(steps)
        self.layer._swap(*command) if hasattr(self.layer, "_swap") else self.layer._put_record(command.new)
        steps.close()

    @property
    def kinds(self) -> list[Kind]:
        return [each.kind for each in self.seen]


@pytest.fixture(params=[InMemoryPersistenceLayer, FourMethods, SQLitePersistenceLayer])
def fixed(request: pytest.FixtureRequest, tmp_path: Path) -> Fixed:
    in_a_file = request.param is SQLitePersistenceLayer
    return Fixed(request.param(tmp_path / "records.db") if in_a_file else request.param())


class TestInspecting:
    def test_what_stands_is_returned_whatever_its_state(self, fixed: Fixed) -> None:
        inspect = fixed.records.inspect
        assert inspect(KEY) is None
        fixed.core.run(KEY, lambda: inspect(KEY)._replace(owner=None))  # type: ignore[union-attr]
        found = inspect(KEY)
        assert found is not None
        assert found.status == COMPLETED
        assert f'"{KEY}", "{INPROGRESS}"' in str(found.response_data)  # what stood meanwhile
        fixed.clock.advance(WINDOW)
        assert inspect(KEY) == found

    def test_a_corrupt_record_is_named(self) -> None:
        layer = InMemoryPersistenceLayer()
        layer._records[KEY] = Record(KEY, "DONE", 1)
        with pytest.raises(IdempotencyInvalidStatusError, match="corrupt"):
            Fixed(layer).records.inspect(KEY)

    def test_a_store_that_fails_is_named(self) -> None:
        class Broken(InMemoryPersistenceLayer):
            def _load(self, key: str) -> Record | None:
                raise ConnectionError("gone")

        for ask in ("inspect", "forget"):
            with pytest.raises(IdempotencyPersistenceLayerError, match="gone") as raised:
                getattr(Fixed(Broken()).records, ask)(KEY)
            assert isinstance(raised.value.__cause__, ConnectionError)

    @pytest.mark.clause("ENG-15")
    def test_an_interrupt_keeps_its_name(self) -> None:
        class Interrupted(InMemoryPersistenceLayer):
            def _load(self, key: str) -> Record | None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Fixed(Interrupted()).records.inspect(KEY)


class TestForgetting:
    @pytest.mark.clause("OPS-1")
    def test_a_result_is_forgotten_and_the_operation_runs_again(self, fixed: Fixed) -> None:
        first = fixed.core.run(KEY, lambda: "first").record
        found = fixed.records.forget(KEY)
        assert found is not None
        assert first is not None
        assert found._replace(owner=first.owner) == first
        assert fixed.records.inspect(KEY) is None
        assert fixed.core.run(KEY, lambda: "second").value == "second"  # its local cache has forgotten, too
        assert fixed.seen[2].kind is Kind.FORGOTTEN
        assert (fixed.seen[2].row, fixed.seen[2].owner, fixed.seen[2].record) == ("ROW-14", None, found)

    def test_nothing_is_forgotten_where_nothing_is(self, fixed: Fixed) -> None:
        assert fixed.records.forget(KEY) is None
        assert fixed.kinds == []

    @pytest.mark.clause("OPS-1")
    @pytest.mark.parametrize("beyond", [LEASE, WINDOW])
    def test_a_claim_that_is_over_is_forgotten(self, fixed: Fixed, beyond: int) -> None:
        fixed.crash()
        fixed.clock.advance(beyond)
        assert fixed.records.forget(KEY) is not None
        assert fixed.core.run(KEY, lambda: "again").value == "again"

    @pytest.mark.clause("OPS-2")
    def test_a_live_claim_is_refused_by_name_unless_told_otherwise(self, fixed: Fixed) -> None:
        fixed.crash()
        fixed.clock.advance(LEASE - 0.001)
        with pytest.raises(IdempotencyAlreadyInProgressError, match="even_in_progress") as raised:
            fixed.records.forget(KEY)
        assert raised.value.retry_after_ms == 1
        assert fixed.records.inspect(KEY) is not None
        assert fixed.kinds == []
        assert fixed.records.forget(KEY, even_in_progress=True) is not None
        assert fixed.records.inspect(KEY) is None

    def test_a_claim_without_a_lease_is_live_for_its_window(self) -> None:
        layer = InMemoryPersistenceLayer()
        core = Idempotency(layer)
        layer._records[KEY] = Record(KEY, INPROGRESS, MovableClock()() // 1000 + 60)
        with pytest.raises(IdempotencyAlreadyInProgressError):
            core.records.forget(KEY)
        assert core.records.forget(KEY, even_in_progress=True) is not None


class TestResolving:
    @pytest.mark.clause("OPS-3")
    @pytest.mark.parametrize("later", [0, LEASE, WINDOW - 1])
    def test_what_is_stuck_gets_its_result_and_keeps_its_payload_hash(self, fixed: Fixed, later: int) -> None:
        fixed.crash()
        fixed.clock.advance(later)
        record = fixed.records.resolve(KEY, {"charged": 12})
        assert (record.status, record.response_data, record.payload_hash) == (
            COMPLETED,
            '{"charged": 12}',
            "a hash",
        )
        assert record.expiry_timestamp * 1000 == fixed.clock() + WINDOW * 1000
        answer = fixed.core.run(KEY, lambda: "never", payload_hash="a hash")
        assert (answer.value, answer.replayed) == ({"charged": 12}, True)
        assert fixed.kinds[0] is Kind.RESOLVED
        assert fixed.seen[0].row == "ROW-7"

    @pytest.mark.clause("OPS-4")
    @pytest.mark.parametrize("later", [0, LEASE, WINDOW - 1])
    def test_the_result_of_another_payload_is_refused(self, fixed: Fixed, later: int) -> None:
        fixed.crash()
        fixed.clock.advance(later)
        before = fixed.records.inspect(KEY)
        with pytest.raises(IdempotencyValidationError, match="another payload"):
            fixed.records.resolve(KEY, "x", payload_hash="another hash")
        assert fixed.records.inspect(KEY) == before
        assert fixed.records.resolve(KEY, "x", payload_hash="a hash").response_data == '"x"'
        with pytest.raises(IdempotencyValidationError, match="another payload"):
            fixed.records.resolve(KEY, "x", payload_hash="another hash")

    @pytest.mark.clause("OPS-3")
    def test_a_result_is_never_replaced(self, fixed: Fixed) -> None:
        fixed.core.run(KEY, lambda: "first")
        with pytest.raises(IdempotencyItemAlreadyExistsError, match="not replaced") as raised:
            fixed.records.resolve(KEY, "other")
        assert raised.value.old_data_record.response_data == '"first"'
        fixed.clock.advance(WINDOW)
        with pytest.raises(IdempotencyItemAlreadyExistsError):
            fixed.records.resolve(KEY, "other")
        assert fixed.records.resolve(KEY, "first").response_data == '"first"'  # asked again

    @pytest.mark.clause("OPS-3")
    def test_an_unavailable_result_is_one_too(self, fixed: Fixed) -> None:
        with pytest.raises(IdempotencySerializationError):
            fixed.core.run(KEY, lambda: {1})
        with pytest.raises(IdempotencyItemAlreadyExistsError):
            fixed.records.resolve(KEY, [1])
        found = fixed.records.inspect(KEY)
        assert found is not None
        assert found.response_data == RESULT_UNAVAILABLE

    @pytest.mark.clause("OPS-3")
    def test_nothing_is_made_where_nothing_stood(self, fixed: Fixed) -> None:
        with pytest.raises(IdempotencyItemNotFoundError, match="nothing is stuck"):
            fixed.records.resolve(KEY, "x")
        assert fixed.records.inspect(KEY) is None

    def test_what_cannot_be_stored_is_refused_before_anything_is_asked(self, fixed: Fixed) -> None:
        fixed.crash()
        before = fixed.records.inspect(KEY)
        with pytest.raises(IdempotencySerializationError, match="Nothing changed"):
            fixed.records.resolve(KEY, {1})
        assert fixed.records.inspect(KEY) == before

    def test_a_claim_of_software_without_owners(self) -> None:
        layer = InMemoryPersistenceLayer()
        fixed = Fixed(layer)
        layer._records[KEY] = Record(KEY, INPROGRESS, fixed.clock() // 1000 + 60)
        assert fixed.records.resolve(KEY, "x").owner is None
        assert fixed.core.run(KEY, lambda: "never").value == "x"

    def test_a_run_that_was_not_dead_gets_the_operators_result(self) -> None:
        fixed = Fixed(InMemoryPersistenceLayer())

        def body() -> str:
            fixed.records.resolve(KEY, "the operator's")
            return "its own"

        answer = fixed.core.run(KEY, body)
        assert (answer.value, answer.replayed) == ("the operator's", True)
        assert fixed.kinds == [Kind.CLAIMED, Kind.RESOLVED, Kind.SUPERSEDED]


class TestAsync:
    def test_async_layers_are_awaited_and_the_others_refused_by_name(self) -> None:
        core = Idempotency(AsyncInMemoryPersistenceLayer())
        for ask in (core.records.inspect, core.records.forget):
            with pytest.raises(IdempotencyConfigError, match="ainspect"):
                ask(KEY)
        with pytest.raises(IdempotencyConfigError):
            core.records.resolve(KEY, 1)

        async def main() -> None:
            async def body() -> str:
                assert (await core.records.ainspect(KEY)).status == INPROGRESS  # type: ignore[union-attr]
                await core.records.aresolve(KEY, "resolved")
                return "own"

            assert (await core.arun(KEY, body)).value == "resolved"
            assert await core.records.aforget(KEY) is not None
            assert await core.records.ainspect(KEY) is None

        asyncio.run(main())

    def test_a_blocking_layer_can_be_awaited_too(self, fixed: Fixed) -> None:
        fixed.core.run(KEY, lambda: "first")
        found = asyncio.run(fixed.records.ainspect(KEY))
        assert found is not None
        assert asyncio.run(fixed.records.aforget(KEY)) == found


class Racing:
    """An operator's request in a simulated world, one step at a time."""

    def __init__(self, world: World, engine: Engine, operator: Any) -> None:
        self._world = world
        self._steps = operator(engine)
        self.answer: Any = None
        self.failure: BaseException | None = None
        self.ended = False
        self._go(None)

    def step(self) -> None:
        if isinstance(self._command, Load):
            self._go(self._world.record)
        else:
            self._go(self._world.swap(self._command))

    def run(self) -> "Racing":
        while not self.ended:
            self.step()
        return self

    def _go(self, reply: Any) -> None:
        try:
            self._command: Any = self._steps.send(reply)
            while isinstance(self._command, Emit):
                self._world.history.append(self._command.occurrence)
                self._command = self._steps.send(None)
        except StopIteration as done:
            self.ended, self.answer = True, done.value
        except Exception as error:
            self.ended, self.failure = True, error


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def engine(world: World) -> Engine:
    config = IdempotencyConfig(
        clock=world.clock, in_progress_expires_after_seconds=5, expires_after_seconds=60, observers=[len]
    )
    return Engine(config, next_owner=world.next_owner)


@pytest.mark.clause("OPS-1", "OPS-2", "OPS-3")
class TestRaces:
    """At each point of an operator's request, a call may do all that it does."""

    @pytest.mark.parametrize("forced", [False, True])
    @pytest.mark.parametrize("steps", [0, 1])
    def test_a_claim_is_taken_over_between_the_look_and_the_deletion(
        self, world: World, engine: Engine, steps: int, forced: bool
    ) -> None:
        world.call(engine).until_running().crash()
        world.now += 5000
        operator = Racing(world, engine, _forgetting(world.KEY, even_in_progress=forced))
        for _ in range(steps):
            operator.step()
        call = world.call(engine).until_running()
        operator.run()
        if steps:  # it had looked at the claim that is no more: the new one stays
            assert isinstance(operator.failure, IdempotencyInconsistentStateError)
            assert world.record is not None
        elif not forced:
            assert isinstance(operator.failure, IdempotencyAlreadyInProgressError)
        else:
            assert operator.answer is not None
            assert world.record is None
        assert call.run("done").value == "done"
        assert world.record is not None
        assert world.record.response_data == '"done"'

    def test_a_result_is_stored_between_the_look_and_the_forced_deletion(
        self, world: World, engine: Engine
    ) -> None:
        call = world.call(engine).until_running()
        operator = Racing(world, engine, _forgetting(world.KEY, even_in_progress=True))
        operator.step()
        call.run("done")
        operator.run()
        assert isinstance(operator.failure, IdempotencyInconsistentStateError)
        assert world.call(engine).run().value == "done"
        assert broken_by_history(world.history) == []

    def test_what_another_has_removed_meanwhile_is_forgotten(self, world: World, engine: Engine) -> None:
        world.call(engine).run()
        stood = world.record
        operator = Racing(world, engine, _forgetting(world.KEY, even_in_progress=False))
        operator.step()
        world.record = None
        operator.run()
        assert (operator.failure, operator.answer) == (None, stood)

    @pytest.mark.parametrize("steps", [0, 1, 2])
    @pytest.mark.parametrize("text", ["same", "other"])
    def test_resolving_races_with_the_completion(
        self, world: World, engine: Engine, steps: int, text: str
    ) -> None:
        call = world.call(engine).until_running()
        operator = Racing(world, engine, _resolving(world.KEY, text))
        for _ in range(steps):
            operator.step()
        call.run("same")
        operator.run()
        stands = world.record
        assert stands is not None
        resolved = operator.failure is None
        assert resolved is (text == "same" or steps == 2)
        assert stands.response_data == ('"other"' if steps == 2 and text == "other" else '"same"')
        assert f'"{call.value}"' == stands.response_data  # the caller gets what every repeat will get
        if not resolved:
            assert isinstance(operator.failure, IdempotencyItemAlreadyExistsError)
        assert broken_by_history(world.history) == []

    @pytest.mark.parametrize("meanwhile", ["released", "taken over", "lapsed again"])
    def test_resolving_never_makes_or_changes_another_version(
        self, world: World, engine: Engine, meanwhile: str
    ) -> None:
        call = world.call(engine).until_running()
        operator = Racing(world, engine, _resolving(world.KEY, "the operator's"))
        operator.step()
        if meanwhile == "released":
            call.fail(ValueError())
            call.run()
        else:
            world.now += 5000
            world.call(engine).until_running()
            world.now += 5000 * (meanwhile == "lapsed again")
        before = world.record
        operator.run()
        assert isinstance(operator.failure, IdempotencyInconsistentStateError)
        assert world.record == before

    def test_inspecting_during_a_takeover_gives_one_record_or_the_other(
        self, world: World, engine: Engine
    ) -> None:
        world.call(engine).until_running().crash()
        old = world.record
        world.now += 5000
        call = world.call(engine)
        seen = []
        while not call.running:
            seen.append(Racing(world, engine, _inspecting(world.KEY)).run().answer)
            call.step()
        seen.append(Racing(world, engine, _inspecting(world.KEY)).run().answer)
        assert seen == [old, old, world.record]
        assert world.record != old
