"""Which exceptions, causes and contexts are recognized as interrupts."""

import asyncio
from itertools import pairwise

import pytest

from idemproof.drivers import interrupts
from idemproof.drivers.interrupts import TIME_LIMITS, Interrupts, any_interrupts, raise_interrupt


class Limit(Exception):  # noqa: N818 - as those of job queues
    """A time limit."""


@pytest.fixture(autouse=True)
def _nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_declared_anywhere", set())


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def raised_in(error: BaseException, context: BaseException) -> BaseException:
    error.__context__ = context
    return error


def cycle(*errors: BaseException) -> BaseException:
    for error, following in zip(errors, (*errors[1:], errors[0]), strict=True):
        error.__cause__ = error.__context__ = following
    return errors[0]


@pytest.mark.clause("ENG-15")
def test_what_any_configuration_declares_is_raised_where_all_are_served() -> None:
    limit = Limit()
    raise_interrupt(limit)  # no configuration has declared it yet
    Interrupts((Limit,))
    assert any_interrupts().includes(limit)
    with pytest.raises(Limit) as raised:
        raise_interrupt(limit)
    assert raised.value is limit


@pytest.mark.clause("ENG-15")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, type(min(TIME_LIMITS), (Exception,), {}), Limit])
def test_it_is_raised_from_wherever_it_is_among_the_causes_and_no_context_counts(
    kind: type[BaseException],
) -> None:
    interrupt = kind()
    Interrupts((Limit,))
    for error in (interrupt, raised_from(OSError(), raised_from(OSError(), interrupt))):
        with pytest.raises(type(interrupt)) as raised:
            raise_interrupt(error)
        assert raised.value is interrupt
    raise_interrupt(raised_in(OSError(), interrupt))
    raise_interrupt(raised_from(OSError(), raised_in(OSError(), interrupt)))


def test_causes_that_go_round_in_a_circle_come_to_an_end() -> None:
    raise_interrupt(cycle(OSError(), ValueError(), KeyError()))
    assert Interrupts().behind(cycle(OSError(), ValueError(), KeyError())) is None
    limit = Limit()
    assert Interrupts((Limit,)).behind(cycle(OSError(), ValueError(), limit)) is limit


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit])
def test_exceptions_that_end_a_clients_own_waits_are_not_interrupts(
    kind: type[BaseException],
) -> None:
    own = kind()
    raise_interrupt(raised_from(OSError(), own))
    assert Interrupts().behind(raised_from(OSError(), own)) is None
    assert Interrupts().behind(raised_in(OSError(), own)) is None
    assert Interrupts().behind(own) is own
    interrupt = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        raise_interrupt(raised_from(OSError(), raised_from(own, interrupt)))


def test_a_long_chain_costs_each_link_once() -> None:
    links = [ConnectionError(str(number)) for number in range(200)]
    for link, following in pairwise(links):
        link.__cause__ = link.__context__ = following  # as raise … from does: each link is reached twice
    assert len(list(interrupts._links(links[0]))) == 200
    assert list(interrupts._links(links[0])) == links
