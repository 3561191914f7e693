"""Transfers money on PostgreSQL while workers are killed, with and without completion in the transaction.

Several processes make the same transfers. SIGKILL ends workers at random, in every phase of a call, and some
workers outlive their leases. In the end each transfer must have happened once, and each account must have
what the transfers say. Without ``within=``, the same run shows which transfers happen twice.

``python tools/transfers.py --transfers 5000`` runs both and prints their counts as JSON. It starts a server,
or uses the one at ``--dsn``.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from idemproof import IdempotencyConfig, PostgresPersistenceLayer, current_attempt, idempotent_function
from idemproof.errors import IdempotencyError

ACCOUNTS = 20
PHASES = ("claimed", "effect written", "completed", "committed", "returned")
LEASE_SECONDS = 0.4
SLEEP_SECONDS = 0.6
KILLED, OVERSLEPT = 0.012, 0.006
"""How probable it is, in each phase, that a worker is killed, and that it outlives its lease."""

TABLES = """
DROP TABLE IF EXISTS accounts, transfers, kills, idempotency;
CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE transfers (id int NOT NULL);
INSERT INTO accounts SELECT id, 1000 FROM generate_series(0, {last}) AS id;
"""


def parts_of(transfer: int) -> tuple[int, int, int]:
    """Return from which account, to which, and how much is transferred."""
    return transfer % ACCOUNTS, (transfer * 7 + 3) % ACCOUNTS, transfer % 9 + 1


class Worker:
    """One process, which makes transfers until all of its own are done.

    Parameters
    ----------
    dsn, log
        The database, and the file to which each death and each oversleeping is written before it happens.
    within
        Whether it completes in the transaction.
    seed
        What its random choices depend on.
    """

    def __init__(self, dsn: str, log: Path, seed: int, *, within: bool) -> None:
        self._log = log
        self._within = within
        self._ran = False
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._connection = psycopg.connect(dsn)
        config = IdempotencyConfig(in_progress_expires_after_seconds=LEASE_SECONDS)
        self._transfer = idempotent_function(
            data_keyword_argument="transfer",
            persistence_store=PostgresPersistenceLayer(dsn),
            config=config,
            key_prefix="transfer",
        )(self._make)

    def run(self, transfers: list[int]) -> None:
        """Make each of the transfers, again and again until it is done."""
        left = deque(transfers)
        while left:
            transfer = left.popleft()
            self._ran = False
            try:
                self._transfer(transfer=transfer)
            except (IdempotencyError, psycopg.Error):
                self._connection.rollback()
                left.append(transfer)
                if len(left) < 20:  # noqa: PLR2004 - hardly anything else to do meanwhile
                    time.sleep(0.02)
            else:
                if self._ran:  # and is no replay, of which there are many after each death
                    self._reach("returned")

    def _make(self, transfer: int) -> dict[str, int]:
        self._ran = True
        self._reach("claimed")
        giver, taker, amount = parts_of(transfer)
        changes = sorted(((giver, -amount), (taker, amount)))  # in one order, so that none waits for another
        with self._connection.transaction():
            self._connection.execute("INSERT INTO transfers VALUES (%s)", (transfer,))
            for account, change in changes:
                self._connection.execute(
                    "UPDATE accounts SET balance = balance + %s WHERE id = %s", (change, account)
                )
            self._reach("effect written")
            result = {"transferred": amount}
            if self._within:
                attempt = current_attempt()
                assert attempt is not None
                attempt.complete(result, within=self._connection)
                self._reach("completed")
        self._reach("committed")
        return result

    def _reach(self, phase: str) -> None:
        chance = self._random.random()
        if chance < KILLED:
            self._note("killed", phase)
            os.kill(os.getpid(), signal.SIGKILL)
        elif chance < KILLED + OVERSLEPT and phase != "returned":
            self._note("overslept", phase)
            time.sleep(SLEEP_SECONDS)

    def _note(self, what: str, phase: str) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{what}\t{phase}\n")


def work(dsn: str, log: str, seed: int, within: bool, transfers: list[int]) -> None:
    """Be a worker."""
    Worker(dsn, Path(log), seed, within=within).run(transfers)


def transfer_all(  # noqa: C901 - starts, kills and starts again
    dsn: str, transfers: int, workers: int, seed: int, *, within: bool, seconds: float = 1800
) -> dict[str, Any]:
    """Let ``workers`` make each transfer, at least two of them the same one; return what happened.

    Raises
    ------
    TimeoutError
        It is not over in time.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLES.format(last=ACCOUNTS - 1))
    PostgresPersistenceLayer(dsn).create_table()
    chosen = random.Random(seed)  # noqa: S311 - no secret
    shares: list[list[int]] = [[] for _ in range(workers)]
    for transfer in range(transfers):
        for share in chosen.sample(shares, min(2, workers)):
            share.append(transfer)
    context = multiprocessing.get_context("fork")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        log.touch()

        def start(place: int) -> Any:
            chosen.shuffle(shares[place])
            arguments = (dsn, str(log), chosen.randrange(2**32), within, shares[place])
            process = context.Process(target=work, args=arguments)
            process.start()
            return process

        killings = transfers // 40
        running = {place: start(place) for place in range(workers)}
        try:
            while running:
                if time.monotonic() - began > seconds:
                    raise TimeoutError(f"not over in {seconds} seconds")
                if killings:  # in the end, workers that only replay must be able to finish
                    killings -= _kill_one(chosen, list(running.values()), log)
                for place, process in list(running.items()):
                    process.join(0)
                    if process.exitcode == 0:
                        del running[place]
                    elif process.exitcode is not None:
                        running[place] = start(place)
                time.sleep(0.02)
        finally:
            for process in running.values():
                process.kill()
                process.join()
        happened = Counter(tuple(line.split("\t")) for line in log.read_text().splitlines())
    found = counts_of(dsn, transfers)
    found["deaths"] = {phase: happened["killed", phase] for phase in (*PHASES, "any time")}
    found["leases outlived"] = sum(count for (what, _), count in happened.items() if what == "overslept")
    found["seconds"] = round(time.monotonic() - began)
    return found


