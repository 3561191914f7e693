"""Time limits that a signal's handler raises as an ``Exception``: in every phase they are interrupts."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import jmespath
import pytest
from jmespath.functions import signature

from idemproof import (
    AsyncCompareAndSwapLayer,
    CompareAndSwapLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    idempotent_function,
)
from idemproof.drivers.interrupts import TIME_LIMITS, Interrupts
from idemproof.errors import (
    IdempotencyConfigError,
    IdempotencyError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
)
from idemproof.serialization import CustomDictSerializer
from idemproof.spec.record import COMPLETED, INPROGRESS


class Limit(Exception):  # noqa: N818 - as those of job queues
    """A time limit."""


KNOWN = [type(name, (Exception,), {"__module__": "a.queue"}) for name in sorted(TIME_LIMITS)]
DERIVED = type("Ours", (KNOWN[0],), {})

Struck = Callable[[Record | None], object]
"""Called around each request with the record that it writes."""


def claims(new: Record | None) -> bool:
    return new is not None and new.status == INPROGRESS


def completes(new: Record | None) -> bool:
    return new is not None and new.status == COMPLETED


def releases(new: Record | None) -> bool:
    return new is None


class Striking:
    """Raises once, when a request of some kind is made."""

    def __init__(self, when: Callable[[Record | None], bool], error: BaseException) -> None:
        self.when, self.error, self.left = when, error, 1

    def __call__(self, new: Record | None) -> None:
        if self.when(new) and self.left:
            self.left -= 1
            raise self.error


def quiet(new: Record | None) -> None:
    pass


class Memory(CompareAndSwapLayer):
    """A correct store with possible interrupts before and after each request."""

    def __init__(self, before: Struck = quiet, after: Struck = quiet) -> None:
        self.store = InMemoryPersistenceLayer()
        self.before, self.after = before, after

    def _load(self, key: str) -> Record | None:
        return self.store._load(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        self.before(new)
        current = self.store._swap(key, expected, new, ttl_ms)
        self.after(new)
        return current

    @property
    def record(self) -> Record | None:
        return next(iter(self.store._records.values()), None)


class AsyncMemory(AsyncCompareAndSwapLayer):
    """The same for ``async def``."""

    def __init__(self, layer: Memory) -> None:
        self._layer = layer

    async def _load(self, key: str) -> Record | None:
        return self._layer._load(key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, ttl_ms: int
    ) -> Record | None:
        return self._layer._swap(key, expected, new, ttl_ms)


class Work:
    """A function that can be called as plain or async function, and its runs."""

    def __init__(self, layer: Memory, asynchronous: bool, **more: Any) -> None:
        self.runs = 0
        self.body: Callable[[], Any] = lambda: {"run": self.runs}
        serializer = more.pop("serializer", None)
        settings = {"in_progress_expires_after_seconds": 30, "interrupts": (Limit,), **more}
        self._function = idempotent_function(
            self._run_async if asynchronous else self._run,
            data_keyword_argument="p",
            persistence_store=AsyncMemory(layer) if asynchronous else layer,
            config=IdempotencyConfig(**settings),
            output_serializer=serializer,
            key_prefix="work",
        )
        self._asynchronous = asynchronous

    def _run(self, p: Any) -> Any:
        self.runs += 1
        return self.body()

    async def _run_async(self, p: Any) -> Any:
        return self._run(p)

    def __call__(self, p: Any = 1) -> Any:
        return asyncio.run(self._function(p=p)) if self._asynchronous else self._function(p=p)

    def stopped(self, error: BaseException, p: Any = 1) -> None:
        with pytest.raises(type(error)) as caught:
            self(p)
        assert caught.value is error


@pytest.fixture(params=[False, True], ids=["def", "async def"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[Limit, *KNOWN, DERIVED], ids=lambda kind: kind.__name__)
def limit(request: pytest.FixtureRequest) -> Exception:
    error: Exception = request.param("time is up")
    return error


@pytest.fixture(params=["before", "after"])
def side(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.clause("ENG-4", "ENG-15")
def test_in_a_claim_it_is_raised_and_the_key_is_free(asynchronous: bool, limit: Exception, side: str) -> None:
    layer = Memory(**{side: Striking(claims, limit)})
    work = Work(layer, asynchronous)
    work.stopped(limit)
    assert (work.runs, layer.record) == (0, None)
    assert work() == {"run": 1}


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("how", ["cause", "context", "group"])
def test_behind_what_a_client_made_of_it_it_is_raised_all_the_same(
    asynchronous: bool, limit: Exception, how: str
) -> None:
    def wrapped(new: Record | None) -> None:
        if claims(new):
            layer.before = quiet
            try:
                raise limit
            except Exception as error:
                if how == "cause":
                    raise IdempotencyPersistenceConnectionError("away") from error
                if how == "group":
                    raise ExceptionGroup("of a client's tasks", [ValueError(), limit]) from None
                raise ConnectionError  # noqa: B904 - as a client's clean-up does

    layer = Memory(before=wrapped)
    work = Work(layer, asynchronous)
    work.stopped(limit)
    assert (work.runs, layer.record) == (0, None)


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, Limit])
def test_what_the_caller_was_handling_did_not_interrupt_the_call(
    asynchronous: bool, kind: type[BaseException]
) -> None:
    """A clean-up after an interrupt may be protected too, and its store may fail."""
    layer = Memory(before=Striking(claims, ConnectionError("once")))
    work = Work(layer, asynchronous)
    try:
        raise kind
    except kind:
        assert work() == {"run": 1}


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, Limit])
@pytest.mark.parametrize("fails", [claims, completes, releases])
def test_nor_did_it_if_the_store_stays_away(
    asynchronous: bool, kind: type[BaseException], fails: Callable[[Record | None], bool]
) -> None:
    def away(new: Record | None) -> None:
        if fails(new) or (fails is claims and new is None):
            raise ConnectionError("away")

    def declines() -> Any:
        raise ValueError("declined")

    work = Work(Memory(before=away), asynchronous, completion_timeout_seconds=0)
    if fails is releases:
        work.body = declines
    try:
        raise kind
    except kind:
        with pytest.raises(IdempotencyPersistenceLayerError):
            work()


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("selects", ["event_key_jmespath", "payload_validation_jmespath"])
def test_while_the_key_is_derived_it_is_raised_as_it_is(
    asynchronous: bool, limit: Exception, selects: str
) -> None:
    class Functions(jmespath.functions.Functions):
        @signature({"types": ["number"]})
        def _func_slow(self, number: int) -> int:
            if number == 1:
                raise limit
            return number

    layer = Memory()
    options = {"custom_functions": Functions()}
    work = Work(layer, asynchronous, **{selects: "slow(@)"}, jmespath_options=options)
    work.stopped(limit)
    assert (work.runs, layer.record) == (0, None)
    assert work(2) == {"run": 1}


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("converts", ["model_dump", "dict"])
def test_in_a_payload_s_own_conversion_it_is_raised_as_it_is(
    asynchronous: bool, limit: Exception, converts: str
) -> None:
    def convert(self: Any, **_: Any) -> Any:
        raise limit

    payload = type("Payload", (), {converts: convert})()
    work = Work(Memory(), asynchronous)
    work.stopped(limit, payload)
    assert work.runs == 0


@pytest.mark.clause("ENG-10", "ENG-12", "ENG-15")
def test_while_a_result_is_encoded_it_is_raised_once_the_result_is_stored(
    asynchronous: bool, limit: Exception
) -> None:
    left = [limit]

    def to_dict(value: Any) -> Any:
        if left:
            raise left.pop()
        return value

    serializer = CustomDictSerializer(to_dict=to_dict, from_dict=lambda stored: stored)
    work = Work(Memory(), asynchronous, serializer=serializer)
    work.stopped(limit)
    assert [work(), work.runs] == [{"run": 1}, 1]


@pytest.mark.clause("ENG-15")
def test_while_a_replay_is_decoded_it_is_raised_as_it_is(asynchronous: bool, limit: Exception) -> None:
    left: list[Exception] = []

    def from_dict(stored: Any) -> Any:
        if left:
            raise left.pop()
        return stored

    serializer = CustomDictSerializer(to_dict=lambda value: value, from_dict=from_dict)
    work = Work(Memory(), asynchronous, serializer=serializer)
    work()
    left.append(limit)
    work.stopped(limit)
    assert [work(), work.runs] == [{"run": 1}, 1]


@pytest.mark.clause("ENG-5", "ENG-12", "ENG-15")
def test_in_a_completion_it_is_raised_once_the_result_is_stored(
    asynchronous: bool, limit: Exception, side: str
) -> None:
    work = Work(Memory(**{side: Striking(completes, limit)}), asynchronous)
    work.stopped(limit)
    assert [work(), work.runs] == [{"run": 1}, 1]


@pytest.mark.clause("ENG-12", "ENG-15")
def test_in_a_release_it_is_raised_once_the_key_is_free(
    asynchronous: bool, limit: Exception, side: str
) -> None:
    layer = Memory(**{side: Striking(releases, limit)})
    work = Work(layer, asynchronous)
    declined = KeyError("declined")

    def declines() -> Any:
        raise declined

    work.body = declines
    work.stopped(limit)
    assert limit.__cause__ is declined
    assert layer.record is None


@pytest.mark.clause("ENG-11")
def test_in_the_body_it_is_the_body_s_own(asynchronous: bool, limit: Exception) -> None:
    layer = Memory()
    work = Work(layer, asynchronous)

    def runs_out() -> Any:
        raise limit

    work.body = runs_out
    work.stopped(limit)
    assert layer.record is None


@pytest.mark.clause("ENG-11", "ENG-15")
def test_in_the_body_it_is_not_hidden_by_a_release_that_fails(asynchronous: bool, limit: Exception) -> None:
    def fails(new: Record | None) -> None:
        if releases(new):
            raise ConnectionError("away")

    work = Work(Memory(before=fails), asynchronous)

    def runs_out() -> Any:
        raise limit

    work.body = runs_out
    work.stopped(limit)
    assert "may stand until its lease ends" in limit.__notes__[0]


@pytest.fixture
def alarm() -> Iterator[Callable[[float, Exception], None]]:
    """Let a real signal raise after so many seconds."""

    def set_alarm(seconds: float, error: Exception) -> None:
        def handler(*_: Any) -> None:
            raise error

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    before = signal.getsignal(signal.SIGALRM)
    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("asked", [claims, completes])
def test_a_signal_in_a_slow_request(
    asked: Callable[[Record | None], bool], alarm: Callable[[float, Exception], None]
) -> None:
    limit = Limit("time is up")

    def slow(new: Record | None) -> None:
        if asked(new):
            layer.before = quiet
            alarm(0.01, limit)
            time.sleep(60)

    layer = Memory(before=slow)
    work = Work(layer, asynchronous=False)
    work.stopped(limit)
    assert work.runs == (0 if asked is claims else 1)
    assert work() == {"run": 1}
    assert work.runs == 1


@pytest.mark.parametrize(
    "wrong",
    [Limit, [Limit], (Limit, 3), (KeyboardInterrupt,), (Exception,), (IdempotencyError,), None, "Limit"],
)
def test_only_classes_of_exceptions_can_be_declared(wrong: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="interrupts must be a tuple of classes"):
        IdempotencyConfig(interrupts=wrong)


def test_a_client_s_own_time_limit_is_none_of_the_call_s() -> None:
    try:
        try:
            raise asyncio.CancelledError
        except asyncio.CancelledError as ended:
            raise TimeoutError from ended
    except TimeoutError as error:
        timeout = error
    assert Interrupts().behind(timeout) is None
