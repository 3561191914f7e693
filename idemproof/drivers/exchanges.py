"""Exchanges with a store's client: written once as generators, for blocking and for async clients.

Such a generator yields what to ask the client, and is sent the reply or thrown the client's error. It
returns what the layer answers, or raises the layer's own error. It knows a store's requests and replies, and
no clock.
"""

import time
from collections.abc import Generator, Mapping
from typing import Any, NamedTuple

from ..spec.commands import Sleep

_NOTHING: Mapping[str, Any] = {}


class Ask(NamedTuple):
    """Call ``method`` of the client."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = _NOTHING


Exchange = Generator[Ask | Sleep, Any, Any]


def perform(exchange: Exchange, client: Any) -> Any:
    """Hold ``exchange`` with a blocking client, and return what it returns."""
    try:
        ask = next(exchange)
        while True:
            try:
                reply = None
                if isinstance(ask, Ask):
                    reply = getattr(client, ask.method)(*ask.args, **ask.kwargs)
                else:
                    time.sleep(ask.milliseconds / 1000)
            except Exception as error:  # noqa: BLE001 - the exchange knows what it means
                ask = exchange.throw(error)
            else:
                ask = exchange.send(reply)
    except StopIteration as done:
        return done.value


async def perform_async(exchange: Exchange, client: Any) -> Any:
    """Hold ``exchange`` with an async client, and return what it returns."""
    try:
        ask = next(exchange)
        while True:
            try:
                reply = None
                if isinstance(ask, Ask):
                    reply = await getattr(client, ask.method)(*ask.args, **ask.kwargs)
                else:
                    import asyncio  # noqa: PLC0415 - blocking programs do without

                    await asyncio.sleep(ask.milliseconds / 1000)
            except Exception as error:  # noqa: BLE001 - as in perform
                ask = exchange.throw(error)
            else:
                ask = exchange.send(reply)
    except StopIteration as done:
        return done.value


def kinds(error: BaseException) -> set[str]:
    """Return the names of an error's classes: libraries of one protocol share these, not the classes."""
    return {kind.__name__ for kind in type(error).__mro__}
