"""Pauses at each call of a layer's clients of a store, wherever the layer keeps them.

The classes of common clients are patched, because layers create clients for each thread and event loop; only
the calls of racing clients pause. Other clients are found in the layer's object graph, or named by
its author. All patches are undone at the end.
"""

import functools
import inspect
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from ..suite.factories import client_method
from . import sqlite_pauses
from .known_clients import Describe, command, connection_of, imported, named
from .object_graph import references
from .scheduled_client import What, blocking_client, current_client, intercepting

_CLIENT_METHODS = ("execute_command", "_make_api_call")
"""An object with one of these methods counts as a client, whatever its class."""


class Interception:
    """Makes the clients of ``layers`` pause inside its ``with`` block.

    Parameters
    ----------
    layers
        The layers. Each must have been used once, because some create their clients only then.
    named
        Methods of clients that the search does not find, as attribute paths: ``_pool.connection.execute``.

    Raises
    ------
    FactoryError
        A layer has no such method.
    """

    def __init__(self, layers: Iterable[Any], named: Sequence[str] = ()) -> None:
        self._layers = list({id(layer): layer for layer in layers}.values())
        self._named = named
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._intercept()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _intercept(self) -> None:
        methods = {(kind, each.method): (each.describe, each.at) for kind, each in imported()}
        for owner, method in self._found():
            methods.setdefault((owner, method), (command, 0))
        for (owner, method), (describe, at) in methods.items():
            self._replace(owner, method, _pausing(owner.__dict__[method], describe, at))
        for layer in self._layers:
            for path in self._named:
                self._name(layer, path)
        self._replace(sqlite3, "connect", sqlite_pauses.connect)
        self._replace(time, "sleep", _yielding(time.sleep))
        self._undo.enter_context(intercepting())
        self._undo.callback(self._remove_proxies)
        self._undo.callback(sqlite_pauses.restore_waiting)
        for reference in references(*self._layers):
            substitute = sqlite_pauses.proxy_of(reference.value)
            if substitute is not None:
                reference.replace(substitute)

    def _found(self) -> Iterator[tuple[type, str]]:
        for reference in references(*self._layers):
            for method in _CLIENT_METHODS:
                for base in type(reference.value).__mro__:
                    if inspect.isfunction(base.__dict__.get(method)) and "Pipeline" not in base.__name__:
                        yield base, method

    def _remove_proxies(self) -> None:
        for reference in references(*self._layers):
            if isinstance(reference.value, sqlite_pauses.PausingConnection | sqlite_pauses.PausingCursor):
                reference.replace(reference.value.real)

    def _name(self, layer: Any, path: str) -> None:
        holder, method = client_method(layer, path)
        original = getattr(holder, method)
        own = method in getattr(holder, "__dict__", {})
        setattr(holder, method, _pausing(original, named(method)))
        if own:
            self._undo.callback(setattr, holder, method, original)
        else:
            self._undo.callback(delattr, holder, method)

    def _replace(self, owner: Any, name: str, new: Any) -> None:
        self._undo.callback(setattr, owner, name, owner.__dict__[name])
        setattr(owner, name, new)


def _pausing(function: Callable[..., Any], describe: Describe, at: int = 0) -> Callable[..., Any]:
    """Return a wrapper of ``function`` that pauses before and after the call of a racing client.

    The argument with the index ``at`` belongs to the client of the store.
    """

    @functools.wraps(function)
    def blocking(*args: Any, **kwargs: Any) -> Any:
        client = blocking_client()
        step = None if client is None else describe(*args, **kwargs)
        if client is None or step is None:
            reply = function(*args, **kwargs)
            # Some functions return a coroutine without being coroutine functions.
            return _asynchronously(reply, args, kwargs) if inspect.iscoroutine(reply) else reply
        client.calling = _called(args, at)
        client.pause(step, "call")
        client.inside = True
        try:
            reply = function(*args, **kwargs)
        finally:
            client.inside = False
        if not client.pauses_disabled:
            client.pause(lambda: f"has done {_text(step)}", "reply")
        return reply

    async def _asynchronously(work: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        client = current_client()
        step = None if client is None else describe(*args, **kwargs)
        if client is None or step is None:
            return await work
        client.calling = _called(args, at)
        try:
            await client.pause_async(step, "call")
        except BaseException:
            work.close()  # prevents a warning that it was never awaited
            raise
        client.inside = True
        try:
            reply = await work
        finally:
            client.inside = False
        if not client.pauses_disabled:
            await client.pause_async(lambda: f"has done {_text(step)}", "reply")
        return reply

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            return await _asynchronously(function(*args, **kwargs), args, kwargs)

        return asynchronous
    return blocking


def _called(args: tuple[Any, ...], at: int) -> Any:
    client = connection_of(args[at]) if len(args) > at else None
    return sqlite3 if isinstance(client, sqlite3.Connection | sqlite3.Cursor) else client


def _text(what: What) -> str:
    return what if isinstance(what, str) else what()


def _yielding(sleep: Callable[[float], None]) -> Callable[[float], None]:
    @functools.wraps(sleep)
    def yielding(seconds: float) -> None:
        client = blocking_client()
        if client is None or not client.wait("sleeps"):
            sleep(seconds)

    return yielding
