"""Chaining of errors, and results that a body may not return."""

import functools
from collections.abc import Callable, Generator
from itertools import pairwise
from typing import Any

import pytest

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.conformance.simulator import World
from idemproof.errors import IdempotencyResultUnavailableError, IdempotencySerializationError
from idemproof.reference.attempt import append_context
from idemproof.reference.engine import Engine
from idemproof.spec.commands import RunBody


def chained(*errors: BaseException) -> BaseException:
    """Raise each error while the next one is handled, and return the first."""
    for error, earlier in pairwise(errors):
        error.__context__ = earlier
    return errors[0]


def test_what_was_earlier_is_put_behind_what_is_alone() -> None:
    error, earlier = KeyError(), ValueError()
    append_context(error, earlier)
    assert error.__context__ is earlier
    assert earlier.__context__ is None


def test_what_was_earlier_is_put_at_the_far_end_of_a_chain() -> None:
    error, middle, last, earlier = KeyError(), OSError(), RuntimeError(), ValueError()
    error.__cause__ = chained(middle, last)
    append_context(error, earlier)
    assert (error.__context__, middle.__context__, last.__context__) == (None, last, earlier)


@pytest.mark.parametrize("shared", [0, 1], ids=["the earlier itself", "what was before the earlier"])
def test_nothing_is_put_behind_a_chain_that_has_a_part_of_it(shared: int) -> None:
    known = [ValueError("earlier"), ValueError("earliest")]
    earlier = chained(*known)
    error = chained(KeyError(), OSError(), known[shared])
    append_context(error, earlier)
    assert known[0].__context__ is known[1]
    assert known[1].__context__ is None
    assert error.__context__.__context__ is known[shared]  # type: ignore[union-attr]


def test_a_chain_that_leads_back_to_itself_has_an_end_all_the_same() -> None:
    error, other, earlier = KeyError(), OSError(), ValueError()
    error.__context__, other.__context__ = other, error
    append_context(error, earlier)
    assert error.__context__ is other
    assert other.__context__ is earlier


class Traced:
    """A tracer's replacement for a generator: it has the attributes of one, but cannot be closed."""

    def __init__(self, generator: Generator[int, None, None]) -> None:
        self._generator = generator
        self.gi_code = generator.gi_code


class TracedWithItsFrame(Traced):
    def __init__(self, generator: Generator[int, None, None]) -> None:
        super().__init__(generator)
        self.gi_frame = generator.gi_frame


def traced(kind: type[Traced], layer: InMemoryPersistenceLayer) -> Callable[..., Any]:
    def numbers(data: int) -> Generator[int, None, None]:
        yield data

    @functools.wraps(numbers)
    def wrapper(data: int) -> Traced:
        return kind(numbers(data))

    config = IdempotencyConfig(in_progress_expires_after_seconds=30)
    return idempotent_function(wrapper, data_keyword_argument="data", persistence_store=layer, config=config)


@pytest.mark.clause("ENG-14")
def test_what_has_not_run_and_cannot_be_closed_frees_its_key_too() -> None:
    layer = InMemoryPersistenceLayer()
    with pytest.raises(TypeError, match="returned a TracedWithItsFrame, which has not run"):
        traced(TracedWithItsFrame, layer)(data=1)
    assert len(layer) == 0


@pytest.mark.clause("ENG-10")
def test_what_may_have_run_does_not_run_again() -> None:
    layer = InMemoryPersistenceLayer()
    work = traced(Traced, layer)
    with pytest.raises(IdempotencySerializationError):
        work(data=1)
    with pytest.raises(IdempotencyResultUnavailableError):
        work(data=1)


class LambdaContext:
    def __init__(self, left: int) -> None:
        self.left = left

    def get_remaining_time_in_millis(self) -> int:
        return self.left


def test_a_call_s_own_context_bounds_its_lease_whatever_another_registers_meanwhile(
    world: World, make_engine: Callable[..., Engine]
) -> None:
    """Handlers that share a configuration share what is registered there; each call keeps its own."""
    engine = make_engine(lambda_context=LambdaContext(7000))
    steps = engine.steps(world.KEY, None, LambdaContext(3000))
    claim = steps.send(None).new
    assert claim.in_progress_expiry_timestamp == world.now + 3000
    body = steps.send(claim)
    assert isinstance(body, RunBody)
    steps.close()
