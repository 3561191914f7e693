"""Correct services that the judge must not accuse."""

import asyncio
import secrets
from pathlib import Path

from .foundation import Call, Entry, RefusedError, Reply, Service, digest, without
from .kinds import correct


@correct()
class Waits(Service):
    """Equal requests wait for the first one."""


@correct(effects=None)
class Uncounted(Service):
    """The target has no way to count effects."""


@correct()
class Refuses(Service):
    """Equal requests that arrive meanwhile get 409 with Retry-After."""

    async def meet(self, entry: Entry) -> None:
        """Refuse instead of waiting."""
        if not entry.done.is_set():
            raise RefusedError(409, "in progress", "1")


@correct()
class SeparatesPaths(Service):
    """A key on another path is another key."""

    def name_of(self, call: Call) -> str:
        """Add the path."""
        return super().name_of(call) + call.path


@correct()
class IgnoresParameters(Service):
    """Parameters of a key are ignored."""

    def key_of(self, call: Call) -> str | None:
        """Drop the parameters."""
        headers = [
            (name, value.partition(";")[0] if name == "idempotency-key" else value)
            for name, value in call.headers
        ]
        return super().key_of(call._replace(headers=headers))


@correct(profile="stripe", header="Idempotency-Key")
class BareKeys(Service):
    """Keys are bare, and a 500 is final."""

    def key_of(self, call: Call) -> str | None:
        """Take a bare key."""
        lines = call.lines("idempotency-key")
        if not lines:
            return None
        value = lines[0]
        if len(lines) != 1 or not value.strip() or len(value) > 255 or '"' in value:  # noqa: PLR2004
            raise RefusedError(400, "one bare key is required")
        return value

    def is_final(self, reply: Reply) -> bool:
        """Store server errors too."""
        return reply.status not in (307, 401, 429)

    def replayed(self, reply: Reply) -> Reply:
        """Mark a repeat."""
        kept = super().replayed(reply)
        return kept._replace(headers=[*kept.headers, ("idempotent-replayed", "true")])


@correct(method="PUT")
class OptionalPut(Service):
    """A PUT needs no key."""


@correct()
class ManyHeadersDiffer(Service):
    """Each answer has its own date, cookie and ids."""

    def replayed(self, reply: Reply) -> Reply:
        """Write them again."""
        kept = without(reply.headers, "set-cookie", "x-request-id")
        new = [("set-cookie", f"session={secrets.token_hex(8)}"), ("x-trace-id", secrets.token_hex(8))]
        return reply._replace(headers=[*kept, *new])


@correct()
class LimitsItsLoad(Service):
    """More than four requests at once get 429."""

    def __init__(self, file: Path | None = None) -> None:
        super().__init__(file)
        self.busy = 0

    async def run(self, call: Call) -> Reply:
        """Run a few at once."""
        self.busy += 1
        try:
            return await super().run(call)
        finally:
            self.busy -= 1

    def compare(self, entry: Entry, call: Call) -> None:
        """Refuse what is too much."""
        super().compare(entry, call)
        waiting = len(getattr(entry.done, "_waiters", ()))
        if waiting > 4:  # noqa: PLR2004
            raise RefusedError(429, "too many requests", "1")


@correct()
class RefusesLargeAnswers(Service):
    """A large answer is not stored: a repeat gets 409."""

    def replayed(self, reply: Reply) -> Reply:
        """Refuse."""
        if len(reply.body) > 65536:  # noqa: PLR2004
            raise RefusedError(409, "the answer was not kept")
        return super().replayed(reply)


@correct()
class HashesBytes(Service):
    """Equal JSON that is written otherwise is another payload."""

    def payload_of(self, call: Call) -> str:
        """Hash the bytes."""
        return digest(call.method, call.path, call.query, call.body.decode("latin-1"))


@correct()
class EffectLater(Service):
    """The effect of a request happens in the background, once."""

    async def complete(self, name: str, entry: Entry, call: Call) -> None:
        """Store the answer, and have the effect later."""
        await super().complete(name, entry, call)

    def effect(self) -> None:
        """Count it a moment later."""
        self.start(self._later())

    async def _later(self) -> None:
        await asyncio.sleep(0.01)
        self.effects += 1

    def created(self, call: Call) -> Reply:
        """Name the order by chance, because the number is not known yet."""
        reply = super().created(call)
        return reply._replace(
            headers=without(reply.headers, "location", "x-order"), body=b'{"status":"accepted"}'
        )


@correct(is_process=True)
class Durable(Service):
    """Answers and effects outlive the process."""


@correct(is_process=True, process={"keeps_answers": False})
class PromisesNothing(Service):
    """Answers do not outlive the process, and the target says so."""

    def store(self, name: str, entry: Entry, reply: Reply) -> None:
        """Store in memory."""
        file, self.file = self.file, None
        super().store(name, entry, reply)
        self.file = file
