"""Measure the cost of protection over HTTP without a server and a client: calls of ASGI applications.

The contestants are those of ``over_http.py`` over memory. What a server and a client take is left out, so the
ratios are larger than over a server.

``python http_in_process.py`` counts the bytecodes of a request instead, which other load on the machine does
not change.
"""

import asyncio
import contextlib
import importlib
import json
from collections.abc import Sequence
from typing import Any

from libraries import BARE, IDEMKIT, IDEMPROOF
from measuring import FIRST, REPLAY, Contestant, Scenario, Size
from over_http import CORE, FASTAPI_IDEMPOTENCY, HEADERS, REFUSAL, contestant, short_name
from payloads import ORDER, Payload
from stores import Places

CONTESTANTS = (BARE, CORE, IDEMPROOF, IDEMKIT, FASTAPI_IDEMPOTENCY)

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

    def bytecodes(self, payload: Payload) -> int:
        """Return how many bytecodes the interpreter executes for an order."""
        return self._runner.run(self._bytecodes(payload))

    async def _bytecodes(self, payload: Payload) -> int:
        counting: Any = importlib.import_module("bytecodes")
        with counting.Bytecodes() as counted:
            await self._orders([payload])
        return int(counted.total)

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


def _client(name: str, stack: contextlib.ExitStack) -> Client:
    from http_application import built  # noqa: PLC0415 - FastAPI is loaded when it is measured

    return Client(built(short_name(name), "memory", ""), stack.enter_context(asyncio.Runner()))


def _enter(_: Places, stack: contextlib.ExitStack) -> list[Contestant]:
    clients = {name: _client(name, stack) for name in CONTESTANTS}
    return [contestant(name, client.orders, client) for name, client in clients.items()]


def main() -> None:
    """Print the bytecodes of each case for each contestant, and their ratio to the reference."""
    counts: dict[str, list[int]] = {}
    with contextlib.ExitStack() as stack:
        for name in CONTESTANTS:
            client = _client(name, stack)
            client.orders([ORDER.make(number) for number in range(10)])
            order = ORDER.make(10)
            counts[name] = [client.bytecodes(each) for each in (order, order, order | {"currency": "USD"})]
    print(f"{'bytecodes':22}{FIRST:>20}{REPLAY:>20}{REFUSAL:>20}")
    for name, found in counts.items():
        ratios = [count / reference for count, reference in zip(found, counts[CORE], strict=True)]
        cells = [f"{count} ({ratio:.2f})" for count, ratio in zip(found, ratios, strict=True)]
        print(f"{name:22}" + "".join(f"{cell:>20}" for cell in cells))


SCENARIOS = [Scenario("HTTP in process, memory", _enter, CORE, Size(31, 200))]


if __name__ == "__main__":
    main()
