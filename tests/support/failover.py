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

    def catch_up(self) -> None:
        """Wait until the replica has all that the primary has."""
        with _client(self.primary) as primary, _client(self.replica) as replica:
            self._catch_up(primary, replica)

    def _catch_up(self, primary: Any, replica: Any) -> None:
        until = time.monotonic() + servers.START_SECONDS
        while time.monotonic() < until:
            told = replica.info("replication")
            reached = primary.info("replication")["master_repl_offset"]
            if told.get("master_link_status") == "up" and told["slave_repl_offset"] >= reached:
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
