"""Lambda durable executions, under the SDK's own test runner: suspended bodies keep their claims."""

import json
import runpy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from aws_durable_execution_sdk_python import DurableContext, durable_execution
from aws_durable_execution_sdk_python.config import Duration, StepConfig
from aws_durable_execution_sdk_python.exceptions import (
    BackgroundThreadError,
    InvocationError,
    SuspendExecution,
)
from aws_durable_execution_sdk_python.lambda_service import InvocationStatus
from aws_durable_execution_sdk_python.retries import RetryDecision
from aws_durable_execution_sdk_python_testing import DurableFunctionTestRunner

from idemproof import (
    BasePersistenceLayer,
    DataRecord,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    SQLitePersistenceLayer,
    idempotent,
    idempotent_function,
)
from idemproof.drivers.asynchronous import drive_async
from idemproof.drivers.blocking import drive
from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyConfigError
from idemproof.reference.durable import _DRIVERS, SDK
from idemproof.spec.record import COMPLETED, INPROGRESS, deadline_ms, execution_of
from idemproof.testing import MovableClock, use_layer

EVENT = '{"order": 7}'
PATIENCE = 60
YEAR_MS = 366 * 24 * 3600 * 1000

pytestmark = [pytest.mark.once, pytest.mark.clause("DUR-1", "DUR-3", "DUR-4")]


class Shop:
    """A durable handler that charges in a step, waits for a callback, and confirms; and its executions."""

    def __init__(self, layer: BasePersistenceLayer, **config: Any) -> None:
        self.layer = layer
        self.clock = MovableClock()
        self.config = IdempotencyConfig(clock=self.clock, **config)
        self.charges: list[Any] = []
        self.confirmed: list[Any] = []
        self.invocations: dict[str, int] = {}
        self._ended = threading.Condition()
        self.protected = idempotent(self.handle, persistence_store=layer, config=self.config)

    def handle(self, event: Any, context: DurableContext) -> Any:
        charge = context.step(lambda _: self.charge(event), name="charge")
        approval = context.create_callback(name="approval").result()
        context.step(lambda _: self.confirmed.append(event), name="confirm")
        return {"charge": charge, "approval": approval}

    def charge(self, event: Any) -> int:
        self.charges.append(event)
        return len(self.charges)

    @contextmanager
    def runner(self) -> Iterator[DurableFunctionTestRunner]:
        handler = durable_execution(self.protected)

        def counted(event: Any, context: Any) -> Any:
            try:
                return handler(event, context)
            finally:
                with self._ended:
                    name = event.durable_execution_arn
                    self.invocations[name] = self.invocations.get(name, 0) + 1
                    self._ended.notify_all()

        with DurableFunctionTestRunner(counted, poll_interval=0.01) as runner:
            yield runner
        runner._scheduler._loop.close()  # which the runner leaves open

    def wait_until_suspended(self, execution: str, invocations: int = 1) -> None:
        """Wait until so many invocations of ``execution`` have ended."""
        with self._ended:
            assert self._ended.wait_for(lambda: self.invocations.get(execution, 0) >= invocations, PATIENCE)

    @property
    def record(self) -> Record | None:
        records = getattr(self.layer, "_records", {})
        return next(iter(records.values()), None)


@pytest.fixture(params=["memory", "sqlite"])
def layer(request: pytest.FixtureRequest, tmp_path: Any) -> BasePersistenceLayer:
    return InMemoryPersistenceLayer() if request.param == "memory" else SQLitePersistenceLayer(tmp_path / "r")


@pytest.fixture
def memory() -> InMemoryPersistenceLayer:
    return InMemoryPersistenceLayer()


def start(runner: DurableFunctionTestRunner, name: str, **settings: Any) -> str:
    return runner.run_async(EVENT, execution_name=name, **settings)


