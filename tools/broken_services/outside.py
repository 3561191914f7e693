"""Services whose keys are handled outside of authentication."""

from idemproof.conformance.suite.consequences import LEAKED, LOCKED_OUT

from .foundation import Call, RefusedError, Reply, Service, json_reply
from .kinds import broken


class _Outside(Service):
    """The client is known only inside: keys belong to what the request says about itself."""

    def principal_of(self, call: Call) -> str:  # noqa: ARG002
        """Believe everything."""
        return "alice"

    async def run(self, call: Call) -> Reply:
        """Authenticate, and run."""
        try:
            super().principal_of(call)
        except RefusedError as refused:
            return json_reply(refused.status, {"title": str(refused)})
        return await super().run(call)


@broken(LEAKED, "scope")
class OutsideAuthentication(_Outside):
    """A stored answer is given to a client that is not authenticated."""


@broken(LOCKED_OUT, "scope")
class StoresUnauthorized(_Outside):
    """A 401 is final, and occupies the key."""

    def is_final(self, reply: Reply) -> bool:
        """Store it."""
        return reply.status < 500  # noqa: PLR2004

    def principal_of(self, call: Call) -> str:
        """Return the client, whatever its credential."""
        return "bob" if "bob" in call.header("authorization") else "alice"
