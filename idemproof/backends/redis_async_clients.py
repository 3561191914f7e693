"""Closes async clients of Redis and Valkey with all their connections."""

import asyncio
from collections import deque
from typing import Any

_REMEMBERED = 256
"""How many dropped connections are remembered. The older ones have closed by then."""


class ClosingAll:
    """Opens a client, and closes it with every connection that it has dropped.

    After an error, such as a refused login, redis-py starts to close a connection without waiting for the
    end. With TLS, closing needs a reply of the server. If the event loop is closed before the reply, the
    socket stays open.

    Parameters
    ----------
    client
        A client with the methods of redis-py that is not yet open.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._dropped: deque[asyncio.WriteTransport] = deque(maxlen=_REMEMBERED)
        _watch(client, self._dropped)

    async def __aenter__(self) -> Any:
        try:
            return await self._client.__aenter__()
        except BaseException:
            await self._close_dropped()
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self._client.__aexit__(*exc_info)
        finally:
            await self._close_dropped()

    async def _close_dropped(self) -> None:
        for transport in self._dropped:
            transport.abort()
        await asyncio.sleep(0)  # so that the event loop closes their sockets


def _watch(client: Any, dropped: deque[asyncio.WriteTransport]) -> None:
    """Make each connection that ``client`` opens add its transport to ``dropped`` when it is dropped."""
    if hasattr(client, "nodes_manager"):
        options = client.nodes_manager.connection_kwargs
        options["connection_class"] = _recording(options["connection_class"], dropped)
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = options["connection_class"]
    else:
        pool = client.connection_pool
        pool.connection_class = _recording(pool.connection_class, dropped)


def _recording(connection_class: type[Any], dropped: deque[asyncio.WriteTransport]) -> type[Any]:
    async def disconnect(self: Any, *args: Any, **kwargs: Any) -> None:
        writer = getattr(self, "_writer", None)  # the library has no public name for it
        if writer is not None:
            dropped.append(writer.transport)
        await connection_class.disconnect(self, *args, **kwargs)

    return type(connection_class.__name__, (connection_class,), {"disconnect": disconnect})
