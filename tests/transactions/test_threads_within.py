"""Completion within transactions in a thread of an async call, as in a blocking endpoint under ASGI."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from attempts import BodyError, attempt, complete
from idemproof import AsyncPostgresPersistenceLayer
from idemproof.errors import IdempotencyConfigError, IdempotencyLeaseLostError
from transaction_places import Place, psycopg_place

pytestmark = pytest.mark.once


def protect(place: Place, body: Callable[[str], Any], **settings: Any) -> Callable[[], Any]:
    """Return a call of an async function that runs ``body`` in a thread."""

    async def function(what: str) -> Any:
        return await asyncio.to_thread(body, what)

    protected = place.protect(function, **settings)
    return lambda: asyncio.run(protected(what="a"))


@pytest.mark.clause("INV-11", "TXN-8", "ROW-22")
def test_effect_and_record_are_committed_together(place: Place) -> None:
    fails = [True]

    def body(what: str) -> Any:
        with closing(place.connect()) as connection, place.transaction(connection):
            place.act(connection, what)
            answer = complete({"done": what}, connection)
            if fails and fails.pop():
                raise BodyError
        return answer

    call = protect(place, body)
    with pytest.raises(BodyError):
        call()
    assert place.effects() == []
    assert [call(), call()] == [{"done": "a"}] * 2
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])


@pytest.mark.clause("TXN-6", "ROW-23")
def test_a_lost_lease_rolls_the_effect_back(plain_place: Place) -> None:
    lost = []

    def body(what: str) -> Any:
        plain_place.steal()
        with closing(plain_place.connect()) as connection, plain_place.transaction(connection):
            plain_place.act(connection, what)
            try:
                complete(1, connection)
            except IdempotencyLeaseLostError as error:
                lost.append(error)
                raise

    with pytest.raises(IdempotencyLeaseLostError) as raised:
        protect(plain_place, body)()
    assert lost == [raised.value]
    assert plain_place.effects() == []


@pytest.mark.clause("TXN-3")
def test_the_heartbeat_is_stopped_before_the_completion(plain_place: Place) -> None:
    beats = []

    def body(what: str) -> Any:
        with closing(plain_place.connect()) as connection, plain_place.transaction(connection):
            plain_place.act(connection, what)
            beats.append(attempt()._attempt.renewal.beat._task.done())
            answer = complete(what, connection)
            beats.append(attempt()._attempt.renewal.beat._task.done())
        return answer

    assert protect(plain_place, body, renew_lease=True)() == "a"
    assert beats == [False, True]
    assert plain_place.effects() == ["a"]


def test_an_async_layer_is_asked_on_its_event_loop(dsn: str) -> None:
    place = psycopg_place(dsn)
    place.layer.close()
    place.layer = AsyncPostgresPersistenceLayer(dsn)
    outcomes = []

    def body(what: str) -> Any:
        with closing(place.connect()) as connection, place.transaction(connection):
            place.act(connection, what)
            if not outcomes:
                place.steal()
            outcomes.append(complete(what, connection))

    call = protect(place, body)
    with pytest.raises(IdempotencyLeaseLostError):
        call()
    assert outcomes == []


@pytest.mark.clause("TXN-5")
def test_on_the_event_loop_itself_it_is_awaited(plain_place: Place) -> None:
    async def function(what: str) -> Any:
        with closing(plain_place.connect()) as connection, plain_place.transaction(connection):
            plain_place.act(connection, what)
            return complete(what, connection)

    with pytest.raises(IdempotencyConfigError, match="begins with an a"):
        asyncio.run(plain_place.protect(function)(what="a"))
    assert plain_place.effects() == []
