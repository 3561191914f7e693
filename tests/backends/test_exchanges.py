"""An exchange gets each reply and each error of a client, blocking or async."""

from collections.abc import Callable
from typing import Any

import pytest

from idemproof.drivers import exchanges
from idemproof.drivers.exchanges import Ask, Exchange, class_names, perform, perform_async
from idemproof.spec.commands import Sleep
from sides import Side


class Client:
    """Returns its argument, or raises it."""

    def echo(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    def fail(self, error: BaseException) -> None:
        raise error


@pytest.fixture
def held(side: Side) -> Callable[[Exchange], Any]:
    """Perform an exchange with a blocking or an async client."""
    if not side.asynchronous:
        return lambda exchange: perform(exchange, Client())

    class Awaited(Client):
        async def echo(self, *args: Any, **kwargs: Any) -> Any:
            return super().echo(*args, **kwargs)

        async def fail(self, error: BaseException) -> None:
            super().fail(error)

    return lambda exchange: side.wait(perform_async(exchange, Awaited()))


Hold = Callable[[Exchange], Any]


def test_replies_are_sent_in_and_the_end_is_returned(held: Hold) -> None:
    def exchange() -> Exchange:
        first = yield Ask("echo", (1, 2), {"three": 3})
        second = yield Ask("echo")
        return [first, second]

    assert held(exchange()) == [((1, 2), {"three": 3}), ((), {})]


def test_an_exchange_may_ask_nothing(held: Hold) -> None:
    def exchange() -> Exchange:
        yield from ()
        return "at once"

    assert held(exchange()) == "at once"


def test_a_failure_is_thrown_in_and_may_be_survived(held: Hold) -> None:
    error = OSError("down")

    def exchange() -> Exchange:
        for _ in range(3):
            with pytest.raises(OSError, match="down") as raised:
                yield Ask("fail", (error,))
            assert raised.value is error
        return (yield Ask("echo", ("well",)))

    assert held(exchange()) == (("well",), {})


@pytest.mark.parametrize("error", [OSError("down"), KeyError("x"), AttributeError("no such command")])
def test_a_failure_that_is_not_met_is_raised_as_it_is(held: Hold, error: Exception) -> None:
    def exchange() -> Exchange:
        yield Ask("fail", (error,))

    with pytest.raises(type(error)) as raised:
        held(exchange())
    assert raised.value is error


def test_a_method_that_the_client_lacks_is_a_failure_too(held: Hold) -> None:
    def exchange() -> Exchange:
        with pytest.raises(AttributeError, match="no_such_thing"):
            yield Ask("no_such_thing")
        return "met"

    assert held(exchange()) == "met"


def test_a_layers_own_error_takes_the_place_of_the_clients(held: Hold) -> None:
    def exchange() -> Exchange:
        try:
            yield Ask("fail", (OSError("down"),))
        except OSError as error:
            raise LookupError("explained") from error

    with pytest.raises(LookupError, match="explained") as raised:
        held(exchange())
    assert isinstance(raised.value.__cause__, OSError)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_is_no_reply_of_the_client(held: Hold, interrupt: type[BaseException]) -> None:
    seen = []

    def exchange() -> Exchange:
        try:
            yield Ask("fail", (interrupt(),))
        except BaseException as error:
            seen.append(type(error))
            raise

    with pytest.raises(interrupt):
        held(exchange())
    assert seen in ([], [GeneratorExit])  # closed at most


def test_a_client_cannot_end_an_exchange(held: Hold) -> None:
    def exchange() -> Exchange:
        yield Ask("fail", (StopIteration("not the end"),))
        return "the end"

    with pytest.raises(RuntimeError, match="StopIteration"):
        held(exchange())


def test_a_sleep_is_slept_and_answered_with_nothing(held: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(exchanges.time, "sleep", slept.append)
    monkeypatch.setattr("asyncio.sleep", sleep)

    def exchange() -> Exchange:
        before = yield Ask("echo", (1,))
        return [before, (yield Sleep(1500)), (yield Sleep(1))]

    assert held(exchange()) == [((1,), {}), None, None]
    assert slept == [1.5, 0.001]


def test_an_error_is_known_by_the_names_of_its_classes() -> None:
    class OddError(KeyError): ...

    assert class_names(OddError()) == {
        "OddError",
        "KeyError",
        "LookupError",
        "Exception",
        "BaseException",
        "object",
    }
