"""Services that lose answers when their process ends."""

import asyncio
from pathlib import Path

from idemproof.conformance.suite.consequences import TWICE

from .foundation import Call, Entry, Reply, Service
from .kinds import broken


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
