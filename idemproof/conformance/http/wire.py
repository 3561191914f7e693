"""Sends requests byte by byte, so that they can be malformed or cut, and reads the answers."""

import contextlib
import ipaddress
import selectors
import socket
import ssl
import struct
import time
from typing import NamedTuple, Self

import h11

from .budget import Budget
from .places import Place

_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)
"""The option that makes a closed connection be reset."""


class Request(NamedTuple):
    """A request as it is sent.

    Parameters
    ----------
    method, path
        The method, and the path with its query.
    headers
        The header lines in order, without Host, Connection and those that describe the length of the body.
    body
        The body.
    chunked
        Whether it is sent in chunks, so that its length is not known in advance.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    chunked: bool = False

    def head(self, authority: str) -> bytes:
        """Return the bytes before the body."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {authority}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.body or self.method not in ("GET", "HEAD"):
            lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def payload(self) -> bytes:
        """Return the bytes of the body as they are sent."""
        if not self.chunked:
            return self.body
        half = len(self.body) // 2
        parts = [part for part in (self.body[:half], self.body[half:]) if part]
        return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


class Answer(NamedTuple):
    """An answer of the service, or why there is no complete one.

    Parameters
    ----------
    status
        The status, or None if none was received.
    headers
        The header lines, with names in lower case.
    body
        The body, as far as it was received.
    failure
        Why the answer is not complete, as part of a sentence; None if it is complete.
    seconds
        How long it took until the answer had ended (seconds).
    is_cut
        Whether the connection ended before the answer was complete.
    """

    status: int | None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    failure: str | None = None
    seconds: float = 0.0
    is_cut: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether it is complete and has a 2xx status."""
        return self.failure is None and self.status is not None and 200 <= self.status < 300  # noqa: PLR2004

    @property
    def refused(self) -> bool:
        """Whether it is complete and has a 4xx status."""
        return self.failure is None and self.status is not None and 400 <= self.status < 500  # noqa: PLR2004

    def header(self, name: str) -> str | None:
        """Return the value of a header, or None."""
        return next((value for each, value in self.headers if each == name.lower()), None)


class Link:
    """One connection, for one request."""

    def __init__(self, place: Place, budget: Budget) -> None:
        self._budget = budget
        self._ends = time.monotonic() + budget.limits.timeout_seconds
        self._began = time.monotonic()
        self._socket = _connected(place, self._remaining())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send bytes. An error of the connection shows when the answer is read."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(self._remaining())
            self._socket.sendall(data)

    def wait_for_answer(self) -> None:
        """Wait until an answer begins to arrive, or the connection ends."""
        with contextlib.suppress(OSError), selectors.DefaultSelector() as waiting:
            waiting.register(self._socket, selectors.EVENT_READ)
            waiting.select(self._remaining())

    def end_sending(self) -> None:
        """Close the direction to the service, as a client that sends nothing more may do."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self, *, reset: bool = False) -> None:
        """Close the connection; with ``reset``, so that the service notices at once."""
        with contextlib.suppress(OSError):
            if reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._socket.close()

    def read(self, method: str, *, at_most: int | None = None) -> Answer:
        """Return the answer to a request of this method; stop after ``at_most`` bytes of its body.

        Raises
        ------
        Spent
            The time of the run ended before the answer.
        """
        reader = _Reader(method, self._budget.limits.answer_bytes, at_most)
        try:
            while not reader.ended:
                self._socket.settimeout(self._remaining())
                reader.add(self._socket.recv(_CHUNK))
        except TimeoutError:
            self._budget.require_time()
            reader.failure = f"it did not end within {time.monotonic() - self._began:.1f} seconds"
        except OSError as error:
            reader.failure, reader.is_cut = f"the connection failed: {error.strerror or error}", True
        except h11.RemoteProtocolError as error:
            reader.failure = f"it is not complete HTTP/1.1: {error}" if reader.status else _CLOSED
        return reader.answer(time.monotonic() - self._began)

    def _remaining(self) -> float:
        left = min(self._ends - time.monotonic(), self._budget.seconds_left)
        if left <= 0:
            raise TimeoutError
        return left


_CLOSED = "the connection was closed without an answer"


class _Reader:
    """Collects one answer from the bytes of a connection."""

    def __init__(self, method: str, largest: int, at_most: int | None) -> None:
        self._parser = h11.Connection(h11.CLIENT)
        self._parser.send(h11.Request(method=method, target="/", headers=[("Host", "judge")]))
        self._parser.send(h11.EndOfMessage())
        self._largest = largest
        self._at_most = at_most
        self._headers: tuple[tuple[str, str], ...] = ()
        self._body = bytearray()
        self.status: int | None = None
        self.failure: str | None = None
        self.ended = False
        self.is_cut = False

    def add(self, data: bytes) -> None:
        """Add bytes; empty bytes are the end of the connection."""
        self.is_cut = not data
        self._parser.receive_data(data)
        while not self.ended:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                return
            self._take(event)

    def answer(self, seconds: float) -> Answer:
        """Return what was received."""
        is_cut = self.is_cut and self.failure is not None
        return Answer(self.status, self._headers, bytes(self._body), self.failure, seconds, is_cut)

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Response):
            self.status = event.status_code
            self._headers = tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in event.headers
            )
        elif isinstance(event, h11.Data):
            self._body += event.data
            if self._at_most is not None and len(self._body) >= self._at_most:
                self._stop("the client stopped reading")
            elif len(self._body) > self._largest:
                self._stop(f"its body is larger than {self._largest:,} bytes")
        elif isinstance(event, h11.EndOfMessage):
            self.ended = True
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            self._stop("the connection was closed")

    def _stop(self, why: str) -> None:
        self.failure, self.ended = why, True


def _connected(place: Place, timeout: float) -> socket.socket:
    """Return a connection to the address that was checked, encrypted if the scheme says so."""
    plain = socket.create_connection((place.address, place.port), timeout=timeout)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if place.scheme != "https":
            return plain
        context = ssl.create_default_context()
        if ipaddress.ip_address(place.address.partition("%")[0]).is_loopback:
            context.check_hostname = False  # certificates of this machine are seldom signed
            context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=place.host)
    except BaseException:
        plain.close()
        raise
