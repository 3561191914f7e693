"""Kill workers of HTTP servers whose effect is in a transaction, which completes their attempt or does not.

``python tests/support/http_transaction_kills.py --write`` does so over each server, with and without
completion in the transaction, and writes a table of the counts into the documentation.
"""

import argparse
import contextlib
import signal
import tempfile
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import http_transactions
import postgres
from http_apps import Spec
from http_kills import CLIENTS, LEASE_SECONDS, PER_KEY, Dying, Report, Run, write
from http_servers import HTTPServer

SERVERS = {"uvicorn-transactions": "uvicorn, Starlette", "gunicorn-transactions": "gunicorn, Django"}
WAYS = {True: "in the transaction", False: "after the answer"}
DYING: Dying = (
    ("after the commit", signal.SIGKILL),
    ("before the commit", signal.SIGKILL),
    ("after the commit", signal.SIGTERM),
    ("before the commit", signal.SIGTERM),
    None,
)
BEGIN = "<!-- kills in transactions: written by tests/support/http_transaction_kills.py -->"
END = "<!-- end of kills in transactions -->"
COLUMNS = (
    *(
        "server",
        "completion",
        "requests",
        "operations",
        "killed before the commit",
        "killed after the commit",
    ),
    *("killed at any moment", "terminated", "replays", "answers of another caller or payload"),
    *("effects twice", "effects without an answer", "operations without an effect"),
)


def killed(
    kind: str,
    running: postgres.PostgreSQL,
    directory: Path,
    *,
    within: bool,
    orders: int,
    seed: int = 1,
    per_key: int = PER_KEY,
    clients: int = CLIENTS,
) -> Report:
    """Run one server, whose attempts run again after a takeover, and return what happened."""
    dsn = running.create_database(f"kills_{uuid.uuid4().hex}")
    http_transactions.create_tables(dsn)
    config = {"in_progress_expires_after_seconds": LEASE_SECONDS}
    options = {"on_takeover": "run"}
    spec = Spec("", store="postgres", address=dsn, config=config, middleware=options, within=within)
    with HTTPServer(kind, directory, spec) as server:
        effects = partial(http_transactions.effects, dsn)
        run = Run(server, seed, orders, per_key, effects=effects, dying=DYING, clients=clients)
        return run.perform()


def table(reports: dict[tuple[str, bool], Report]) -> str:
    """Return a table of the counts."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for (kind, within), report in reports.items():
        kills = report.kills
        when = [
            kills[f"SIGKILL {each}"] for each in ("before the commit", "after the commit", "at any moment")
        ]
        terminated = sum(count for name, count in kills.items() if name.startswith("SIGTERM"))
        cells: list[Any] = [
            SERVERS[kind],
            WAYS[within],
            report.requests,
            report.operations,
            *when,
            terminated,
        ]
        cells += [report.replays, report.of_another + report.two_answers]
        cells += [report.twice, report.unanswered, report.never]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Run every server, with completion in the transaction and without."""
    parser = argparse.ArgumentParser(description="Kill the workers of HTTP servers in transactions.")
    parser.add_argument("--orders", type=int, default=3000, help="the number of orders in each run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the table into the documentation")
    asked = parser.parse_args()
    reports = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        running = stack.enter_context(postgres.PostgreSQL(folder))
        for kind in SERVERS:
            for within in WAYS:
                report = killed(kind, running, folder, within=within, orders=asked.orders, seed=asked.seed)
                reports[kind, within] = report
                print(kind, within, report.line(), flush=True)  # noqa: T201 - it is a program
    print(table(reports))  # noqa: T201 - as above
    if asked.write:
        write(table(reports), BEGIN, END)


if __name__ == "__main__":
    main()
