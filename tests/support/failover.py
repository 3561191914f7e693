"""A primary and its replica change places behind a relay: open connections stay with the old primary."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

import servers
from proxy import Proxy


class Pair:
    """Two servers of which one is the primary; clients connect to ``relay``."""

    def __init__(self, primary: servers.Server, replica: servers.Server, relay: Proxy) -> None:
        self.relay = relay
        self.primary = primary
        self.replica = replica

    def fail_over(self, *, wait: bool = True) -> None:
        """Make the replica the primary, after it has caught up if ``wait``, and the primary its replica."""
        with _client(self.primary) as old, _client(self.replica) as new:
            if wait:
                self._catch_up(old, new)
            new.replicaof("NO", "ONE")
            old.replicaof(self.replica.host, str(self.replica.port))
        self.primary, self.replica = self.replica, self.primary
        self.relay.turn(self.primary)

    def fail_over_under_load(self, seconds: float) -> set[bytes]:
        """Fail over ``seconds`` after the replica was cut off; return the keys whose last writes are lost."""
        with _client(self.primary) as old, _client(self.replica) as new:
            self._catch_up(old, new, within=1_000_000)
            new.replicaof("NO", "ONE")
            time.sleep(seconds)  # what is written now reaches the old primary alone
            old.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
            kept, lost = _all_of(new), _all_of(old)
            old.replicaof(self.replica.host, str(self.replica.port))
            self.relay.turn(self.replica)
            old.execute_command("CLIENT", "UNPAUSE")
        self.primary, self.replica = self.replica, self.primary
        return {key for key, value in lost.items() if kept.get(key) != value}

    def catch_up(self) -> None:
        """Wait until the replica has all that the primary has."""
        with _client(self.primary) as primary, _client(self.replica) as replica:
            self._catch_up(primary, replica)

    def _catch_up(self, primary: Any, replica: Any, within: int = 0) -> None:
        """Wait until the replica lacks at most so many bytes."""
        until = time.monotonic() + servers.START_SECONDS
        while time.monotonic() < until:
            reported = replica.info("replication")
            reached = primary.info("replication")["master_repl_offset"]
            if (
                reported.get("master_link_status") == "up"
                and reported["slave_repl_offset"] >= reached - within
            ):
                return
            time.sleep(0.02)
        raise AssertionError("the replica does not catch up")


@contextlib.contextmanager
def pair(directory: Path) -> Iterator[Pair]:
    """Start both, and the relay."""
    with (
        servers.valkey(directory) as primary,
        servers.valkey(directory, "--replicaof", f"{primary.host} {primary.port}") as replica,
        Proxy(primary, remember=False) as relay,
    ):
        yield Pair(primary, replica, relay)


def _client(server: servers.Server) -> Any:
    return contextlib.closing(redis.Redis(host=server.host, port=server.port))


def _all_of(client: Any) -> dict[bytes, bytes]:
    keys = client.keys()
    return dict(zip(keys, client.mget(keys), strict=True)) if keys else {}