def test_a_duplicate_during_the_wait_charges_nothing_and_later_ones_get_the_answer(
    layer: BasePersistenceLayer,
) -> None:
    shop = Shop(layer)
    with shop.runner() as runner:
        first = start(runner, "first")
        callback = runner.wait_for_callback(first, timeout=PATIENCE)
        shop.wait_until_suspended(first)
        duplicate = runner.run(EVENT, execution_name="duplicate")
        assert duplicate.status is InvocationStatus.FAILED
        assert duplicate.error is not None
        assert str(duplicate.error.type).endswith("IdempotencyAlreadyInProgressError")
        runner.send_callback_success(callback, b'"yes"')
        answer = runner.wait_for_result(first, timeout=PATIENCE)
        assert answer.status is InvocationStatus.SUCCEEDED
        late = runner.run(EVENT, execution_name="late")
    assert (late.status, late.result) == (InvocationStatus.SUCCEEDED, answer.result)
    assert len(shop.charges) == len(shop.confirmed) == 1
    assert shop.invocations[first] == 2


@pytest.mark.clause("DUR-5")
@pytest.mark.parametrize(
    ("config", "lease_ms"),
    [
        ({}, YEAR_MS),
        ({"in_progress_expires_after_seconds": 30}, YEAR_MS),
        ({"execution_timeout_seconds": 7200.5}, 7_200_500),
    ],
)
def test_the_lease_is_that_of_the_execution_and_is_kept_when_it_resumes(
    memory: InMemoryPersistenceLayer, config: dict[str, Any], lease_ms: int
) -> None:
    shop = Shop(memory, **config)
    with shop.runner() as runner:
        began = shop.clock()
        first = start(runner, "first")
        callback = runner.wait_for_callback(first, timeout=PATIENCE)
        shop.wait_until_suspended(first)
        claimed = shop.record
        assert claimed is not None
        assert (claimed.status, deadline_ms(claimed)) == (INPROGRESS, began + lease_ms)
        assert claimed.expiry_timestamp * 1000 >= began + lease_ms
        assert str(execution_of(claimed.owner)).startswith(f"{first}/")
        shop.clock.advance(3600)  # beyond the window and the invocation's time
        assert runner.run(EVENT, execution_name="duplicate").status is InvocationStatus.FAILED
        current = shop.record
        assert current is claimed
        runner.send_callback_success(callback)
        assert runner.wait_for_result(first, timeout=PATIENCE).status is InvocationStatus.SUCCEEDED
    done = shop.record
    assert done is not None
    assert (done.status, len(shop.charges)) == (COMPLETED, 1)
    assert execution_of(done.owner) == execution_of(claimed.owner)
    assert done.owner != claimed.owner


def test_a_failure_outside_of_steps_frees_the_key_and_one_that_is_retried_does_not(
    memory: InMemoryPersistenceLayer,
) -> None:
    tries: list[int] = []
    fail = [True]

    def handle(event: Any, context: DurableContext) -> Any:
        def flaky(_: Any) -> str:
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionError("again")
            return "sent"

        retry = StepConfig(
            retry_strategy=lambda _error, _attempt: RetryDecision.retry(Duration.from_seconds(1))
        )
        sent = context.step(flaky, name="flaky", config=retry)
        assert memory._load(next(iter(memory._records))) is not None
        if fail.pop():
            raise ValueError("declined")
        return sent

    shop = Shop(memory)
    shop.protected = idempotent(handle, persistence_store=memory, config=shop.config)
    with shop.runner() as runner:
        refused = runner.run(EVENT, execution_name="first")
        assert refused.error is not None
        assert refused.error.type == "ValueError"
        assert len(memory) == 0
        fail[:] = [False]
        again = runner.run(EVENT, execution_name="second")
    assert again.status is InvocationStatus.SUCCEEDED
    assert len(tries) == 4


def test_a_step_that_fails_for_good_frees_the_key(memory: InMemoryPersistenceLayer) -> None:
    def handle(event: Any, context: DurableContext) -> Any:
        def fails(_: Any) -> None:
            raise ValueError("never")

        context.step(fails, config=StepConfig(retry_strategy=lambda *_: RetryDecision.no_retry()))

    shop = Shop(memory)
    shop.protected = idempotent(handle, persistence_store=memory, config=shop.config)
    with shop.runner() as runner:
        assert runner.run(EVENT).status is InvocationStatus.FAILED
    assert len(memory) == 0


