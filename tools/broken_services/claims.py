"""Services that claim a key wrongly, or lose it when a connection ends."""

import asyncio
import time

from idemproof.conformance.suite.consequences import LOCKED_OUT, LOST, TWICE

from .foundation import WINDOW_SECONDS, Call, Entry, Receive, RefusedError, Reply, Send, Service
from .kinds import broken


@broken(TWICE, "races")
class RaceWindow(Service):
    """The key is looked up first, and written when the answer is there."""

    def claim(self, name: str, call: Call) -> Entry:  # noqa: ARG002
        """Claim nothing."""
        return Entry(self.payload_of(call), time.monotonic())

    def store(self, name: str, entry: Entry, reply: Reply) -> None:
        """Write the key."""
        self.entries[name] = entry
        super().store(name, entry, reply)


@broken(TWICE, "races")
class SmallRaceWindow(Service):
    """Between looking the key up and claiming it, other requests may run."""

    async def protected(self, call: Call, receive: Receive, send: Send) -> None:
        """Look up, let others go on, and claim."""
        if self.current(self.name_of(call)) is None:
            await asyncio.sleep(0.001)
            self.entries.pop(self.name_of(call), None)
        await super().protected(call, receive, send)


class _WatchesTheClient(Service):
    """The request is cancelled when its client leaves, as some servers do."""

    async def protected(self, call: Call, receive: Receive, send: Send) -> None:
        """Run until the client leaves."""
        work = asyncio.ensure_future(super().protected(call, receive, send))
        left = asyncio.ensure_future(receive())
        await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        left.cancel()
        if not work.done():
            self.leave(call)
            work.cancel()
        await asyncio.gather(work, return_exceptions=False) if work.done() else None

    def leave(self, call: Call) -> None:
        """Do what this service does when the client leaves."""
        for task in list(self.tasks):
            task.cancel()
        del call


@broken(LOCKED_OUT, "connections")
class LockedAfterACut(_WatchesTheClient):
    """A request whose client leaves is cancelled, and its claim stays."""

    async def meet(self, entry: Entry) -> None:
        """Refuse while the claim is there."""
        if not entry.done.is_set():
            raise RefusedError(409, "in progress")


@broken(TWICE, "connections")
class RunsAgainAfterACut(_WatchesTheClient):
    """When the client leaves, the claim is released, and the effect goes on."""

    def leave(self, call: Call) -> None:
        """Release the claim."""
        entry = self.entries.pop(self.name_of(call), None)
        if entry is not None:
            entry.done.clear()


@broken(LOCKED_OUT, "connections")
class ClaimsHalfABody(Service):
    """The key is claimed before the body has arrived, and stays claimed."""

    async def answer(self, call: Call, receive: Receive, send: Send) -> None:
        """Claim, then read."""
        claimed = call._replace(principal=self.principal_of(call), key=self.key_of(call) or "")
        name = self.name_of(claimed)
        if self.current(name) is None:
            self.entries[name] = Entry("", 0.0)
        elif not self.entries[name].done.is_set() and not self.entries[name].payload:
            raise RefusedError(409, "in progress")
        body = await self.read(receive)
        if body is None:
            return
        if not self.entries[name].payload:
            del self.entries[name]
        await self.protected(claimed._replace(body=body), receive, send)


@broken(TWICE, "connections")
class RunsHalfABody(Service):
    """A body that was cut is treated as a whole one."""

    async def read(self, receive: Receive) -> bytes | None:
        """Return what has arrived."""
        body = b""
        while True:
            message = await receive()
            body += bytes(message.get("body", b""))
            if not message.get("more_body", False):
                return body


@broken(LOST, "connections")
class StoresTheCut(_WatchesTheClient):
    """When the client leaves, an error is stored as the answer."""

    def leave(self, call: Call) -> None:
        """Store an error."""
        super().leave(call)
        entry = self.entries.get(self.name_of(call))
        if entry is not None and not entry.done.is_set():
            entry.reply = Reply(502, [], b"client closed request")
            entry.done.set()


@broken(TWICE, "expiry")
class ForgetsEarly(Service):
    """Answers are kept for half of the promised time."""

    def window(self) -> float:
        """Return too little."""
        return WINDOW_SECONDS / 2


@broken(TWICE, "repeats")
class EffectInBackground(Service):
    """The effect happens after the answer, and again after each repeat."""

    def effect(self) -> None:
        """Have no effect yet."""

    async def deliver(self, reply: Reply, call: Call, send: Send) -> None:
        """Send the answer, and have the effect later."""
        await super().deliver(reply, call, send)
        if reply.status == 201:  # noqa: PLR2004
            await asyncio.sleep(0.01)
            self.effects += 1
