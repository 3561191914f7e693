"""Async clients live in one event loop; a layer lives longer. So each loop gets a client of its own."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any


class ClientPerLoop:
    """Opens a client for each event loop that asks for one, and closes it when the loop shuts down.

    ``asyncio.run`` and its like end a loop's unfinished async generators before they close it; here such a
    generator holds the client open.

    Parameters
    ----------
    connect
        Returns an unopened client: an async context manager that gives the client.
    """

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._connect = connect
        self._open: dict[asyncio.AbstractEventLoop, tuple[Any, AsyncGenerator[Any, None]]] = {}
        self._opening: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    async def get(self) -> Any:
        """Return the client of the running event loop."""
        loop = asyncio.get_running_loop()
        held = self._open.get(loop)
        if held is None:
            async with self._opening.setdefault(loop, asyncio.Lock()):
                held = self._open.get(loop) or await self._begin(loop)
        return held[0]

    async def close(self) -> None:
        """Close the client of the running event loop, if it has one."""
        _, holder = self._open.get(asyncio.get_running_loop(), (None, None))
        if holder is not None:
            await holder.aclose()

    async def _begin(self, loop: asyncio.AbstractEventLoop) -> tuple[Any, AsyncGenerator[Any, None]]:
        self._forget_closed_loops()
        holder = self._hold(loop)
        self._open[loop] = held = (await anext(holder), holder)
        return held

    async def _hold(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Any, None]:
        async with self._connect() as client:
            try:
                yield client
            finally:
                if self._open.get(loop, (None,))[0] is client:
                    del self._open[loop]

    def _forget_closed_loops(self) -> None:
        for loop in [*self._open, *self._opening]:
            if loop.is_closed():  # without its generators having been shut down
                self._open.pop(loop, None)
                self._opening.pop(loop, None)