class Declined(Exception):  # noqa: N818 - as an application may call it
    pass


@pytest.mark.clause("FIN-1", "FIN-3")
def test_a_final_error_of_an_execution_is_its_answer(layer: BasePersistenceLayer) -> None:
    shop = Shop(layer, final_errors=(Declined,))

    def handle(event: Any, context: DurableContext) -> Any:
        context.step(lambda _: shop.charge(event), name="charge")
        context.create_callback(name="approval").result()
        raise Declined("no", len(shop.charges))

    shop.protected = idempotent(handle, persistence_store=layer, config=shop.config)
    with shop.runner() as runner:
        first = start(runner, "first")
        callback = runner.wait_for_callback(first, timeout=PATIENCE)
        runner.send_callback_success(callback)
        declined = runner.wait_for_result(first, timeout=PATIENCE)
        late = runner.run(EVENT, execution_name="late")
    for answer in (declined, late):
        assert answer.status is InvocationStatus.FAILED
        assert answer.error is not None
        assert str(answer.error.type).endswith("Declined")
        assert answer.error.message == "('no', 1)"
    assert shop.charges == [{"order": 7}]


def test_a_function_that_waits_inside_of_an_execution_keeps_its_claim(layer: BasePersistenceLayer) -> None:
    shop = Shop(layer)
    plain = idempotent_function(
        lambda order, context: shop.handle(order, context),  # noqa: PLW0108 - a function, not a method
        data_keyword_argument="order",
        persistence_store=layer,
        config=shop.config,
        key_prefix="pay",
    )
    shop.protected = lambda event, context: plain(order=event["order"], context=context)
    with shop.runner() as runner:
        first = start(runner, "first")
        callback = runner.wait_for_callback(first, timeout=PATIENCE)
        shop.wait_until_suspended(first)
        assert runner.run(EVENT, execution_name="duplicate").status is InvocationStatus.FAILED
        with pytest.raises(IdempotencyAlreadyInProgressError):  # outside of any execution
            plain(order=7, context=None)
        runner.send_callback_success(callback)
        assert runner.wait_for_result(first, timeout=PATIENCE).status is InvocationStatus.SUCCEEDED
    assert shop.charges == [7]
    assert plain(order=7, context=None) == {"charge": 1, "approval": None}


def test_functions_inside_of_a_protected_handler_and_of_its_steps(memory: InMemoryPersistenceLayer) -> None:
    sent: list[str] = []
    shop = Shop(memory)

    @idempotent_function(data_keyword_argument="to", persistence_store=memory, config=shop.config)
    def send(to: str) -> int:
        sent.append(to)
        return len(sent)

    def handle(event: Any, context: DurableContext) -> Any:
        before = send(to="before")
        step = context.step(lambda _: send(to="step"))
        context.wait(Duration.from_seconds(5))
        return [before, step, send(to="after")]

    shop.protected = idempotent(handle, persistence_store=memory, config=shop.config)
    with shop.runner() as runner:
        answer = runner.run(EVENT)
    assert (answer.status, answer.result) == (InvocationStatus.SUCCEEDED, "[1, 2, 3]")
    assert sent == ["before", "step", "after"]
    assert all(record.status == COMPLETED for record in memory._records.values())


def test_branches_that_want_one_key_at_once_do_not_share_it(memory: InMemoryPersistenceLayer) -> None:
    charges: list[int] = []
    shop = Shop(memory)
    both = threading.Barrier(2)

    @idempotent_function(data_keyword_argument="order", persistence_store=memory, config=shop.config)
    def pay(order: int, context: DurableContext) -> int:
        charge = context.step(lambda _: charges.append(order) or len(charges))
        context.wait(Duration.from_seconds(1))
        return int(charge)

    def branch(context: DurableContext) -> Any:
        if not context.is_replaying():
            both.wait(PATIENCE)
        try:
            return pay(order=1, context=context)
        except IdempotencyAlreadyInProgressError:
            return "refused"

    def handle(event: Any, context: DurableContext) -> Any:
        return sorted(map(str, context.parallel([branch, branch]).get_results()))

    shop.protected = handle
    with shop.runner() as runner:
        answer = runner.run(EVENT)
    assert answer.status is InvocationStatus.SUCCEEDED
    assert charges == [1]


