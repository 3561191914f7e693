"""Measure the cost of protection over HTTP without a server and a client: calls of ASGI applications.

The contestants are those of ``over_http.py`` over memory. What a server and a client take is left out, so the
ratios are larger than over a server.
"""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any

from libraries import BARE, IDEMKIT, IDEMPROOF
from measuring import Contestant, Scenario, Size
from over_http import CORE, FASTAPI_IDEMPOTENCY, HEADERS, contestant, short_name
from payloads import Payload
from stores import Places

_ADDRESS = ("127.0.0.1", 8000)


class Client:
    """Calls the application of one contestant, as uvicorn does."""

    def __init__(self, app: Any, runner: asyncio.Runner) -> None:
        self._app, self._runner = app, runner

    def orders(self, payloads: Sequence[Payload]) -> list[Any]:
        """Send orders one after the other, each under a key of its own, and return the receipts."""
        return self._runner.run(self._orders(payloads))

    def __len__(self) -> int:
        return int(self._runner.run(self._send("GET", "/runs", {}, b""))[1])

    async def _orders(self, payloads: Sequence[Payload]) -> list[Any]:
        receipts = []
        for payload in payloads:
            headers = HEADERS | {"Idempotency-Key": f'"{payload["order_id"]}"'}
            status, body = await self._send("POST", "/orders", headers, json.dumps(payload).encode())
            receipts.append(json.loads(body) if status == 200 else (status, body))  # noqa: PLR2004 - it is fine
        return receipts

    async def _send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        incoming = [{"type": "http.request", "body": body, "more_body": False}]
        outgoing: list[Any] = []

        async def receive() -> Any:
            return incoming.pop() if incoming else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            outgoing.append(message)

        lines = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": _ADDRESS,
            "client": _ADDRESS,
            "scheme": "http",
            "root_path": "",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [
                (b"host", b"127.0.0.1:8000"),
                (b"accept-encoding", b"identity"),
                (b"content-length", b"%d" % len(body)),
                *lines,
            ],
            "state": {},
        }
        await self._app(scope, receive, send)
        return outgoing[0]["status"], b"".join(message.get("body", b"") for message in outgoing)


def _enter(_: Places, stack: contextlib.ExitStack) -> list[Contestant]:
    from http_application import built  # noqa: PLC0415 - FastAPI is loaded when it is measured

    found = []
    for name in (BARE, CORE, IDEMPROOF, IDEMKIT, FASTAPI_IDEMPOTENCY):
        runner = stack.enter_context(asyncio.Runner())
        client = Client(built(short_name(name), "memory", ""), runner)
        found.append(contestant(name, client.orders, client))
    return found


SCENARIOS = [Scenario("HTTP in process, memory", _enter, CORE, Size(31, 200))]
