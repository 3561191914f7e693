"""An HTTP/1.1 client over a plain socket: it sends any bytes, and can hang up at any point."""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

from servers import Address

PATIENCE_SECONDS = 60


class Reply(NamedTuple):
    """A response."""

    status: int
    headers: list[tuple[str, str]]
    """Names in lower case."""
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next((value for each, value in self.headers if each == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)


class RawConnection:
    """One connection."""

    def __init__(self, server: Address, seconds: float = PATIENCE_SECONDS) -> None:
        self._socket = socket.create_connection((server.host, server.port), seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end_sending(self) -> None:
        """Half-close: the server sees the end of what was sent, and can still answer."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Hang up at once, with a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def reply(self, method: str = "POST") -> Reply:
        """Read a response.

        Raises
        ------
        OSError, http.client.HTTPException
            The connection ended before it was complete.
        """
        response = http.client.HTTPResponse(self._socket, method=method)
        try:
            response.begin()
            body = response.read()
        finally:
            response.close()
        headers = [(name.lower(), value) for name, value in response.getheaders()]
        return Reply(response.status, headers, body)

    def first_bytes(self) -> bytes:
        """Return what comes first, which is nothing if the server hangs up."""
        return self._socket.recv(1 << 16)


def request(
    target: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = b"",
    *,
    method: str = "POST",
    length: int | None = None,
) -> bytes:
    """Return a request as bytes; ``length`` is the Content-Length, if it is not that of the body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunks(parts: Iterable[bytes], *, ended: bool = True) -> Iterator[bytes]:
    """Yield a body in chunks, with its end or without."""
    for part in parts:
        yield b"%x\r\n%b\r\n" % (len(part), part)
    if ended:
        yield b"0\r\n\r\n"


def exchange(server: Address, data: bytes, method: str = "POST") -> Reply:
    """Send one request over a connection of its own, and return the response."""
    with RawConnection(server) as connection:
        connection.send(data)
        return connection.reply(method)
