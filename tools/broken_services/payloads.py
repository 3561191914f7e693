"""Services that compare payloads wrongly."""

import json

from idemproof.conformance.suite.consequences import TWICE, WRONG

from .foundation import Call, Entry, Service, digest
from .kinds import broken


@broken(WRONG, "payloads")
class NoPayloadHash(Service):
    """Payloads are not compared."""

    def content_of(self, call: Call) -> str:  # noqa: ARG002
        """Leave the body out."""
        return ""


@broken(WRONG, "payloads")
class ComparesNothing(Service):
    """Neither payloads nor paths nor methods are compared."""

    def compare(self, entry: Entry, call: Call) -> None:
        """Compare nothing."""


@broken(TWICE, "payloads")
class PayloadInKey(Service):
    """Another payload under a key is another key."""

    def name_of(self, call: Call) -> str:
        """Add the body."""
        return super().name_of(call) + self.content_of(call)


@broken(WRONG, "payloads")
class PathsCollide(Service):
    """The path is not compared."""

    def payload_of(self, call: Call) -> str:
        """Leave the path out."""
        return digest(call.method, call.query, self.content_of(call))


@broken(WRONG, "payloads")
class MethodsCollide(Service):
    """The method is not compared."""

    def payload_of(self, call: Call) -> str:
        """Leave the method out."""
        return digest(call.path, call.query, self.content_of(call))


@broken(WRONG, "payloads")
class QueriesCollide(Service):
    """The query is not compared."""

    def payload_of(self, call: Call) -> str:
        """Leave the query out."""
        return digest(call.method, call.path, self.content_of(call))


@broken(WRONG, "payloads")
class RoundsNumbers(Service):
    """Numbers are compared as floats."""

    def content_of(self, call: Call) -> str:
        """Round the numbers."""
        try:
            return json.dumps(json.loads(call.body, parse_int=float), sort_keys=True)
        except ValueError:
            return super().content_of(call)


@broken(TWICE, "payloads")
class BoundaryInKey(Service):
    """A form with a new boundary is another key."""

    def name_of(self, call: Call) -> str:
        """Add the boundary."""
        return super().name_of(call) + call.header("content-type")


@broken(WRONG, "races")
class WaitsForAnother(Service):
    """A request that waits gets the answer to another payload."""

    def compare(self, entry: Entry, call: Call) -> None:
        """Compare only with an answer."""
        if entry.done.is_set():
            super().compare(entry, call)


@broken(TWICE, "payloads")
class EncodingInKey(Service):
    """A body in gzip is another key."""

    def name_of(self, call: Call) -> str:
        """Add the encoding."""
        return super().name_of(call) + call.header("content-encoding")


@broken(WRONG, "payloads")
class HashesTheStart(Service):
    """Only the first kilobyte of a body is compared."""

    def content_of(self, call: Call) -> str:
        """Cut the body."""
        return super().content_of(call)[:1024]


@broken(WRONG, "payloads")
class FoldsTexts(Service):
    """Bodies are compared without regard to case and spaces."""

    def content_of(self, call: Call) -> str:
        """Fold the body."""
        return super().content_of(call).lower().replace(" ", "")
