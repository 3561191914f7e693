"""Kill and terminate the workers of real HTTP servers while clients repeat orders, and count what happened.

``python tests/support/http_kills.py`` does so over each server and store, and prints a table of the counts.
``--write`` writes it into the documentation. Some workers kill themselves at a chosen point: directly before
the effect of an order, or directly after it. Others are struck from outside, at any moment. Several tenants
use the same keys, with several payloads.
"""

import argparse
import contextlib
import hashlib
import http.client
import itertools
import random
import signal
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

import postgres
import raw_http
import servers
from http_apps import Effect, Spec, order_to_die
from http_servers import HTTPServer, order
from idemproof import PostgresPersistenceLayer

TENANTS = ("ada", "grace", "joan")
PAYLOADS = (b'{"show": "Metropolis", "seats": 2}', b'{"show": "Nosferatu", "seats": 1}')
LEASE_SECONDS = 1
CLIENTS = 6
PER_KEY = 12
"""How many orders in turn use one key."""
Dying = Sequence[tuple[str, signal.Signals] | None]
DYING: Dying = (
    ("after", signal.SIGKILL),
    ("before", signal.SIGKILL),
    ("after", signal.SIGTERM),
    None,
    None,
)
"""At which point, and how, the first worker at a key ends, for one key after the other."""
SETTLING_SECONDS = 60
STRIKE_EVERY = 60
"""How many requests there are for each worker that is struck from outside, at most."""
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deploy-http.md"
BEGIN, END = "<!-- kills: written by tests/support/http_kills.py -->", "<!-- end of kills -->"
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
    unanswered: int = 0
    """Effects that no answer to a client names."""
    never: int = 0
    """Operations without any effect: their worker died before it, and they are parked."""
    unsettled: int = 0
    """Questions that had no final answer at the end."""

    def line(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return vars(self) | {"kills": dict(self.kills), "answers": dict(self.answers)}


class Run:
    """One run against a server whose leases take :data:`LEASE_SECONDS`.

    ``effects`` returns those of the server, and ``dying`` says how its workers end. With a single client, all
    of them reach their points.
    """

    def __init__(
        self,
        server: HTTPServer,
        seed: int,
        orders: int,
        per_key: int = PER_KEY,
        *,
        effects: Callable[[], Sequence[Effect]] | None = None,
        dying: Dying = DYING,
        clients: int = CLIENTS,
    ) -> None:
        self._server = server
        self._effects = server.effects if effects is None else effects
        self._dying = dying
        self._clients = clients
        self._draw = random.Random(seed)
        self._seed = seed
        self._orders = iter(self._drawn(orders))
        self._per_key = per_key
        self._lock = threading.Lock()
        self._strikes = 0
        self._deaths: dict[Path, tuple[str, signal.Signals]] = {}
        self._asked: dict[Asked, None] = {}
        self._results: dict[tuple[str, str], set[str]] = {}
        self.report = Report()

    def perform(self) -> Report:
        """Let clients order until all is ordered, then settle every question, and count."""
        with ThreadPoolExecutor(self._clients) as pool:
            for client in [pool.submit(self._client) for _ in range(self._clients)]:
                client.result()
            list(pool.map(self._settle, list(self._asked)))
        report = self.report
        for path, (point, number) in self._deaths.items():
            report.kills[f"{number.name} {point}"] += not path.exists()
        effects = self._effects()
        counted = Counter((effect.tenant, effect.key) for effect in effects)
        operations = {(asked.tenant, asked.key) for asked in self._asked}
        assert set(counted) <= operations
        report.operations = len(operations)
        report.twice = counted.total() - len(counted)
        named = set().union(*self._results.values())
        report.unanswered = sum(effect.number not in named for effect in effects)
        report.never = len(operations - set(counted))
        report.two_answers = sum(len(results) > 1 for results in self._results.values())
        return report

    def _drawn(self, orders: int) -> Iterator[Asked]:
        for number in range(orders):
            key = f"k-{self._seed}-{number // self._per_key}"
            if number % self._per_key == 0:
                death = self._dying[number // self._per_key % len(self._dying)]
                if death is not None:
                    self._deaths[order_to_die(self._server.folder, death[0], key, death[1])] = death
            payload = PAYLOADS[self._draw.random() < 0.2]
            yield Asked(self._draw.choice(TENANTS), key, payload)

    def _client(self) -> None:
        while True:
            with self._lock:
                asked = next(self._orders, None)
                if asked is None:
                    return
                self._asked[asked] = None
                if self.report.requests // STRIKE_EVERY > self._strikes:
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
            problem = " " + reply.json()["type"].rpartition(":")[2]
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


SERVERS = ("uvicorn", "uvicorn-django", "gunicorn", "gunicorn-django")
STORES = ("valkey", "postgres")
POLICIES = ("refuse", "run")
COLUMNS = (
    *("server", "store", "`on_takeover`", "requests", "operations", "SIGKILL", "SIGTERM", "replays"),
    *("answers of another caller or payload", "effects twice", "no effect, and parked"),
)


@contextlib.contextmanager
def place(store: str, running: Any) -> Iterator[str]:
    """Yield the address of an empty store on a server that runs."""
    if store == "postgres":
        dsn = running.create_database(f"kills_{uuid.uuid4().hex}")
        with contextlib.closing(PostgresPersistenceLayer(dsn)) as layer:
            layer.create_table()
        yield dsn
    else:
        with redis.Redis(**servers.redis_kwargs(running)) as client:
            client.flushall()
        yield f"redis://{running.host}:{running.port}/0"


def killed(
    kind: str,
    store: str,
    running: Any,
    directory: Path,
    policy: str,
    *,
    orders: int,
    seed: int = 1,
    per_key: int = PER_KEY,
) -> Report:
    """Run one server over one store, and return what happened."""
    with place(store, running) as address:
        config = {"in_progress_expires_after_seconds": LEASE_SECONDS}
        spec = Spec("", store=store, address=address, config=config, middleware={"on_takeover": policy})
        with HTTPServer(kind, directory, spec) as server:
            return Run(server, seed, orders, per_key).perform()


def table(reports: dict[tuple[str, str, str], Report]) -> str:
    """Return a table of the counts."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    for names, report in reports.items():
        signals = [
            sum(count for name, count in report.kills.items() if name.startswith(each))
            for each in ("SIGKILL", "SIGTERM")
        ]
        counts = [report.requests, report.operations, *signals, report.replays]
        counts += [report.of_another + report.two_answers, report.twice, report.never]
        lines.append(f"| {' | '.join(map(str, [*names, *counts]))} |")
    return "\n".join(lines)


def write(text: str, begin: str, end: str) -> None:
    """Write ``text`` into the documentation, between two comments."""
    before, _, rest = PAGE.read_text("utf-8").partition(begin)
    after = rest.partition(end)[2]
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")


def main() -> None:
    """Run every server over every store under both policies."""
    parser = argparse.ArgumentParser(description="Kill the workers of HTTP servers, and count what happened.")
    parser.add_argument("--orders", type=int, default=3000, help="the number of orders in each run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the table into the documentation")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of the names of servers and stores")
    asked = parser.parse_args()
    reports = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        started = {
            "valkey": stack.enter_context(servers.valkey(folder)),
            "postgres": stack.enter_context(postgres.PostgreSQL(folder)),
        }
        for names in itertools.product(SERVERS, STORES, POLICIES):
            if not any(part in " ".join(names) for part in asked.only):
                continue
            kind, store, policy = names
            report = killed(kind, store, started[store], folder, policy, orders=asked.orders, seed=asked.seed)
            reports[names] = report
            print(*names, report.line(), flush=True)  # noqa: T201 - it is a program
    print(table(reports))  # noqa: T201 - as above
    if asked.write:
        write(table(reports), BEGIN, END)


if __name__ == "__main__":
    main()
