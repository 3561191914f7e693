"""Services that lose answers when their process ends."""

import asyncio
import time
from pathlib import Path

from idemproof.conformance.suite.consequences import TWICE

from .foundation import Call, Entry, Reply, Service
from .kinds import broken

_FEW = 20


@broken(TWICE, "crashes", is_process=True)
class AnswersBeforeStoring(Service):
    """The answer is sent first, and stored a moment later."""

    async def complete(self, name: str, entry: Entry, call: Call) -> None:
        """Let the client go on, then store."""
        reply = await self.run(call)
        file, self.file = self.file, None
        self.store(name, entry, reply)
        self.file = file
        await asyncio.sleep(2)
        if name in self.entries:
            self.store(name, entry, reply)


@broken(TWICE, "crashes", is_process=True)
class StoresInMemory(Service):
    """Effects outlive the process, and answers do not."""

    def store(self, name: str, entry: Entry, reply: Reply) -> None:
        """Store in memory."""
        file: Path | None
        file, self.file = self.file, None
        super().store(name, entry, reply)
        self.file = file


@broken(TWICE, "repeats")
class KeepsFew(Service):
    """Only the last 20 keys are kept."""

    def store(self, name: str, entry: Entry, reply: Reply) -> None:
        """Forget the oldest key."""
        super().store(name, entry, reply)
        while len(self.entries) > _FEW:
            del self.entries[next(iter(self.entries))]


@broken(TWICE, "races", requests={"slow": {"path": "/orders/slow"}})
class OutlivesItsLease(Service):
    """A claim ends after half a second, although its request still runs."""

    def current(self, name: str) -> Entry | None:
        """Forget a claim that is too old."""
        entry = super().current(name)
        if entry is not None and not entry.done.is_set() and time.monotonic() > entry.began + 0.5:
            return None
        return entry
