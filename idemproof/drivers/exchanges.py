"""Exchanges with the client of a store, written once as generators for blocking and async clients.

Such a generator yields the calls of the client. It receives each reply, or the exception of the client. It
returns the result of the layer, or raises the error of the layer. It knows the requests and replies of a
store, but no clock.
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
    """Perform ``exchange`` with a blocking client, and return its result."""
    try:
        ask = next(exchange)
        while True:
            try:
                reply = None
                if isinstance(ask, Ask):
                    reply = getattr(client, ask.method)(*ask.args, **ask.kwargs)
                else:
                    time.sleep(ask.milliseconds / 1000)
            except Exception as error:  # noqa: BLE001 - the exchange handles it
                ask = exchange.throw(error)
            else:
                ask = exchange.send(reply)
    except StopIteration as done:
        return done.value


async def perform_async(exchange: Exchange, client: Any) -> Any:
    """Perform ``exchange`` with an async client, and return its result."""
    try:
        ask = next(exchange)
        while True:
            try:
                reply = None
                if isinstance(ask, Ask):
                    reply = await getattr(client, ask.method)(*ask.args, **ask.kwargs)
                else:
                    import asyncio  # noqa: PLC0415 - blocking programs do not need it

                    await asyncio.sleep(ask.milliseconds / 1000)
            except Exception as error:  # noqa: BLE001 - as in perform
                ask = exchange.throw(error)
            else:
                ask = exchange.send(reply)
    except StopIteration as done:
        return done.value


def class_names(error: BaseException) -> set[str]:
    """Return the names of an error's classes. Libraries with the same protocol share only the names."""
    return {kind.__name__ for kind in type(error).__mro__}
