"""A primary and its replica that three sentinels watch."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

import servers
from servers import HOST, START_SECONDS, Server

NAME = "watched"

_HASTE = {"info-period": 200, "publish-period": 200, "ask-period": 200, "tilt-trigger": 60_000}
"""Milliseconds between what sentinels ask; and how late they may be before they trust their clock no more."""


_PATIENCE_SECONDS = 20
"""How long the sentinels have to demote a server."""


class Watched:
    """Two servers, of which one is the primary, and the sentinels that know which."""

    def __init__(self, members: list[Server], sentinels: list[Server]) -> None:
        self.members = members
        self.sentinels = sentinels
        for each in sentinels:
            with _asking(each) as sentinel:
                for what, milliseconds in _HASTE.items():
                    sentinel.execute_command("SENTINEL", "DEBUG", what, milliseconds)
        until("the sentinels know each other and the replica", lambda: all(map(_is_ready, sentinels)))

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the sentinels are."""
        return [(each.host, each.port) for each in self.sentinels]

    @property
    def primary(self) -> Server:
        """Return whom all sentinels name."""
        named = {_named(each) for each in self.sentinels}
        found = [each for each in self.members if {(each.host, each.port)} == named]
        if not found:
            raise LookupError(f"the sentinels name {named}")
        return found[0]

    def fail_over(self) -> None:
        """Have the sentinels make the replica the primary, and wait until the other follows it."""
        self.catch_up()
        before = self.primary
        with _asking(self.sentinels[0]) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", NAME)
        self.wait_for_another_than(before)
        self.catch_up()

    def kill_primary(self) -> Server:
        """Kill the primary, and return it."""
        before = self.primary
        before.kill()
        return before

    def wait_for_another_than(self, before: Server) -> None:
        """Wait until the sentinels have made another server the primary."""

        def changed() -> bool:
            with contextlib.suppress(LookupError):
                return self.primary is not before
            return False

        until("the sentinels name another primary", changed)

    def catch_up(self) -> None:
        """Wait until the replica follows the primary, and has all that it has.

        The sentinels can leave a server that they have demoted to itself. After a while the test demotes it.
        """
        primary = self.primary
        [replica] = [each for each in self.members if each is not primary]
        patient_until = time.monotonic() + _PATIENCE_SECONDS

        def caught_up() -> bool:
            with _asking(primary) as one, _asking(replica) as other:
                reported, reached = other.info("replication"), one.info("replication")
                if time.monotonic() > patient_until and reported.get("master_port") != primary.port:
                    other.execute_command("REPLICAOF", primary.host, primary.port)
            return bool(
                reached["role"] == "master"
                and reported.get("master_port") == primary.port
                and reported["master_link_status"] == "up"
                and reported["slave_repl_offset"] >= reached["master_repl_offset"]
            )

        until("the replica has caught up", caught_up)
        until("the sentinels see the replica", lambda: all(map(_is_ready, self.sentinels)))


def until(what: str, happens: Callable[[], bool]) -> None:
    """Wait for what must happen."""
    last = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            if happens():
                return
        if time.monotonic() > last:
            raise TimeoutError(f"not in {START_SECONDS} s: {what}")
        time.sleep(0.05)


@contextlib.contextmanager
def watched(directory: Path) -> Iterator[Watched]:
    """Start them all."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(servers.valkey(directory))
        follow = ("--replicaof", f"{primary.host} {primary.port}")
        replica = stack.enter_context(servers.valkey(directory, *follow))
        sentinels = [stack.enter_context(servers.sentinel(directory, NAME, primary, 2)) for _ in range(3)]
        yield Watched([primary, replica], sentinels)


def _named(sentinel: Server) -> tuple[str, int]:
    with _asking(sentinel) as client:
        host, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
    return host.decode(), int(port)


def _is_ready(sentinel: Server) -> bool:
    with _asking(sentinel) as client:
        reported = client.sentinel_master(NAME)
        replicas = client.sentinel_slaves(NAME)
    return (
        reported["num-other-sentinels"] == 2
        and not reported["is_sdown"]
        and not reported["is_odown"]
        and "failover_in_progress" not in reported["flags"]
        and [each for each in replicas if not each["is_sdown"] and each["master-link-status"] == "ok"] != []
    )


def _asking(server: Server) -> Any:
    return contextlib.closing(redis.Redis(host=HOST, port=server.port, socket_timeout=5))
