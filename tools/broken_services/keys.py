"""Services that misread the key, or whose key it is."""

from idemproof.conformance.suite.consequences import LEAKED, TWICE, UNPROTECTED, WRONG

from .foundation import Call, Receive, Send, Service, unquoted
from .kinds import broken


@broken(LEAKED, "scope")
class NoScope(Service):
    """All clients share their keys."""

    def name_of(self, call: Call) -> str:
        """Leave the client out."""
        return call.key


@broken(TWICE, "keys")
class TwoForms(Service):
    """A key with quotes and without them are two keys."""

    def key_of(self, call: Call) -> str | None:
        """Take the header as it is."""
        lines = call.lines("idempotency-key")
        if not lines or not lines[0]:
            return super().key_of(call)
        return lines[0]


@broken(TWICE, "keys")
class IgnoresSecondLine(Service):
    """Of two lines of the header, the first one is the key."""

    def key_of(self, call: Call) -> str | None:
        """Take the first line."""
        lines = call.lines("idempotency-key")
        return unquoted(lines[0]) if lines else super().key_of(call)


@broken(WRONG, "keys")
class FoldsCase(Service):
    """Keys that differ in case are one key, as in a column that compares so."""

    def name_of(self, call: Call) -> str:
        """Compare in lower case."""
        return super().name_of(call).lower()


class _LongKeys(Service):
    def key_of(self, call: Call) -> str | None:
        """Allow any length."""
        value = call.header("idempotency-key")
        if len(call.lines("idempotency-key")) == 1 and len(value) > 250:  # noqa: PLR2004
            return unquoted(f"{value[:200]}{value[-50:]}") and value[1:-1]
        return super().key_of(call)


@broken(WRONG, "keys")
class CutsKeys(_LongKeys):
    """Long keys are cut, as a column that is too narrow does."""

    def name_of(self, call: Call) -> str:
        """Cut the key."""
        return super().name_of(call._replace(key=call.key[:255]))


@broken(WRONG, "keys")
class CutsShortKeys(Service):
    """Keys are cut to 36 characters, the length of a UUID."""

    def name_of(self, call: Call) -> str:
        """Cut the key."""
        return super().name_of(call._replace(key=call.key[:36]))


@broken(UNPROTECTED, "keys")
class NeedsNoKey(Service):
    """A request without a key runs."""

    def key_of(self, call: Call) -> str | None:
        """Accept no key."""
        return super().key_of(call) if call.lines("idempotency-key") else None


@broken(UNPROTECTED, "keys")
class AcceptsLists(Service):
    """A list of keys is a key."""

    def key_of(self, call: Call) -> str | None:
        """Take a list as a text."""
        value = call.header("idempotency-key")
        return value if value.count('"') > 2 and "\\" not in value else super().key_of(call)  # noqa: PLR2004


@broken(WRONG, "keys")
class DropsEscapes(Service):
    """Escaped characters are dropped from a key."""

    def name_of(self, call: Call) -> str:
        """Drop them."""
        return super().name_of(call._replace(key=call.key.replace("\\", "").replace('"', "")))


@broken(TWICE, "keys")
class KeepsParameters(Service):
    """The parameters of a key belong to it."""

    def key_of(self, call: Call) -> str | None:
        """Keep them."""
        lines = call.lines("idempotency-key")
        if len(lines) == 1 and ";" in lines[0]:
            key, _, parameters = lines[0].partition(";")
            return f"{unquoted(key)};{parameters}"
        return super().key_of(call)


@broken(TWICE, "scope")
class ScopedByCredential(Service):
    """A client that renews its credential loses its keys."""

    def name_of(self, call: Call) -> str:
        """Scope by the credential."""
        return super().name_of(call._replace(principal=call.header("authorization")))


@broken(WRONG, "keys")
class OneKeyForAll(Service):
    """The key of a request is its client, and another key gets the same answer."""

    def name_of(self, call: Call) -> str:
        """Leave the key out."""
        return call.principal + self.content_of(call)[:0]

    def compare(self, entry: object, call: Call) -> None:
        """Compare nothing."""


class _TwoServices(Service):
    """Two services with one store: ``/orders`` and ``/other/orders``."""

    async def answer(self, call: Call, receive: Receive, send: Send) -> None:
        """Serve both under one name."""
        await super().answer(call._replace(path=call.path.removeprefix("/other")), receive, send)


@broken(WRONG, "scope", second_service="{url}/other/orders", other_path="/idemproof-check")
class SharesItsStore(_TwoServices):
    """Two services with one store share their keys."""
