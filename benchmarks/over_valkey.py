"""What protection costs over a real Valkey: Idemproof, the original, and the bare commands, in one run.

The floor of a first call is two bare SETs, of a replay one bare GET, by the same client and of the same size.
Each round runs all of them, in turns first. Medians of the rounds are printed, in microseconds a call, with
their ratio to the floor. Answers are checked while they are measured.

Run it with ``python -m tox -e bench``.
"""

import itertools
import logging
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_lambda_powertools.utilities.idempotency as original
import redis
from aws_lambda_powertools.utilities.idempotency.persistence.redis import (
    RedisCachePersistenceLayer as OriginalLayer,
)
from local import CALLS, contestant, measure, order

import idemproof
import servers

VALUE = "x" * 200
KEEP_MS = 3_600_000

Function = Callable[..., Any]
Case = tuple[str, str]


def contestants(port: int) -> dict[Case, Function]:
    """Return what to call, by case and contestant, each with a connection of its own."""

    def bare(*commands: Callable[[redis.Redis, str], Any]) -> Function:
        client = redis.Redis(port=port)

        def call(payload: dict[str, Any]) -> dict[str, Any]:
            for command in commands:
                command(client, payload["order_id"])
            return {"statusCode": 200, "handled": len(payload)}

        return call

    def put(client: redis.Redis, key: str) -> None:
        client.set(key, VALUE, px=KEEP_MS)

    def look(client: redis.Redis, key: str) -> None:
        client.get(key)

    ours = contestant(
        idemproof, idemproof.RedisCachePersistenceLayer(client=redis.Redis(port=port)), {}, cached=False
    )
    # As its documentation sets up a client.
    theirs = contestant(
        original, OriginalLayer(client=redis.Redis(port=port, decode_responses=True, db=1)), {}, cached=False
    )
    return {
        ("first call", "bare"): bare(put, put),
        ("first call", "idemproof"): ours,
        ("first call", "original"): theirs,
        ("replay", "bare"): bare(look),
        ("replay", "idemproof"): ours,
        ("replay", "original"): theirs,
    }


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    numbers = itertools.count()
    times: dict[Case, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory, servers.valkey(Path(directory)) as server:
        functions = contestants(server.port)
        for turn in range(count):
            payloads = [order(next(numbers)) for _ in range(CALLS)]
            for case in ("first call", "replay"):
                names = ["bare", "idemproof", "original"]
                for name in names if turn % 2 else reversed(names):
                    times.setdefault((case, name), []).append(measure(functions[case, name], payloads))
    print(f"Valkey, {count} rounds of {CALLS} calls")
    print(f"{'':12}{'bare':>10}{'idemproof':>12}{'ratio':>8}{'original':>12}{'ratio':>8}")
    for case in ("first call", "replay"):
        bare, *others = (statistics.median(times[case, name]) for name in ("bare", "idemproof", "original"))
        columns = "".join(f"{other:10.1f}us{other / bare:8.2f}" for other in others)
        print(f"{case:12}{bare:8.1f}us{columns}")


if __name__ == "__main__":
    main()
