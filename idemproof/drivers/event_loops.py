"""One client for each event loop, because an async client belongs to one loop and a layer outlives loops."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from .forksafe import refuse_inherited

_inherited: list[AsyncExitStack] = []


class ClientPerLoop:
    """Opens a client for each event loop that needs one, and closes it when the loop shuts down.

    Each client is held open by an async generator, because ``asyncio.run`` and similar functions end a loop's
    unfinished async generators before they close the loop.

    Parameters
    ----------
    connect
        Returns an unopened client: an async context manager that returns the client.
    """

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._connect = connect
        self._open: dict[asyncio.AbstractEventLoop, tuple[Any, AsyncGenerator[Any, None], int]] = {}
        self._opening: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}
        self._supplied: tuple[Any, int] = (None, 0)

    def check_supplied(self, client: Any, key: str | None) -> Any:
        """Return a client that the user has opened, for a request about ``key``.

        Raises
        ------
        IdempotencyPersistenceConfigError
            Another process has used the client before.
        """
        if self._supplied[0] is not client:
            self._supplied = (client, os.getpid())
        refuse_inherited("the client", self._supplied[1], key, "Make a client in each process.")
        return client

    async def get(self, key: str | None = None) -> Any:
        """Return the client of the running event loop, for a request about ``key``.

        Raises
        ------
        IdempotencyPersistenceConfigError
            The process was forked while the loop had a client.
        """
        loop = asyncio.get_running_loop()
        held = self._open.get(loop)
        if held is None:
            async with self._opening.setdefault(loop, asyncio.Lock()):
                held = self._open.get(loop) or await self._begin(loop)
        refuse_inherited(
            "this event loop", held[2], key, "Start a new one in each child, for example with asyncio.run()."
        )
        return held[0]

    async def close(self) -> None:
        """Close the client of the running event loop, if it has one."""
        _, holder, _ = self._open.get(asyncio.get_running_loop(), (None, None, None))
        if holder is not None:
            await holder.aclose()

    async def _begin(self, loop: asyncio.AbstractEventLoop) -> tuple[Any, AsyncGenerator[Any, None], int]:
        self._forget_closed_loops()
        holder = self._hold(loop)
        self._open[loop] = held = (await anext(holder), holder, os.getpid())
        return held

    async def _hold(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Any, None]:
        process = os.getpid()
        async with AsyncExitStack() as closing:
            client = await closing.enter_async_context(self._connect())
            try:
                yield client
            finally:
                if process != os.getpid():
                    # The parent still uses the connections. Closing them here would send a TLS close in its
                    # name, and remove them from the selector that both processes share.
                    _inherited.append(closing.pop_all())
                if self._open.get(loop, (None,))[0] is client:
                    del self._open[loop]

    def _forget_closed_loops(self) -> None:
        for loop in [*self._open, *self._opening]:
            if loop.is_closed():  # without its generators having been shut down
                self._open.pop(loop, None)
                self._opening.pop(loop, None)
