"""Services that repeat an answer wrongly."""

from idemproof.conformance.suite.consequences import DIFFERS, LEAKED, LOCKED_OUT, LOST, REFUSED

from .correct import BareKeys
from .foundation import Call, Entry, RefusedError, Reply, Send, Service, encoded, send_reply, without
from .kinds import broken


@broken(DIFFERS, "repeats")
class ForgetsHeaders(Service):
    """A repeat has only the status and the body."""

    def replayed(self, reply: Reply) -> Reply:
        """Drop most headers."""
        return super().replayed(reply)._replace(headers=[("content-type", "application/json")])


@broken(DIFFERS, "repeats")
class ForgetsTheStatus(Service):
    """A repeat has the status 200."""

    def replayed(self, reply: Reply) -> Reply:
        """Forget the status."""
        return super().replayed(reply)._replace(status=200)


@broken(LEAKED, "repeats")
class RepeatsCookies(Service):
    """A repeat hands out the cookie of the first answer."""

    def replayed(self, reply: Reply) -> Reply:
        """Keep all headers."""
        return reply


@broken(LOST, "repeats")
class CutsLargeAnswers(Service):
    """A large answer is stored in part."""

    def replayed(self, reply: Reply) -> Reply:
        """Cut the body."""
        return super().replayed(reply)._replace(body=reply.body[:65536])


@broken(DIFFERS, "repeats")
class MixesEncodings(Service):
    """The first answer is stored as it was encoded for its client."""

    def store(self, name: str, entry: Entry, reply: Reply) -> None:
        """Store the encoded answer."""
        call: Call | None = getattr(entry, "call", None)
        super().store(name, entry, reply if call is None else encoded(reply, call))

    def claim(self, name: str, call: Call) -> Entry:
        """Remember the client."""
        entry = super().claim(name, call)
        entry.call = call  # type: ignore[attr-defined]
        return entry

    async def deliver(self, reply: Reply, call: Call, send: Send) -> None:  # noqa: ARG002
        """Send it as it is."""
        await send_reply(send, reply)


@broken(DIFFERS, "repeats")
class ForgetsTheEncoding(MixesEncodings):
    """The stored answer is compressed, and does not say so."""

    def replayed(self, reply: Reply) -> Reply:
        """Drop the encoding."""
        kept = super().replayed(reply)
        return kept._replace(headers=without(kept.headers, "content-encoding"))


@broken(REFUSED, "errors", profile="acp")
class StoresServerErrors(BareKeys):
    """A 500 is final, although the profile says that a retry runs again."""

    def is_final(self, reply: Reply) -> bool:
        """Store server errors."""
        return reply.status not in (307, 308, 401, 429)


@broken(LOCKED_OUT, "errors")
class RefusesAfterErrors(Service):
    """After a 500 the key stays in progress."""

    def store(self, name: str, entry: Entry, reply: Reply) -> None:
        """Forget to release the key."""
        super().store(name, entry, reply)
        if reply.status >= 500:  # noqa: PLR2004
            self.entries[name] = entry

    def current(self, name: str) -> Entry | None:
        """Never forget."""
        return self.entries.get(name)

    async def meet(self, entry: Entry) -> None:
        """Refuse while it seems to run."""
        await super().meet(entry)
        if entry.reply is not None and entry.reply.status >= 500:  # noqa: PLR2004
            raise RefusedError(409, "in progress")


@broken(LOCKED_OUT, "repeats")
class StoresRedirects(Service):
    """A redirect is final, and occupies the key."""

    def is_final(self, reply: Reply) -> bool:
        """Store redirects."""
        return reply.status < 500  # noqa: PLR2004


@broken(REFUSED, "races")
class FailsInRaces(Service):
    """A request that arrives while the first one runs gets a 500."""

    async def meet(self, entry: Entry) -> None:
        """Fail instead of waiting."""
        if not entry.done.is_set():
            raise RefusedError(500, "duplicate key value violates unique constraint")
