"""Measure the cost of protection over HTTP. The floor is the bare application, plus the core API in it.

A refused request has the key of an order and another payload. The bare application does what is ordered, and
the one with the core API, which compares no payloads here, answers with the first receipt.

Each contestant is an application on FastAPI, in a server process of its own (uvicorn, one worker). A client
sends one request after the other, over one connection that stays open.
"""

import contextlib
import http.client
import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from libraries import BARE, IDEMKIT, IDEMPROOF
from measuring import FIRST, REPLAY, Act, Contestant, Scenario, Size, Step, by_steps
from payloads import ORDER, Payload
from stores import Places

import idemproof

CORE, FASTAPI_IDEMPOTENCY = "bare + arun", "fastapi-idempotency"
_PROGRAM = str(Path(__file__).with_name("http_application.py"))
REFUSAL = "refusal"
_MODULES = {FASTAPI_IDEMPOTENCY: ("fastapi_idempotency",), IDEMKIT: ("idemkit",)}
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer benchmarks"}


class Client:
    """Sends the requests of one contestant to its server."""

    def __init__(self, server: Any) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=60)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, path: str) -> str:
        """Return the text at ``path``."""
        self._connection.request("GET", path)
        return self._connection.getresponse().read().decode()

    def order(self, payload: Payload) -> Any:
        """Send an order, under a key of its own, and return the receipt."""
        headers = HEADERS | {"Idempotency-Key": f'"{payload["order_id"]}"'}
        self._connection.request("POST", "/orders", json.dumps(payload), headers)
        response = self._connection.getresponse()
        body = response.read()
        return json.loads(body) if response.status == http.HTTPStatus.OK else (response.status, body)

    def orders(self, payloads: Sequence[Payload]) -> list[Any]:
        """Send orders one after the other."""
        return [self.order(payload) for payload in payloads]

    def __len__(self) -> int:
        return int(self.get("/runs"))


def short_name(name: str) -> str:
    """Return the name of a contestant in ``http_application.py``."""
    return "core" if name == CORE else name


def _served(name: str, store: str, address: str, places: Places, stack: contextlib.ExitStack) -> Client:
    process: Any = importlib.import_module("server_process")
    for needed in ("fastapi", "uvicorn", *_MODULES.get(name, ())):
        process.module(needed)
    short = short_name(name)

    def answers(server: Any) -> bool:
        with contextlib.closing(Client(server)) as client:
            try:
                return client.get("/name") == short
            except (OSError, http.client.HTTPException):
                return False

    server = stack.enter_context(
        process.Server(
            lambda port: [sys.executable, _PROGRAM, str(port), short, store, address],
            answers,
            Path(tempfile.mkdtemp(prefix=f"{short}-", dir=places.folder)),
        )
    )
    return stack.enter_context(contextlib.closing(Client(server)))


def contestant(name: str, act: Act, runs: Any) -> Contestant:
    """Return a contestant: ``act`` sends orders, and the length of ``runs`` is how often the endpoint ran."""
    again = None if name == BARE else False  # the bare application runs again

    def change(payloads: Sequence[Payload]) -> Sequence[Any]:
        return act([payload | {"currency": "USD"} for payload in payloads])

    steps = [
        Step(FIRST, act, ORDER.answer, runs=True),
        Step(REPLAY, act, ORDER.answer, runs=again),
        Step(REFUSAL, change, None, runs=again),
    ]
    return by_steps(name, steps, runs)


def _over(store: str, address: Callable[[Places], str], names: Sequence[str]) -> Any:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:
        where = address(places)
        clients = {name: _served(name, store, where, places, stack) for name in names}
        return [contestant(name, client.orders, client) for name, client in clients.items()]

    return enter


def _postgres(places: Places) -> str:
    with contextlib.closing(idemproof.PostgresPersistenceLayer(places.postgres)) as layer:
        layer.create_table()
    return places.postgres


SCENARIOS = [
    Scenario(
        "HTTP, memory",
        _over("memory", lambda _: "", [BARE, CORE, IDEMPROOF, IDEMKIT, FASTAPI_IDEMPOTENCY]),
        CORE,
        Size(15, 200),
    ),
    Scenario(
        "HTTP, Valkey",
        _over(
            "valkey",
            lambda places: f"redis://127.0.0.1:{places.valkey_port}/5",
            [BARE, CORE, IDEMPROOF, IDEMKIT],
        ),
        CORE,
        Size(15, 200),
    ),
    Scenario("HTTP, PostgreSQL", _over("postgres", _postgres, [BARE, CORE, IDEMPROOF]), CORE, Size(11, 50)),
]
