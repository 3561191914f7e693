"""Calls ASGI applications without a server, and applications that count their runs."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from idemproof import InMemoryPersistenceLayer
from idemproof.http import IdempotencyMiddleware

Headers = Sequence[tuple[str, str]]

KEY = '"order-4711-of-may"'
START = {"type": "http.response.start", "status": 201, "headers": []}


@dataclass
class Reply:
    """What a client has got; ``status`` is 0 if nothing was sent."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    messages: list[Any] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    @property
    def replayed(self) -> bool:
        return self.header("idempotency-replayed") == "true"


class Exchange:
    """One request to an application, whose client can disconnect."""

    def __init__(
        self,
        app: Any,
        body: bytes | Sequence[bytes] = b"{}",
        *,
        key: str | None = KEY,
        token: str | None = "Bearer ann",
        method: str = "POST",
        path: str = "/orders",
        query: str = "",
        headers: Headers = (),
        **scope: Any,
    ) -> None:
        chunks = [body] if isinstance(body, bytes) else list(body)
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for place, chunk in enumerate(chunks):
            more = place + 1 < len(chunks)
            self._incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": more})
        lines = [("idempotency-key", key)] if key is not None else []
        lines += [("authorization", token)] if token is not None else []
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in (*lines, *headers)],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
            **scope,
        }
        self.reply = Reply()
        self.asked = 0
        self.gone = False
        self._app = app

    async def receive(self) -> Any:
        self.asked += 1
        return await self._incoming.get()

    async def send(self, message: Any) -> None:
        if self.gone:
            raise OSError("the client is gone")
        self.reply.messages.append(message)
        if message["type"] == "http.response.start":
            self.reply.status = message["status"]
            self.reply.headers = [
                (name.decode(), value.decode("latin-1")) for name, value in message["headers"]
            ]
        elif message["type"] == "http.response.body":
            self.reply.body += message.get("body", b"")
            self.reply.complete = not message.get("more_body", False)

    def disconnect(self) -> None:
        self.gone = True
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def __call__(self) -> Reply:
        await self._app(self.scope, self.receive, self.send)
        return self.reply


def call(app: Any, body: bytes | Sequence[bytes] = b"{}", **options: Any) -> Reply:
    """Make one request, and return its reply."""

    async def one() -> Reply:
        return await Exchange(app, body, **options)()

    return asyncio.run(one())


class Counted:
    """An application that counts its runs, and gives the answer it was made with."""

    def __init__(
        self,
        status: int = 201,
        headers: Sequence[tuple[bytes, bytes]] = (),
        chunks: Sequence[bytes] | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.runs = 0
        self.bodies: list[bytes] = []
        self.scopes: list[Any] = []
        self.status, self.headers, self.chunks, self.before = status, headers, chunks, before

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        self.scopes.append(scope)
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        if self.before is not None:
            await self.before()
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        chunks = [b"run %d" % self.runs] if self.chunks is None else self.chunks
        for place, chunk in enumerate(chunks):
            more = place + 1 < len(chunks)
            await send({"type": "http.response.body", "body": chunk, "more_body": more})


def protected(app: Any, store: Any = None, **options: Any) -> Any:
    """Put the middleware around an application."""
    layer = InMemoryPersistenceLayer() if store is None else store
    return IdempotencyMiddleware(app, persistence_store=layer, **options)


def name_of(reply: Reply) -> str:
    """Return the name of a refusal."""
    name: str = json.loads(reply.body)["type"].removeprefix("urn:idemproof:http:")
    return name


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    """Return the message with a part of an answer."""
    return {"type": "http.response.body", "body": data, "more_body": more}


def records(store: Any) -> list[Any]:
    """Return the records of an in-memory layer."""
    return list(getattr(store, "_layer", store)._records.values())


class Stages:
    """An application that stops between its messages until it is allowed to go on."""

    def __init__(self) -> None:
        self.runs = 0
        self.began = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.after: list[str] = []
        self.cancelled = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        await receive()
        self.began.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await send(START)
        await send(body(b"done"))
        self.after.append((await receive())["type"])
