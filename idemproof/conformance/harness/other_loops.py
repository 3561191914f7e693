"""Uses an async layer in event loops of its own, as ``asyncio.run`` does, and notes what blocks them."""

import asyncio
import socket
import sqlite3
import sys
import time
from collections.abc import Coroutine
from types import FrameType
from typing import Any, Self

from ..suite.checks import Case
from ..suite.subjects import Subject

_OF_SOCKETS = frozenset({"accept", "connect", "recv", "recv_into", "recvfrom", "send", "sendall", "sendto"})
_OF_SQLITE = frozenset({"execute", "executemany", "executescript", "commit"})


class BlockingCalls:
    """Notes which functions make the thread wait, in a ``with`` block on an event loop."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __enter__(self) -> Self:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, _frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and (name := _blocks(called)):
            self.names.add(name)


class LoopForEachRequest:
    """Runs each request in a new event loop.

    Parameters
    ----------
    patience
        How long a request may take (seconds).
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._blocking = BlockingCalls()

    @property
    def blocking(self) -> set[str]:
        """The functions that have blocked the loop."""
        return self._blocking.names

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run work to its end, and return its result."""

        async def run() -> Any:
            with self._blocking:
                return await asyncio.wait_for(work, self._patience)

        return asyncio.run(run())


def in_other_loops(case: Case) -> tuple[Subject, LoopForEachRequest]:
    """Return the layer for requests that each have their own event loop."""
    loop: Any = LoopForEachRequest(case.profile.patience)
    return Subject(case.layer.layer, loop), loop


def _blocks(called: Any) -> str | None:
    """Return the name of a function that makes its thread wait, else None."""
    if called is time.sleep:
        return "time.sleep"
    name, holder = getattr(called, "__name__", ""), getattr(called, "__self__", None)
    if isinstance(holder, socket.socket) and name in _OF_SOCKETS and holder.gettimeout() != 0:
        return f"socket.{name}"
    if isinstance(holder, sqlite3.Connection | sqlite3.Cursor) and name in _OF_SQLITE:
        return f"sqlite3's {name}"
    return "fcntl.flock" if name == "flock" else "os.fsync" if name == "fsync" else None
