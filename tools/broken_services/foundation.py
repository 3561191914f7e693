"""A correct HTTP service without a framework, in small steps that a broken service replaces.

It keeps its keys in memory, and their answers in a file if it gets one. Equal requests that arrive meanwhile
wait. It watches its own effects: ``GET /effects`` returns their number.
"""

import asyncio
import gzip
import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, NamedTuple

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[str, str]]

PRINCIPALS = {"Bearer alice": "alice", "Bearer alice-renewed": "alice", "Bearer bob": "bob"}
HANDLER_SECONDS = 0.02
SLOW_SECONDS = 1.0
WINDOW_SECONDS = 3.0
WINDOW_OF_PROCESS_SECONDS = 60.0
"""The window of a service with a file: longer than a restart on a slow machine."""
_LARGE = 300_000


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes


class Call(NamedTuple):
    """A request after its head was read."""

    method: str
    path: str
    query: str
    headers: Headers
    principal: str = ""
    key: str = ""
    body: bytes = b""

    def lines(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for each, value in self.headers if each == name]

    def header(self, name: str) -> str:
        """Return the value of a header, or an empty text."""
        return ", ".join(self.lines(name))


class RefusedError(Exception):
    """The request is refused with this status."""

    def __init__(self, status: int, why: str, retry_after: str | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.retry_after = retry_after


class Entry:
    """A key: its payload hash, and its answer when it has one."""

    def __init__(self, payload: str, began: float) -> None:
        self.payload = payload
        self.began = began
        self.done = asyncio.Event()
        self.reply: Reply | None = None


class Service:
    """The correct service, as an ASGI application.

    Parameters
    ----------
    file
        Where answers and effects are kept, or None.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.effects = 0
        self.entries: dict[str, Entry] = {}
        self.failed: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.file = file
        if file is not None and file.exists():
            for line in file.read_text().splitlines():
                self.restore(json.loads(line))

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        call = Call(
            scope["method"], scope["raw_path"].decode(), scope.get("query_string", b"").decode(), headers
        )
        if call.path == "/effects":
            await send_reply(send, json_reply(200, {"count": self.effects}))
            return
        try:
            await self.answer(call, receive, send)
        except RefusedError as refused:
            reply = json_reply(refused.status, {"title": str(refused)})
            if refused.retry_after is not None:
                reply.headers.append(("retry-after", refused.retry_after))
            await send_reply(send, reply)

    async def answer(self, call: Call, receive: Receive, send: Send) -> None:
        """Check the request, run it or repeat its answer, and send that."""
        call = call._replace(principal=self.principal_of(call))
        key = self.key_of(call)
        if key is None:
            body = await self.read(receive)
            if body is not None:
                await send_reply(send, await self.run(call._replace(body=body)))
            return
        body = await self.read(receive)
        if body is None:
            return
        await self.protected(call._replace(key=key, body=body), receive, send)

    async def protected(self, call: Call, receive: Receive, send: Send) -> None:  # noqa: ARG002 - broken ones use it
        """Run a request with a key, or repeat its answer, and send that."""
        name = self.name_of(call)
        entry = self.current(name)
        if entry is None:
            entry = self.claim(name, call)
            self.start(self.complete(name, entry, call))
            await entry.done.wait()
            assert entry.reply is not None
            await self.deliver(entry.reply, call, send)
        else:
            self.compare(entry, call)
            await self.meet(entry)
            assert entry.reply is not None
            await self.deliver(self.replayed(entry.reply), call, send)

    # The steps that a broken service replaces.

    def principal_of(self, call: Call) -> str:
        """Return whose request it is."""
        principal = PRINCIPALS.get(call.header("authorization"))
        if principal is None:
            raise RefusedError(401, "unknown client")
        return principal

    def key_of(self, call: Call) -> str | None:
        """Return the key; None if the request needs none."""
        lines = call.lines("idempotency-key")
        if not lines and call.method in ("PUT", "DELETE", "GET"):
            return None
        if len(lines) != 1:
            raise RefusedError(400, "one key is required")
        return unquoted(lines[0])

    def name_of(self, call: Call) -> str:
        """Return the name under which a key is kept."""
        return json.dumps([call.principal, call.key])

    def payload_of(self, call: Call) -> str:
        """Return the hash of what must not change."""
        return digest(
            call.method, call.path, call.query, call.header("content-encoding"), self.content_of(call)
        )

    def content_of(self, call: Call) -> str:
        """Return a body in a form that does not depend on its boundary."""
        kind = call.header("content-type")
        if kind.startswith("multipart/"):
            return call.body.decode().replace(kind.rpartition("boundary=")[2], "boundary")
        return call.body.decode("latin-1")

    def current(self, name: str) -> Entry | None:
        """Return what is stored under a name, until its window ends."""
        entry = self.entries.get(name)
        if entry is not None and entry.done.is_set() and time.monotonic() > entry.began + self.window():
            return None
        return entry

    def window(self) -> float:
        """Return how long an answer is kept (seconds)."""
        return WINDOW_SECONDS if self.file is None else WINDOW_OF_PROCESS_SECONDS

    def claim(self, name: str, call: Call) -> Entry:
        """Claim a name."""
        entry = self.entries[name] = Entry(self.payload_of(call), time.monotonic())
        return entry

    def compare(self, entry: Entry, call: Call) -> None:
        """Refuse another payload."""
        if entry.payload != self.payload_of(call):
            raise RefusedError(422, "the key was used with another payload")

    async def meet(self, entry: Entry) -> None:
        """Wait until the first request has ended."""
        await entry.done.wait()

    async def complete(self, name: str, entry: Entry, call: Call) -> None:
        """Run the request, store its answer, and let the waiting ones go on."""
        reply = await self.run(call)
        self.store(name, entry, reply)

    def store(self, name: str, entry: Entry, reply: Reply) -> None:
        """Store an answer, or release the key."""
        entry.reply = reply
        entry.began = time.monotonic()
        if not self.is_final(reply):
            self.entries.pop(name, None)
        elif self.file is not None:
            self.write(
                {"name": name, "payload": entry.payload, "reply": [*reply[:2], reply.body.decode("latin-1")]}
            )
        entry.done.set()

    def is_final(self, reply: Reply) -> bool:
        """Return whether a repeat gets this answer."""
        return reply.status < 500 and reply.status not in (307, 308, 401, 429)  # noqa: PLR2004

    def replayed(self, reply: Reply) -> Reply:
        """Return what a repeat gets."""
        return reply._replace(headers=without(reply.headers, "set-cookie"))

    async def deliver(self, reply: Reply, call: Call, send: Send) -> None:
        """Send an answer, as the client accepts it."""
        await send_reply(send, encoded(reply, call))

    # The application.

    async def run(self, call: Call) -> Reply:
        """Do what a request asks for."""
        name = call.path.rpartition("/")[2]
        if call.path == "/old-orders":
            return Reply(307, [("location", "/orders"), ("content-type", "text/plain")], b"moved")
        known = call.path in ("/orders", "/refunds") or call.path.startswith("/orders/")
        if not known or call.path.endswith("idemproof-check"):
            return json_reply(404, {"title": "not found"})
        if call.method not in ("POST", "PUT", "PATCH"):
            return json_reply(405, {"title": "not allowed"})
        if name == "declined":
            return json_reply(402, {"title": "declined", "reference": secrets.token_hex(4)})
        return await self.charge(call, name)

    async def charge(self, call: Call, name: str) -> Reply:
        """Have the effect."""
        await asyncio.sleep(HANDLER_SECONDS / 2)
        if name == "fails" and digest(call.body.decode("latin-1")) not in self.failed:
            self.failed.add(digest(call.body.decode("latin-1")))
            return json_reply(500, {"title": "failed"})
        slowness = SLOW_SECONDS / 2 if name == "slow" else 0
        await asyncio.sleep(slowness)
        self.effect()
        await asyncio.sleep(HANDLER_SECONDS / 2 + slowness)
        reply = self.created(call)
        if name == "large":
            return Reply(201, reply.headers, json.dumps({"id": self.number(), "text": "x" * _LARGE}).encode())
        return reply

    def effect(self) -> None:
        """Count an effect."""
        self.effects += 1
        if self.file is not None:
            self.write({"effect": self.effects})

    def number(self) -> str:
        """Return the number of the order whose effect has just happened."""
        return str(self.effects)

    def created(self, call: Call) -> Reply:
        """Return the answer to a request that had its effect."""
        try:
            amount = json.loads(call.body).get("amount")
        except ValueError:
            amount = None
        number = self.number()
        reply = json_reply(201, {"id": number, "amount": amount, "method": call.method})
        reply.headers.extend(
            [
                ("location", f"/orders/{number}"),
                ("set-cookie", f"session={secrets.token_hex(8)}"),
                ("x-order", number),
                ("x-request-id", secrets.token_hex(8)),
            ]
        )
        return reply

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that no disconnect cancels."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def read(self, receive: Receive) -> bytes | None:
        """Return the whole body; None if the client has left."""
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += bytes(message.get("body", b""))
            if not message.get("more_body", False):
                return body

    def write(self, line: dict[str, Any]) -> None:
        """Append a line to the file, durably enough for a killed process."""
        assert self.file is not None
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def restore(self, line: dict[str, Any]) -> None:
        """Restore what a line of the file says."""
        if "effect" in line:
            self.effects = line["effect"]
            return
        entry = self.entries[line["name"]] = Entry(line["payload"], time.monotonic())
        status, headers, body = line["reply"]
        entry.reply = Reply(status, [(name, value) for name, value in headers], body.encode("latin-1"))
        entry.done.set()


def json_reply(status: int, data: Any) -> Reply:
    """Return an answer with JSON."""
    return Reply(status, [("content-type", "application/json")], json.dumps(data).encode())


def unquoted(value: str) -> str:
    """Return the text of a quoted string of RFC 8941, or refuse it."""
    if not (value.startswith('"') and value.endswith('"') and len(value) > 2 and value.isascii()):  # noqa: PLR2004
        raise RefusedError(400, "the key is not a quoted string")
    text, escaped = "", False
    for each in value[1:-1]:
        if escaped and each not in '"\\':
            raise RefusedError(400, "the key has an unknown escape")
        if not escaped and each == '"':
            raise RefusedError(400, "the key is not one string")
        if not escaped and each == "\\":
            escaped = True
            continue
        text, escaped = text + each, False
    if escaped or not text.strip() or len(text) > 255:  # noqa: PLR2004
        raise RefusedError(400, "the key is empty or too long")
    return text


def digest(*parts: str) -> str:
    """Return a hash of texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def encoded(reply: Reply, call: Call) -> Reply:
    """Return an answer in gzip if the client accepts it."""
    if "gzip" not in call.header("accept-encoding"):
        return reply
    headers = [*reply.headers, ("content-encoding", "gzip"), ("vary", "accept-encoding")]
    return Reply(reply.status, headers, gzip.compress(reply.body))


def without(headers: Iterable[tuple[str, str]], *names: str) -> Headers:
    """Return headers without some names."""
    return [(name, value) for name, value in headers if name not in names]


async def send_reply(send: Send, reply: Reply) -> None:
    """Send a whole answer."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