def test_branches_that_wait_each_resume_their_own_claim(memory: InMemoryPersistenceLayer) -> None:
    charges: list[int] = []
    shop = Shop(memory)

    @idempotent_function(data_keyword_argument="order", persistence_store=memory, config=shop.config)
    def pay(order: int, context: DurableContext) -> int:
        context.step(lambda _: charges.append(order))
        context.wait(Duration.from_seconds(1))
        return order

    def handle(event: Any, context: DurableContext) -> Any:
        branches: list[Callable[[DurableContext], Any]] = [
            lambda branch, order=order: branch.run_in_child_context(
                lambda child: pay(order=order, context=child)
            )
            for order in range(4)
        ]
        return sorted(context.parallel(branches).get_results())

    shop.protected = handle
    with shop.runner() as runner:
        answer = runner.run(EVENT)
    assert answer.result == "[0, 1, 2, 3]"
    assert sorted(charges) == [0, 1, 2, 3]
    assert all(record.status == COMPLETED for record in memory._records.values())


def test_a_call_of_its_own_key_inside_of_a_body_is_refused_not_resumed(
    memory: InMemoryPersistenceLayer,
) -> None:
    shop = Shop(memory)
    runs: list[int] = []

    @idempotent_function(data_keyword_argument="n", persistence_store=memory, config=shop.config)
    def again(n: int) -> int:
        runs.append(n)
        return int(again(n=n))

    shop.protected = lambda event, context: again(n=1)
    with shop.runner() as runner:
        answer = runner.run(EVENT)
    assert answer.error is not None
    assert str(answer.error.type).endswith("IdempotencyAlreadyInProgressError")
    assert runs == [1]


