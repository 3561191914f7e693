"""Kill workers at chosen points of a call, again and again, and count what each did.

``python kills.py '{...}'`` forks a worker for each attempt, and prints a report as JSON. A worker kills
itself, with SIGKILL, so that no kill depends on time. The clock of an attempt is an argument: a lease ends
because the next attempt is later, and nobody waits for it. Each worker connects on its own, as another
machine would: their parent makes the client, and never uses it.
"""

import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import servers
from idemproof import (
    NOT_DONE,
    CachePersistenceLayer,
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

POINTS = (
    "while it claims",
    "before the effect",
    "during the effect",
    "after the effect",
    "before it stores the result",
    "after it has stored the result",
    "in the question",
)
"""Where a worker dies."""

START = 4_000_000_000_000
LEASE_SECONDS = 30
MOST_ATTEMPTS = 20


class Effects:
    """The provider: a file to which each effect appends a line, and which can be asked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def happen(self, key: str) -> None:
        """Append in one write, which a kill cannot divide."""
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{key}\n".encode())
        os.close(handle)

    def counted(self) -> Counter[str]:
        """Return how often each effect has happened."""
        return Counter(self._path.read_text(encoding="utf-8").split()) if self._path.exists() else Counter()


def die() -> None:
    """End this process as if its machine had failed."""
    os.kill(os.getpid(), signal.SIGKILL)


def attempt(spec: dict[str, Any], layer: Any, key: str, number: int, point: str | None) -> None:
    """Make one call in a process of its own, which dies at ``point``."""
    effects = Effects(Path(spec["effects"]))
    swap = layer._swap

    def hooked(*request: Any) -> Any:
        stores = request[2] is not None and request[2].status == "COMPLETED"
        if stores and point == "before it stores the result":
            die()
        found = swap(*request)
        if (stores and point == "after it has stored the result") or (
            not stores and point == "while it claims"
        ):
            die()
        return found

    layer._swap = hooked

    def look_up(order: str) -> Any:
        if point == "in the question":
            die()
        return f"done {order}" if effects.counted()[order] else NOT_DONE

    config = IdempotencyConfig(
        clock=lambda: START + number * LEASE_SECONDS * 1000,
        in_progress_expires_after_seconds=LEASE_SECONDS,
        expires_after_seconds=24 * 3600,
    )

    @idempotent_function(
        data_keyword_argument="order",
        persistence_store=layer,
        config=config,
        key_prefix="kills",
        on_takeover=look_up if spec["asks"] else None,
    )
    def pay(order: str) -> str:
        if point == "before the effect":
            die()
        effects.happen(order)
        if point == "during the effect":
            die()  # its reply never arrives
        done = f"done {order}"
        if point == "after the effect":
            die()
        return done

    assert pay(key) == f"done {key}"


def layer_of(spec: dict[str, Any]) -> Any:
    """Return a layer over the server."""
    if spec["server"] == "valkey":
        import redis  # noqa: PLC0415 - one of the two clients

        return CachePersistenceLayer(client=redis.Redis(**spec["client"]))
    return DynamoDBPersistenceLayer(spec["table"], boto3_client=servers.dynamodb_client(spec["client"]))


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Kill workers until so many have died, and return what has happened."""
    draw = random.Random(spec["seed"])
    points = [point for point in POINTS if spec["asks"] or point != "in the question"]
    layer = layer_of(spec)
    died: Counter[str] = Counter()
    keys: list[str] = []
    while died.total() < spec["kills"]:
        keys.append(f"order-{spec['seed']}-{len(keys)}")
        for number in range(MOST_ATTEMPTS):
            # Each point comes first in turn; how often the next workers die is drawn.
            point = points[len(keys) % len(points)] if number == 0 else draw.choice([None, *points])
            if fork(spec, layer, keys[-1], number, point):
                assert point is not None
                died[point] += 1
            else:
                break
    counted = Effects(Path(spec["effects"])).counted()
    return {
        "kills": died.total(),
        "points": dict(died),
        "keys": len(keys),
        "twice": sum(counted[key] > 1 for key in keys),
        "never": sum(counted[key] == 0 for key in keys),
    }


def fork(spec: dict[str, Any], layer: Any, key: str, number: int, point: str | None) -> bool:
    """Make one attempt in a fork; return whether it was killed."""
    worker = os.fork()
    if worker == 0:
        try:
            attempt(spec, layer, key, number, point)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    status = os.waitpid(worker, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise SystemExit(f"the worker for {key}, attempt {number}, {point} has failed")
    return False


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(json.loads(sys.argv[1]))))
