"""Pauses at each call of a layer's clients of a store, wherever the layer keeps them.

The classes of common clients are patched, because layers create clients for each thread and event loop; only
the calls of racing clients pause. Other clients are found in the layer's object graph, or named by
its author. All patches are undone at the end.
"""

import functools
import inspect
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from ..suite.factories import client_method
from . import sqlite_pauses
from .object_graph import references
from .scheduled_client import blocking_client, current_client, intercepting

_KNOWN = (
    ("redis.client", "Redis", "execute_command"),
    ("redis.client", "Pipeline", "immediate_execute_command"),
    ("redis.client", "Pipeline", "execute"),
    ("redis.cluster", "RedisCluster", "execute_command"),
    ("redis.cluster", "ClusterPipeline", "execute"),
    ("redis.asyncio.client", "Redis", "execute_command"),
    ("redis.asyncio.client", "Pipeline", "immediate_execute_command"),
    ("redis.asyncio.client", "Pipeline", "execute"),
    ("redis.asyncio.cluster", "RedisCluster", "execute_command"),
    ("redis.asyncio.cluster", "ClusterPipeline", "execute"),
    ("botocore.client", "BaseClient", "_make_api_call"),
    ("aiobotocore.client", "AioBaseClient", "_make_api_call"),
    *(
        (f"{__package__.removesuffix('harness')}commands.layer", "Connection", m)
        for m in ("send", "receive", "exchange")
    ),
)
_CLIENT_METHODS = ("execute_command", "_make_api_call")
"""An object with one of these methods counts as a client, whatever its class."""

_WORDS = 3
_LONGEST = 60


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
        for owner, method in dict.fromkeys([*_known(), *self._found()]):
            self._replace(owner, method, _pausing(owner.__dict__[method], _in_words))
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
        setattr(holder, method, _pausing(original, functools.partial(_named_in_words, method)))
        if own:
            self._undo.callback(setattr, holder, method, original)
        else:
            self._undo.callback(delattr, holder, method)

    def _replace(self, owner: Any, name: str, new: Any) -> None:
        self._undo.callback(setattr, owner, name, owner.__dict__[name])
        setattr(owner, name, new)


def _known() -> Iterator[tuple[type, str]]:
    for module, kind, method in _KNOWN:
        for library in (module, module.replace("redis", "valkey")):
            known = getattr(sys.modules.get(library), kind, None)
            if known is not None and method in known.__dict__:
                yield known, method


def _pausing(function: Callable[..., Any], in_words: Callable[..., str]) -> Callable[..., Any]:
    """Return a wrapper of ``function`` that pauses before and after the call of a racing client."""

    @functools.wraps(function)
    def blocking(*args: Any, **kwargs: Any) -> Any:
        client = blocking_client()
        if client is None:
            reply = function(*args, **kwargs)
            # Some functions return a coroutine without being coroutine functions.
            return _asynchronously(reply, args) if inspect.iscoroutine(reply) and current_client() else reply
        client.calling = args[0] if args else None
        client.pause(lambda: in_words(*args), "call")
        client.inside = True
        try:
            reply = function(*args, **kwargs)
        finally:
            client.inside = False
        if not client.pauses_disabled:
            client.pause(lambda: f"has done {in_words(*args)}", "reply")
        return reply

    async def _asynchronously(work: Any, args: tuple[Any, ...]) -> Any:
        client = current_client()
        if client is None:
            return await work
        client.calling = args[0] if args else None
        try:
            await client.pause_async(lambda: in_words(*args), "call")
        except BaseException:
            work.close()  # prevents a warning that it was never awaited
            raise
        client.inside = True
        try:
            reply = await work
        finally:
            client.inside = False
        if not client.pauses_disabled:
            await client.pause_async(lambda: f"has done {in_words(*args)}", "reply")
        return reply

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            return await _asynchronously(function(*args, **kwargs), args)

        return asynchronous
    return blocking


def _yielding(sleep: Callable[[float], None]) -> Callable[[float], None]:
    @functools.wraps(sleep)
    def yielding(seconds: float) -> None:
        client = blocking_client()
        if client is None or not client.wait("sleeps"):
            sleep(seconds)

    return yielding


def _in_words(_client: Any, *args: Any) -> str:
    """Describe a client's call by its command and first arguments, or by its operation."""
    words = [each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in args]
    if not words:
        return "EXEC"
    if any(isinstance(each, dict) for each in args):
        return words[0]
    return " ".join(_short(word) for word in words[:_WORDS])


def _named_in_words(name: str, *args: Any) -> str:
    return f"{name}({', '.join(_short(repr(each)) for each in args)})"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
