"""Kill and terminate the workers of real HTTP servers while clients repeat orders, and count what happened.

Some workers kill themselves at a chosen point: directly before the effect of an order, or directly after it.
Others are struck from outside, at any moment. Several tenants use the same keys, with several payloads.
"""

import contextlib
import hashlib
import http.client
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import raw_http
from http_apps import Effect, order_to_die
from http_servers import HTTPServer, order

TENANTS = ("ada", "grace", "joan")
PAYLOADS = (b'{"show": "Metropolis", "seats": 2}', b'{"show": "Nosferatu", "seats": 1}')
LEASE_SECONDS = 1
CLIENTS = 6
PER_KEY = 12
"""How many orders in turn use one key."""
DYING = (
    ("after", signal.SIGKILL),
    ("before", signal.SIGKILL),
    ("after", signal.SIGTERM),
    None,
    None,
)
"""How the first worker at a key ends, for one key after the other."""
SETTLING_SECONDS = 60
AGAIN = (502, 503)
"""After such a status, as after a lost connection, a client repeats its request at once, for TRIES times."""
TRIES = 20
TARGET = "/orders?sleep=0.005"


@dataclass(frozen=True)
class Asked:
    """What a client asks for."""

    tenant: str
    key: str
    payload: bytes


@dataclass
class Report:
    """What has happened."""

    requests: int = 0
    operations: int = 0
    """Pairs of a tenant and a key."""
    kills: Counter[str] = field(default_factory=Counter)
    """How often a worker got each signal."""
    answers: Counter[str] = field(default_factory=Counter)
    """How often each status came, with the type of its problem."""
    replays: int = 0
    of_another: int = 0
    """Answers that belong to another tenant, key or payload."""
    two_answers: int = 0
    """Operations of which clients got two different results."""
    twice: int = 0
    """Effects beyond the first one of an operation."""
    never: int = 0
    """Operations without any effect: their worker died before it, and they are parked."""
    unsettled: int = 0
    """Questions that had no final answer at the end."""

    def line(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return asdict(self)


class Run:
    """One run against a server whose leases take :data:`LEASE_SECONDS`."""

    def __init__(self, server: HTTPServer, seed: int, orders: int, strike_every: int) -> None:
        self._server = server
        self._draw = random.Random(seed)
        self._seed = seed
        self._orders = iter(self._drawn(orders))
        self._strike_every = strike_every
        self._lock = threading.Lock()
        self._strikes = 0
        self._asked: dict[Asked, None] = {}
        self._results: dict[tuple[str, str], set[str]] = {}
        self.report = Report()

    def perform(self) -> Report:
        """Let clients order until all is ordered, then settle every question, and count."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            for client in [pool.submit(self._client) for _ in range(CLIENTS)]:
                client.result()
            list(pool.map(self._settle, list(self._asked)))
        report = self.report
        counted = Counter((effect.tenant, effect.key) for effect in self._server.effects())
        operations = {(asked.tenant, asked.key) for asked in self._asked}
        assert set(counted) <= operations
        report.operations = len(operations)
        report.twice = counted.total() - len(counted)
        report.never = len(operations - set(counted))
        report.two_answers = sum(len(results) > 1 for results in self._results.values())
        return report

    def _drawn(self, orders: int) -> Iterator[Asked]:
        for number in range(orders):
            key = f"k-{self._seed}-{number // PER_KEY}"
            if number % PER_KEY == 0:
                death = DYING[number // PER_KEY % len(DYING)]
                if death is not None:
                    order_to_die(self._server.folder, death[0], key, death[1])
                    self.report.kills[f"{death[1].name} {death[0]} the effect"] += 1
            payload = PAYLOADS[self._draw.random() < 0.2]
            yield Asked(self._draw.choice(TENANTS), key, payload)

    def _client(self) -> None:
        while True:
            with self._lock:
                asked = next(self._orders, None)
                if asked is None:
                    return
                self._asked[asked] = None
                if self.report.requests // self._strike_every > self._strikes:
                    self._strike()
            self._ask(asked)

    def _strike(self) -> None:
        """Send a signal to a worker, if no other is missing."""
        workers = self._server.workers()
        if len(workers) < self._server.kind.workers:
            return
        number = self._draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
        if self._server.strike(self._draw.choice(workers), number):
            self._strikes += 1
            self.report.kills[f"{number.name} at any moment"] += 1

    def _ask(self, asked: Asked) -> raw_http.Reply | None:
        """Ask until there is an answer, and check it."""
        for _ in range(TRIES):
            reply = None
            with contextlib.suppress(OSError, http.client.HTTPException):
                reply = order(self._server, asked.key, asked.payload, TARGET, tenant=asked.tenant)
            with self._lock:
                self._note(asked, reply)
            if reply is not None and reply.status not in AGAIN:
                return reply
            time.sleep(0.02)
        return None

    def _note(self, asked: Asked, reply: raw_http.Reply | None) -> None:
        report = self.report
        report.requests += 1
        if reply is None:
            report.answers["no answer"] += 1
            return
        problem = ""
        if reply.header("content-type") == "application/problem+json":
            problem = " " + reply.json()["type"].rpartition("/")[2]
        report.answers[f"{reply.status}{problem}"] += 1
        if reply.status != http.HTTPStatus.CREATED:
            return
        report.replays += reply.header("idempotency-replayed") is not None
        effect = Effect(**reply.json())
        digest = hashlib.sha256(asked.payload).hexdigest()
        report.of_another += (effect.tenant, effect.key, effect.payload) != (asked.tenant, asked.key, digest)
        self._results.setdefault((asked.tenant, asked.key), set()).add(effect.number)

    def _settle(self, asked: Asked) -> None:
        """Ask until the answer is final: a result, another payload, or an outcome that nobody knows."""
        until = time.monotonic() + SETTLING_SECONDS
        while True:
            reply = self._ask(asked)
            if reply is not None and reply.header("retry-after") is None:
                return
            if time.monotonic() > until:
                break
            time.sleep(0.2)
        with self._lock:
            self.report.unsettled += 1