def _kill_one(chosen: random.Random, processes: list[Any], log: Path) -> bool:
    """Kill a worker now and then, whatever it is doing; return whether."""
    if chosen.random() >= 0.02:  # noqa: PLR2004 - about once a second
        return False
    chosen.choice(processes).kill()
    with log.open("a", encoding="utf-8") as notes:
        notes.write("killed\tany time\n")
    return True


def counts_of(dsn: str, transfers: int) -> dict[str, Any]:
    """Return what the database has in the end."""
    expected = [1000] * ACCOUNTS
    for transfer in range(transfers):
        giver, taker, amount = parts_of(transfer)
        expected[giver] -= amount
        expected[taker] += amount
    with psycopg.connect(dsn, autocommit=True) as connection:
        times = Counter(transfer for (transfer,) in connection.execute("SELECT id FROM transfers"))
        balances = [each for (each,) in connection.execute("SELECT balance FROM accounts ORDER BY id")]
        statuses = Counter(each for (each,) in connection.execute("SELECT status FROM idempotency"))
    return {
        "transfers": transfers,
        "happened once": sum(count == 1 for count in times.values()),
        "happened again": sum(count - 1 for count in times.values()),
        "never happened": transfers - len(times),
        "records completed": statuses["COMPLETED"],
        "money": sum(balances),
        "money expected": 1000 * ACCOUNTS,
        "accounts with a wrong balance": sum(a != b for a, b in zip(balances, expected, strict=True)),
    }


@contextmanager
def server() -> Iterator[str]:
    """Give the address of a server that is stopped at the end."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    postgres = importlib.import_module("postgres")
    with tempfile.TemporaryDirectory() as folder, postgres.PostgreSQL(Path(folder)) as started:
        yield started.dsn()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--transfers", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dsn")
    given = parser.parse_args()
    with server() if given.dsn is None else _given(given.dsn) as dsn:
        found = {
            "within" if within else "without": transfer_all(
                dsn, given.transfers, given.workers, given.seed, within=within
            )
            for within in (True, False)
        }
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


@contextmanager
def _given(dsn: str) -> Iterator[str]:
    yield dsn


if __name__ == "__main__":
    main()