@pytest.mark.parametrize(
    ("failure", "kept"),
    [
        (SuspendExecution("wait"), True),
        (InvocationError("invoke again"), True),
        (BackgroundThreadError("lost", InvocationError("invoke again")), True),
        (BackgroundThreadError("lost", RuntimeError("disk")), True),
        (SystemExit(1), True),
        (KeyboardInterrupt(), True),
        (ValueError("declined"), False),
        (type("NotRetried", (InvocationError,), {"is_retryable": lambda _: False})("no"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_claim_is_kept_if_and_only_if_the_execution_goes_on(
    memory: InMemoryPersistenceLayer, failure: BaseException, kept: bool
) -> None:
    shop = Shop(memory)
    left: list[int] = []

    def handle(event: Any, context: DurableContext) -> Any:
        try:
            shop.protected_body(event, context)
        except BaseException:
            left.append(len(memory))
            raise ValueError("seen") from None

    def body(event: Any, context: DurableContext) -> Any:
        raise failure

    shop.protected_body = idempotent(body, persistence_store=memory, config=shop.config)  # type: ignore[attr-defined]
    shop.protected = handle
    with shop.runner() as runner:
        runner.run(EVENT)
    assert left == [int(kept)]


def test_a_claim_that_is_resumed_is_not_released_when_the_store_fails(
    memory: InMemoryPersistenceLayer,
) -> None:
    class Failing(InMemoryPersistenceLayer):
        fails = False

        def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Record | None:
            current = super()._swap(key, expected, new, ttl_ms)
            if self.fails and expected is not None and new is not None:
                raise ConnectionError("applied, and not answered")
            return current

    layer = Failing()
    shop = Shop(layer)
    with shop.runner() as runner:
        first = start(runner, "first")
        callback = runner.wait_for_callback(first, timeout=PATIENCE)
        shop.wait_until_suspended(first)
        layer.fails = True
        runner.send_callback_success(callback)
        assert runner.wait_for_result(first, timeout=PATIENCE).status is InvocationStatus.FAILED
        layer.fails = False
        assert runner.run(EVENT, execution_name="duplicate").status is InvocationStatus.FAILED
    assert len(shop.charges) == 1
    assert shop.record is not None


def test_protection_outside_of_the_durable_handler_is_refused_by_name(
    memory: InMemoryPersistenceLayer,
) -> None:
    @durable_execution
    def handler(event: Any, context: DurableContext) -> None: ...

    @durable_execution(boto3_client=object())
    def configured(event: Any, context: DurableContext) -> None: ...

    for durable in (handler, configured):
        with pytest.raises(TypeError, match="below @durable_execution"):
            idempotent(durable, persistence_store=memory)
        with pytest.raises(TypeError, match="below @durable_execution"):
            idempotent_function(durable, data_keyword_argument="event", persistence_store=memory)


@pytest.mark.clause("DUR-6")
def test_a_layer_of_four_methods_is_refused_before_anything_runs() -> None:
    class Four(BasePersistenceLayer):
        def __init__(self) -> None:
            self.asked: list[str] = []

        def _get_record(self, idempotency_key: str) -> DataRecord:
            raise AssertionError

        def _put_record(self, data_record: DataRecord) -> None:
            self.asked.append("put")

        def _update_record(self, data_record: DataRecord) -> None:
            self.asked.append("update")

        def _delete_record(self, data_record: DataRecord) -> None:
            self.asked.append("delete")

    layer = Four()
    shop = Shop(layer)
    with shop.runner() as runner:
        refused = runner.run(EVENT)
    assert refused.error is not None
    assert str(refused.error.type).endswith("IdempotencyConfigError")
    assert "keeps no owner tokens" in str(refused.error.message)
    assert (shop.charges, layer.asked) == ([], [])
    plain = idempotent_function(
        lambda p: p, data_keyword_argument="p", persistence_store=layer, key_prefix="plain"
    )
    assert plain(p=1) == 1  # outside of an execution it works as before


def test_an_execution_whose_last_invocation_was_lost_gets_its_own_answer(
    memory: InMemoryPersistenceLayer,
) -> None:
    lost = [True]
    shop = Shop(memory)
    inner = shop.protected

    def handle(event: Any, context: DurableContext) -> Any:
        answer = inner(event, context)
        if lost and lost.pop():
            raise InvocationError("the host invokes it again")
        return answer

    shop.protected = handle
    with shop.runner() as runner:
        first = start(runner, "first")
        runner.send_callback_success(runner.wait_for_callback(first, timeout=PATIENCE), b'"yes"')
        answer = runner.wait_for_result(first, timeout=PATIENCE)
    assert answer.status is InvocationStatus.SUCCEEDED
    assert len(shop.charges) == len(shop.confirmed) == 1


def test_the_example_of_the_page_charges_once(memory: InMemoryPersistenceLayer, monkeypatch: Any) -> None:
    path = Path(__file__).parents[2] / "examples" / "services" / "durable_order.py"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    names = runpy.run_path(str(path))
    event = '{"order_id": "A1"}'
    with use_layer(memory), DurableFunctionTestRunner(names["handler"], poll_interval=0.01) as runner:
        first = runner.run_async(event, execution_name="first")
        callback = runner.wait_for_callback(first, name="approval", timeout=PATIENCE)
        assert runner.run(event, execution_name="duplicate").status is InvocationStatus.FAILED
        runner.send_callback_success(callback, b'"yes"')
        answer = runner.wait_for_result(first, timeout=PATIENCE)
        late = runner.run(event, execution_name="late")
    runner._scheduler._loop.close()
    assert (late.status, late.result) == (InvocationStatus.SUCCEEDED, answer.result)
    assert names["charged"] == ["A1"]


@pytest.mark.clause("DUR-7")
@pytest.mark.parametrize("nested", [False, True])
def test_what_follows_a_function_that_is_done_takes_the_operations_after_its_own(
    memory: InMemoryPersistenceLayer, nested: bool
) -> None:
    done: list[str] = []
    shop = Shop(memory)

    def step(context: DurableContext, what: str) -> str:
        return context.step(lambda _: done.append(what) or what)

    @idempotent_function(data_keyword_argument="order", persistence_store=memory, config=shop.config)
    def pay(order: int, context: DurableContext) -> list[str]:
        first = step(context, f"charge {order}")
        context.wait(Duration.from_seconds(3))
        return [first, step(context, f"receipt {order}")]

    @idempotent_function(data_keyword_argument="to", persistence_store=memory, config=shop.config)
    def notify(to: str) -> str:  # uses no operation, so it is not run again
        done.append(to)
        return to

    def handle(event: Any, context: DurableContext) -> Any:
        paid = pay(1, context)
        notified = notify(to="customer")
        context.wait(Duration.from_seconds(3))
        shipped = step(context, "ship")
        again = context.run_in_child_context(lambda child: pay(order=2, context=child))
        context.wait(Duration.from_seconds(3))
        return [paid, notified, shipped, again, pay(order=1, context=context), step(context, "end")]

    shop.protected = idempotent(handle, persistence_store=memory, config=shop.config) if nested else handle
    with shop.runner() as runner:
        answer = runner.run(EVENT)
        assert answer.status is InvocationStatus.SUCCEEDED, answer.error
        late = runner.run(EVENT, execution_name="late") if nested else answer
    assert late.result == answer.result
    assert json.loads(str(answer.result)) == [
        ["charge 1", "receipt 1"],
        "customer",
        "ship",
        ["charge 2", "receipt 2"],
        ["charge 1", "receipt 1"],
        "end",
    ]
    assert done == ["charge 1", "receipt 1", "customer", "ship", "charge 2", "receipt 2", "end"]


@pytest.mark.clause("DUR-6")
def test_an_override_that_keeps_no_owner_tokens_is_refused_before_the_body() -> None:
    class Overriding(InMemoryPersistenceLayer):
        def __init__(self) -> None:
            super().__init__()
            self.rows: dict[str, DataRecord] = {}

        def _get_record(self, idempotency_key: str) -> DataRecord:
            return self.rows[idempotency_key]

        def _put_record(self, data_record: DataRecord) -> None:
            self.rows[data_record.idempotency_key] = data_record

        def _delete_record(self, data_record: DataRecord) -> None:
            del self.rows[data_record.idempotency_key]

    layer = Overriding()
    shop = Shop(layer)
    with shop.runner() as runner:
        refused = runner.run(EVENT)
    assert refused.error is not None
    assert "no owner token" in str(refused.error.message)
    assert (shop.charges, layer.rows) == ([], {})


@pytest.mark.parametrize("mock", [MagicMock, lambda: MagicMock(spec=BasePersistenceLayer)])
def test_over_a_mock_the_body_runs(mock: Callable[[], Any]) -> None:
    shop = Shop(mock())
    with shop.runner() as runner:
        execution = start(runner, "first")
        callback = runner.wait_for_callback(execution, timeout=PATIENCE)
        shop.wait_until_suspended(execution)
        runner.send_callback_success(callback, b'"yes"')
        answer = runner.wait_for_result(execution, timeout=PATIENCE)
    assert answer.status is InvocationStatus.SUCCEEDED
    assert len(shop.charges) == len(shop.confirmed) == 1


@pytest.mark.clause("DUR-3")
def test_calls_around_are_counted_whichever_driver_makes_them() -> None:
    assert {(each.__module__, each.__name__) for each in (drive, drive_async)} == _DRIVERS


@pytest.mark.clause("DUR-3")
def test_a_context_without_a_count_of_operations_is_refused_before_anything_runs(
    memory: InMemoryPersistenceLayer,
) -> None:
    context = type("DurableContext", (), {"__module__": f"{SDK}.context"})()
    runs: list[Any] = []
    once = idempotent_function(
        lambda context, order: runs.append(order), data_keyword_argument="order", persistence_store=memory
    )
    with pytest.raises(IdempotencyConfigError, match="does not count the operations of a DurableContext"):
        once(context, 7)
    assert (runs, len(memory)) == ([], 0)
