"""A TCP proxy on 127.0.0.1 that loses replies, loses or delays requests, or refuses connections, on demand.

It works for every protocol with one request in flight per connection, such as Redis and HTTP/1.1. A request
is what a client sends between two replies. It is recognized by bytes that it contains.
"""

import contextlib
import random
import socket
import threading
from dataclasses import dataclass, field
from typing import Literal, Self

from servers import Address

HOST = "127.0.0.1"
CHUNK = 1 << 16
PATIENCE_SECONDS = 60  # for what must happen

Fault = Literal["lose reply", "lose request", "delay request"]


def command(name: str) -> bytes:
    """Return the bytes that identify a Redis command, because ``b"SET"`` is in CLIENT SETINFO, too."""
    return f"\r\n${len(name)}\r\n{name}\r\n".encode()


@dataclass
class _Rule:
    """What happens to the next ``times`` requests that contain ``marker``."""

    fault: Fault
    marker: bytes
    times: int
    seconds: float | None = None
    hanging_up: bool = False


@dataclass(eq=False)
class _Link:
    """A client's connection, and the matching one to the server."""

    client: socket.socket
    server: socket.socket
    request: bytearray = field(default_factory=bytearray)
    answered: threading.Event = field(default_factory=threading.Event)
    """Clear while a request is in flight."""
    let_go: threading.Event = field(default_factory=threading.Event)
    """Ends the delay of a request."""
    judged: bool = False
    """Whether it is settled what happens to the request in flight."""
    delayed: bool = False
    losing: bool = False

    def cut(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.client.close()
        self.server.close()


def _receive(end: socket.socket) -> bytes:
    """Return the received bytes, or empty bytes at the end or for a broken connection."""
    try:
        return end.recv(CHUNK)
    except OSError:
        return b""


class Proxy:
    """Relays to ``server`` until it is closed.

    It keeps every request, so that they can be counted; use ``remember=False`` for long runs.
    """

    host = HOST

    def __init__(self, server: Address, *, remember: bool = True) -> None:
        self._server = server
        self._changed = threading.Condition()
        self._rules: list[_Rule] = []
        self._random: tuple[random.Random, float] | None = None
        self._seen: list[bytearray] | None = [] if remember else None
        self._links: set[_Link] = set()
        self._serving: list[threading.Thread] = []
        self._held: list[_Link] = []
        self._accepting: threading.Thread | None = None
        self._refusing = True
        self._listener = self._bind(0)
        self.port = int(self._listener.getsockname()[1])
        self.accept()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def lose_reply(self, to: bytes = b"", times: int = 1) -> None:
        """Forward the next requests that contain ``to``, and disconnect the client instead of replying."""
        self._add(_Rule("lose reply", to, times))

    def lose_request(self, to: bytes = b"", times: int = 1) -> None:
        """Disconnect the client instead of forwarding the next requests that contain ``to``."""
        self._add(_Rule("lose request", to, times))

    def delay_request(self, to: bytes = b"", times: int = 1, seconds: float | None = None) -> None:
        """Hold the next requests that contain ``to``; forward them later even if the client has gone.

        Later is after ``seconds``, or when ``release`` is called.
        """
        self._add(_Rule("delay request", to, times, seconds))

    def delay_request_and_hang_up(self, to: bytes = b"", times: int = 1) -> None:
        """Do the same as ``delay_request``, but close the client's connection at once."""
        self._add(_Rule("delay request", to, times, hanging_up=True))

    def wait_held(self, count: int = 1) -> None:
        """Wait until ``count`` requests are held."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._held) >= count, PATIENCE_SECONDS):
                raise TimeoutError(f"{len(self._held)} of {count} requests are held")

    def release(self) -> None:
        """Forward the held requests, return when the server has answered them, and stop delaying."""
        with self._changed:
            self._rules = [rule for rule in self._rules if rule.fault != "delay request"]
            held = list(self._held)
            for link in held:
                link.let_go.set()
        if not all(link.answered.wait(PATIENCE_SECONDS) for link in held):
            raise TimeoutError("the server does not answer what was released")

    def drop_randomly(self, rng: random.Random, probability: float) -> None:
        """From now on, lose each request with ``probability``: half before, half after it is served."""
        with self._changed:
            self._random = (rng, probability) if probability else None

    def turn(self, server: Address) -> None:
        """Forward new connections to another server from now on; open connections stay."""
        self._server = server

    def requests(self, marker: bytes = b"") -> int:
        """Count the requests seen that contain ``marker``."""
        with self._changed:
            if self._seen is None:
                raise RuntimeError("this proxy does not remember requests")
            return sum(marker in request for request in self._seen)

    def refuse(self) -> None:
        """Cut all connections, and refuse new ones."""
        with self._changed:
            if self._refusing:
                return
            self._refusing = True
        # A thread that waits in accept() is woken most portably by a connection.
        with contextlib.suppress(OSError):
            socket.create_connection((self.host, self.port), timeout=1).close()
        assert self._accepting is not None
        self._accepting.join()
        self._listener.close()
        # Bound without listening, the port stays ours and refuses.
        self._listener = self._bind(self.port)
        with self._changed:
            links = list(self._links)
        for link in links:
            link.cut()

    def accept(self) -> None:
        """Let clients connect again."""
        if not self._refusing:
            return
        self._refusing = False
        self._listener.listen()
        self._accepting = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Close all connections and wait for all threads; held requests are never forwarded."""
        self.refuse()
        self._listener.close()
        with self._changed:
            links = list(self._links)
        for link in links:
            link.let_go.set()
            link.answered.set()
        # A link leaves the set before its thread has ended.
        for thread in self._serving:
            thread.join()

    def _add(self, rule: _Rule) -> None:
        with self._changed:
            self._rules.append(rule)

    def _bind(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, port))
        return listener

    def _accept(self) -> None:
        while True:
            client = self._listener.accept()[0]
            if self._refusing:
                client.close()
                return
            try:
                server = socket.create_connection((self._server.host, self._server.port), timeout=5)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(client, server)
            link.answered.set()
            with self._changed:
                self._links.add(link)
            thread = threading.Thread(target=self._serve, args=(link,), name="proxy", daemon=True)
            thread.start()
            self._serving = [other for other in self._serving if other.is_alive()] + [thread]

    def _serve(self, link: _Link) -> None:
        replies = threading.Thread(target=self._relay_replies, args=(link,), name="proxy", daemon=True)
        replies.start()
        # Whichever end breaks, the link is over.
        with contextlib.suppress(OSError):
            self._relay_requests(link)
        link.cut()
        replies.join()
        with self._changed:
            self._links.discard(link)
        link.close()

    def _relay_requests(self, link: _Link) -> None:
        while chunk := _receive(link.client):
            rule = self._judge(link, chunk)
            if rule is not None and rule.fault == "lose request":
                return
            if rule is not None and rule.fault == "lose reply":
                link.losing = True
            if rule is not None and rule.fault == "delay request":
                self._hold(link, rule)
            link.server.sendall(chunk)
        if link.delayed:
            # The client has gone. If the server were notified now, it might drop what has just reached it.
            link.answered.wait(PATIENCE_SECONDS)

    def _relay_replies(self, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while chunk := _receive(link.server):
                # Before the client has the reply: its next request may come at once.
                link.answered.set()
                if link.losing:
                    break
                link.client.sendall(chunk)
        link.answered.set()
        link.cut()

    def _judge(self, link: _Link, chunk: bytes) -> _Rule | None:
        """Record a request, or another part of it, and return what happens to it."""
        with self._changed:
            first = link.answered.is_set()
            if first:
                link.answered.clear()
                link.request = bytearray()
                link.judged = False
                if self._seen is not None:
                    self._seen.append(link.request)
            link.request += chunk
            if link.judged:
                return None
            for rule in self._rules:
                if rule.marker in link.request:
                    link.judged = True
                    rule.times -= 1
                    if not rule.times:
                        self._rules.remove(rule)
                    return rule
            if first and self._random is not None:
                rng, probability = self._random
                if rng.random() < probability:
                    link.judged = True
                    return _Rule("lose reply" if rng.random() < 0.5 else "lose request", b"", 1)
            return None

    def _hold(self, link: _Link, rule: _Rule) -> None:
        link.delayed = True
        with self._changed:
            self._held.append(link)
            self._changed.notify_all()
        if rule.hanging_up:
            # Not before it is held: the client may have it released at once. It may still send the rest.
            with contextlib.suppress(OSError):
                link.client.shutdown(socket.SHUT_WR)
        link.let_go.wait(rule.seconds)
        with self._changed:
            self._held.remove(link)
            link.let_go.clear()
