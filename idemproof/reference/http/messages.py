"""Plain data of a request and a response, without a framework."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Headers = tuple[tuple[bytes, bytes], ...]


def lowered(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return headers with lower-case names."""
    return tuple([(bytes(name).lower(), bytes(value)) for name, value in headers])


def encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return headers of text as bytes, with lower-case names."""
    return tuple([(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers])


def decoded(headers: Headers) -> list[tuple[str, str]]:
    """Return headers as text."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


@dataclass(frozen=True, slots=True)
class Request:
    """A request, as the middleware and its functions see it.

    Parameters
    ----------
    method
        The method, in upper case.
    path
        The path in percent-encoded form, as the client sent it.
    query
        The query string, without the question mark.
    headers
        The field lines, in their order, with lower-case names.
    body
        The body; empty until it is read.
    native
        The server's own form of the request: the scope of ASGI, or the environ of WSGI.
    root
        The decoded path under which the server has mounted the application; usually empty.
    """

    method: str
    path: bytes
    query: bytes
    headers: Headers
    body: bytes = b""
    native: Any = field(default=None, repr=False, compare=False)
    root: str = field(default="", repr=False, compare=False)

    def lines(self, name: str) -> list[bytes]:
        """Return the values of all field lines with this name."""
        wanted = name.lower().encode("latin-1")
        return [value for known, value in self.headers if known == wanted]

    def with_body(self, body: bytes) -> "Request":
        """Return the same request with this body."""
        return Request(self.method, self.path, self.query, self.headers, body, self.native, self.root)

    def header(self, name: str) -> str | None:
        """Return the value of a header, several lines joined by commas; None without one."""
        lines = self.lines(name)
        return b", ".join(lines).decode("latin-1") if lines else None


@dataclass(frozen=True, slots=True)
class Response:
    """A response: what the application answered, what is replayed, or a refusal.

    Parameters
    ----------
    status
        The status code.
    headers
        The field lines, in their order, with lower-case names.
    body
        The whole body.
    """

    status: int
    headers: Headers = ()
    body: bytes = b""

    def has(self, name: bytes) -> bool:
        """Return whether there is a header with this lower-case name."""
        return any(known == name for known, _ in self.headers)

    def with_headers(self, *more: tuple[bytes, bytes]) -> "Response":
        """Return the same response with these headers, instead of any with their names."""
        names = {name for name, _ in more}
        kept = tuple(line for line in self.headers if line[0] not in names)
        return Response(self.status, (*kept, *more), self.body)

    def without_headers(self, *names: bytes) -> "Response":
        """Return the same response without the headers that have these names."""
        if not any(name in names for name, _ in self.headers):
            return self
        return Response(self.status, tuple(line for line in self.headers if line[0] not in names), self.body)
