"""Services that lose answers when their process ends."""

import asyncio
import time
from pathlib import Path
from typing import Any

from idemproof.conformance.suite.consequences import LOCKED_OUT, TWICE

from .foundation import Call, Entry, RefusedError, Reply, Service
from .kinds import broken, correct

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


@broken(TWICE, "crashes", is_process=True, process={"runs_once": True})
class RunsAgainAfterAKill(Service):
    """Answers outlive the process, and claims do not, although the owner promises that nothing runs twice."""


class _KeepsClaims(Service):
    """Claims outlive the process too: a request that it interrupted is refused from then on."""

    def claim(self, name: str, call: Call) -> Entry:
        """Write the claim."""
        assert self.file is not None
        entry = super().claim(name, call)
        self.write({"claim": name, "payload": entry.payload})
        return entry

    def restore(self, line: dict[str, Any]) -> None:
        """Restore a claim without an answer."""
        if "claim" in line:
            self.entries[line["claim"]] = Entry(line["payload"], time.monotonic())
        else:
            super().restore(line)

    async def meet(self, entry: Entry) -> None:
        """Refuse while the claim is there."""
        if not entry.done.is_set():
            raise RefusedError(409, "the outcome is unknown")


@broken(LOCKED_OUT, "crashes", is_process=True)
class LockedAfterAKill(_KeepsClaims):
    """The owner says that a claim ends after its lease."""


@correct(is_process=True, process={"runs_once": True})
class Parks(_KeepsClaims):
    """The owner says that nothing runs twice, and decides about such keys."""


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
