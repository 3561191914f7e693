"""The question of ``Idempotency``: per call without arguments, or for all keys with the key."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from four_methods import FourMethods
from idemproof import (
    NOT_DONE,
    Answer,
    AsyncInMemoryPersistenceLayer,
    Idempotency,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Kind,
    Occurrence,
)
from idemproof.errors import (
    IdempotencyConfigError,
    IdempotencyUnknownOutcomeError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from idemproof.testing import MovableClock, in_memory

LEASE = 10


class Died(BaseException):
    """A worker that ends in the middle: an interrupt."""


class Declined(Exception):  # noqa: N818 - it reads as what happened
    """An answer of the provider."""


class Provider:
    """Charges keys, and answers about them, for calls in blocking code or on an event loop."""

    def __init__(self, *, asynchronous: bool, by: str, **settings: Any) -> None:
        self.clock = MovableClock()
        self.charges: list[str] = []
        self.questions: list[str] = []
        self.seen: list[Occurrence] = []
        self.asynchronous = asynchronous
        self.by = by
        self.answer: Callable[[str], Any] = lambda key: f"charged {key}" if key in self.charges else NOT_DONE
        layer = AsyncInMemoryPersistenceLayer() if asynchronous else InMemoryPersistenceLayer()
        config = IdempotencyConfig(
            clock=self.clock,
            observers=[self.seen.append],
            in_progress_expires_after_seconds=LEASE,
            **settings,
        )
        ask: Any = self.alater if asynchronous else self.look_up
        self.core = Idempotency(layer, config, on_takeover=ask if by == "constructor" else None)

    def look_up(self, key: str) -> Any:
        self.questions.append(key)
        return self.answer(key)

    async def alater(self, key: str) -> Any:
        await asyncio.sleep(0)
        return self.look_up(key)

    def charge(self, key: str, *, fails: BaseException | None = None, late: bool = False) -> str:
        if fails is not None and not late:
            raise fails
        self.charges.append(key)
        if fails is not None:
            raise fails
        return f"charged {key}"

    def pay(self, key: str = "o1", **how: Any) -> Answer[Any]:
        options: dict[str, Any] = {}
        if not self.asynchronous:
            if self.by == "call":
                options["on_takeover"] = lambda: self.look_up(key)
            return self.core.run(key, lambda: self.charge(key, **how), **options)

        async def body() -> str:
            await asyncio.sleep(0)
            return self.charge(key, **how)

        if self.by == "call":
            options["on_takeover"] = lambda: self.alater(key)
        return asyncio.run(self.core.arun(key, body, **options))

    def die(self, *, after: bool) -> None:
        with pytest.raises(Died):
            self.pay(fails=Died(), late=after)
        self.seen.clear()

    def record(self) -> Record | None:
        records = self.core.records
        return asyncio.run(records.ainspect("o1")) if self.asynchronous else records.inspect("o1")


@pytest.fixture(params=[False, True], ids=["run", "arun"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["call", "constructor"])
def make(request: pytest.FixtureRequest, asynchronous: bool) -> Callable[..., Provider]:
    return functools.partial(Provider, asynchronous=asynchronous, by=request.param)


@pytest.mark.clause("TAKE-3", "TAKE-5", "ROW-18")
def test_what_has_happened_is_found_and_not_repeated(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.die(after=True)
    assert provider.pay().value == "charged o1"
    again = provider.pay()
    assert (again.value, again.replayed) == ("charged o1", True)
    assert (provider.charges, provider.questions) == (["o1"], ["o1"])
    kinds = [(each.kind, each.row) for each in provider.seen]
    assert kinds == [(Kind.TOOK_OVER, "ROW-18"), (Kind.COMPLETED, "ROW-7"), (Kind.REPLAYED, "ROW-5")]


@pytest.mark.clause("TAKE-5")
def test_what_has_not_happened_is_done(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.die(after=False)
    answer = provider.pay()
    assert (answer.value, answer.replayed) == ("charged o1", False)
    assert (provider.charges, provider.questions) == (["o1"], ["o1"])


@pytest.mark.clause("TAKE-4", "TAKE-5", "ROW-19")
def test_a_question_that_raises_is_asked_again_by_the_next_call(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.die(after=True)
    answer, trouble = provider.answer, ConnectionError("the provider is down")

    def fail(_: str) -> Any:
        raise trouble

    provider.answer = fail
    with pytest.raises(ConnectionError) as raised:
        provider.pay()
    assert raised.value is trouble
    record = provider.record()
    assert record is not None
    assert record.status == INPROGRESS
    provider.answer = answer
    assert provider.pay().value == "charged o1"
    assert (provider.charges, len(provider.questions)) == (["o1"], 2)


@pytest.mark.clause("TAKE-6", "ROW-19")
def test_what_a_body_raises_leaves_the_key_to_the_question(make: Callable[..., Provider]) -> None:
    provider = make(released_errors=(Declined,))
    with pytest.raises(ValueError, match="timeout"):
        provider.pay(fails=ValueError("timeout"), late=True)
    assert provider.pay().value == "charged o1"
    assert provider.questions == ["o1"]
    with pytest.raises(Declined):
        provider.pay("o2", fails=Declined())
    assert provider.pay("o2").value == "charged o2"
    assert provider.questions == ["o1"]


def test_a_final_error_is_an_answer(make: Callable[..., Provider]) -> None:
    provider = make(final_errors=(Declined,))
    provider.die(after=False)

    def decline(_: str) -> Any:
        raise Declined("o1")

    provider.answer = decline
    for _ in range(2):
        with pytest.raises(Declined):
            provider.pay()
    assert (provider.charges, provider.questions) == ([], ["o1"])


def test_a_question_for_one_call_replaces_the_other_one(asynchronous: bool) -> None:
    provider = Provider(asynchronous=asynchronous, by="constructor")
    provider.die(after=True)
    if asynchronous:

        async def answer() -> str:
            return "found"

        found = asyncio.run(provider.core.arun("o1", answer, on_takeover=answer))
    else:
        found = provider.core.run("o1", lambda: "found", on_takeover=lambda: "found")
    assert (found.value, found.replayed, provider.questions) == ("found", False, [])


def test_a_call_without_a_question_does_as_the_configuration_says() -> None:
    provider = Provider(asynchronous=False, by="call", on_takeover="refuse")
    provider.die(after=True)
    with pytest.raises(IdempotencyUnknownOutcomeError):
        provider.core.run("o1", lambda: provider.charge("o1"))
    assert provider.pay().value == "charged o1"
    assert (provider.charges, provider.questions) == (["o1"], ["o1"])


def test_an_event_loop_may_ask_a_plain_function() -> None:
    provider = Provider(asynchronous=True, by="call")
    provider.die(after=True)

    async def body() -> str:
        raise NotImplementedError

    found = asyncio.run(provider.core.arun("o1", body, on_takeover=lambda: "found"))
    assert found.value == "found"


def test_an_answer_after_the_claim_was_lost_is_in_the_error(make: Callable[..., Provider]) -> None:
    provider = make()
    provider.die(after=True)
    store: Any = provider.core._core.layer
    rows = getattr(store, "_layer", store)._records

    def answer(key: str) -> str:
        # Another worker takes over and completes meanwhile.
        rows[key] = rows[key]._replace(
            status=COMPLETED, owner="other", response_data='"theirs"', in_progress_expiry_timestamp=None
        )
        return "mine"

    provider.answer = answer
    found = provider.pay()
    assert (found.value, found.replayed) == ("theirs", True)
    assert provider.charges == ["o1"]


async def awaited() -> Any:
    raise NotImplementedError


def generated() -> Any:
    yield


@pytest.mark.clause("TAKE-7")
@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda key: key, r"takes no arguments\. .* has the parameters \(key\)"),
        (lambda *, key: key, "takes no arguments"),
        (awaited, "on_takeover is async: run cannot await awaited"),
        (functools.partial(awaited), "on_takeover is async"),
        (generated, "is a generator"),
        (dict, "must be a function that takes no arguments"),
        (5, "must be a function that takes no arguments, not 5"),
        (NOT_DONE, "must be a function"),
        ("refuse", "is set in IdempotencyConfig"),
    ],
)
def test_a_question_that_does_not_fit_is_refused_before_anything_runs(ask: Any, says: str) -> None:
    layer = InMemoryPersistenceLayer()
    with pytest.raises(IdempotencyConfigError, match=says):
        Idempotency(layer).run("o1", lambda: pytest.fail("it ran"), on_takeover=ask)
    assert len(layer) == 0


@pytest.mark.clause("TAKE-7")
@pytest.mark.parametrize("ask", [lambda: None, lambda key, order: None, generated, dict, 5, "refuse"])
def test_a_question_that_takes_no_key_is_refused_by_the_constructor(ask: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="on_takeover"):
        Idempotency(InMemoryPersistenceLayer(), on_takeover=ask)


def test_an_async_question_for_all_keys_is_for_event_loops() -> None:
    async def look_up(key: str) -> Any:
        raise NotImplementedError(key)

    layer = InMemoryPersistenceLayer()
    core = Idempotency(layer, on_takeover=look_up)
    with pytest.raises(IdempotencyConfigError, match="Await arun"):
        core.run("o1", lambda: pytest.fail("it ran"))
    assert len(layer) == 0


def test_a_function_with_more_parameters_that_have_defaults_is_accepted() -> None:
    core = Idempotency(InMemoryPersistenceLayer(), on_takeover=lambda key, *more, timeout=5: (more, timeout))
    assert core.run("o1", lambda: 1, on_takeover=lambda timeout=5: timeout).value == 1


@pytest.mark.clause("TAKE-7")
def test_a_layer_that_takes_over_by_itself_is_refused() -> None:
    layer: Any = FourMethods()
    with pytest.raises(IdempotencyConfigError, match="owner tokens"):
        Idempotency(layer, on_takeover=lambda key: key)
    with pytest.raises(IdempotencyConfigError, match="owner tokens"):
        Idempotency(layer).run("o1", lambda: pytest.fail("it ran"), on_takeover=lambda: 1)


def test_a_question_is_asked_in_a_test_in_memory_too() -> None:
    def die() -> str:
        raise Died

    core = Idempotency(InMemoryPersistenceLayer())
    with in_memory():
        with pytest.raises(Died):
            core.run("o1", die, on_takeover=lambda: "found")
        assert core.run("o1", lambda: "charged", on_takeover=lambda: "found").value == "found"
    assert core.run("o1", lambda: "charged", on_takeover=lambda: "found").value == "charged"
