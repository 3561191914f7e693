"""Async clients of Redis and Valkey that leave no connection open when they are closed."""

import asyncio
from collections import deque
from typing import Any

_REMEMBERED = 256
"""How many dropped connections are remembered; a transport that closes in time needs no remembering."""


class ClosingAll:
    """Opens a client, and closes it with every connection that it has dropped.

    After an error, such as a refused login, redis-py begins to close a connection and does not wait for the
    end. Under TLS the end takes an answer of the server: if the event loop is closed before, the socket
    stays open.

    Parameters
    ----------
    client
        Of redis-py's protocol, and not yet opened.
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
        await asyncio.sleep(0)  # by then the event loop has closed their sockets


def _watch(client: Any, dropped: deque[asyncio.WriteTransport]) -> None:
    """Let each connection that ``client`` will open note its transport in ``dropped`` when it is dropped."""
    if hasattr(client, "nodes_manager"):
        options = client.nodes_manager.connection_kwargs
        options["connection_class"] = _noting(options["connection_class"], dropped)
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = options["connection_class"]
    else:
        pool = client.connection_pool
        pool.connection_class = _noting(pool.connection_class, dropped)


def _noting(connection_class: type[Any], dropped: deque[asyncio.WriteTransport]) -> type[Any]:
    async def disconnect(self: Any, *args: Any, **kwargs: Any) -> None:
        writer = getattr(self, "_writer", None)  # the library has no public name for it
        if writer is not None:
            dropped.append(writer.transport)
        await connection_class.disconnect(self, *args, **kwargs)

    return type(connection_class.__name__, (connection_class,), {"disconnect": disconnect})
