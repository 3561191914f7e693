"""A cluster of three primaries, one of which has a replica; primaries die, and slots move."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

import servers
from sentinels import until
from servers import Server

NODE_TIMEOUT_MS = 3000


class Sharded:
    """Three primaries with a third of the slots each, and a replica of the first."""

    def __init__(self, primaries: list[Server], replica: Server) -> None:
        self.primaries = primaries
        self.nodes = [*primaries, replica]
        servers.join(primaries)
        with asking(replica) as client:
            for each in primaries:
                client.execute_command("CLUSTER", "MEET", each.host, each.port, bus_of(each))
            whose = self.id_of(primaries[0])
            until("the replica knows it", lambda: whose in str(client.execute_command("CLUSTER NODES")))
            client.execute_command("CLUSTER", "REPLICATE", whose)
        self.wait_until_whole()

    def node_of(self, key: str) -> Server:
        """Return the primary that has the slot of ``key``, as the others see it."""
        slot = key_slot(key.encode())
        for node in self.nodes:
            if node.alive():
                with asking(node) as client:
                    for first, last, primary, *_ in client.execute_command("CLUSTER SLOTS"):
                        if first <= slot <= last:
                            return next(each for each in self.nodes if each.port == primary[1])
        raise LookupError(f"nobody has slot {slot}")

    @property
    def replicated(self) -> Server:
        """Return the primary that has the replica."""
        for node in self.nodes:
            with asking(node) as client:
                if client.info("replication")["connected_slaves"]:
                    return node
        raise LookupError("no replica follows")

    def catch_up(self) -> None:
        """Wait until the replica has all that its primary has."""

        def caught_up() -> bool:
            reported = []
            for node in self.nodes:
                with asking(node) as client:
                    reported.append(client.info("replication"))
            [behind] = [each["slave_repl_offset"] for each in reported if each["role"] == "slave"]
            [reached] = [each["master_repl_offset"] for each in reported if each["connected_slaves"]]
            return bool(behind >= reached)

        until("the replica has caught up", caught_up)

    def wait_until_whole(self) -> None:
        """Wait until all nodes that live serve all slots, and replicas follow."""
        until("the cluster is whole", lambda: all(serves(node) for node in self.nodes if node.alive()))

    def wait_for_another_than(self, dead: Server, key: str) -> None:
        """Wait until a replica has taken over the slot of ``key``."""
        until("a replica has taken over", lambda: self.node_of(key) is not dead)
        self.wait_until_whole()

    def wait_until_missed(self) -> None:
        """Wait until the nodes that live serve nothing, because one does not."""

        def missed() -> bool:
            return not any(is_ok(node) for node in self.nodes if node.alive())

        until("the cluster is down", missed)

    def id_of(self, node: Server) -> str:
        with asking(node) as client:
            return text_of(client.execute_command("CLUSTER", "MYID"))

    def begin_to_move(self, slot: int, source: Server, target: Server) -> None:
        """Have keys of ``slot`` asked for at both."""
        with asking(source) as old, asking(target) as new:
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, slot: int, source: Server, target: Server) -> None:
        """Move the slot's keys to ``target``."""
        with asking(source) as old:
            while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                old.execute_command("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)

    def end_move(self, slot: int, source: Server, target: Server) -> None:
        """Give ``slot`` to ``target``. The others hear of it by and by."""
        whose = self.id_of(target)
        for node in (target, source):
            with asking(node) as client:
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", whose)

    def move(self, slot: int, source: Server, target: Server) -> None:
        """Move ``slot`` with its keys."""
        self.begin_to_move(slot, source, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, source, target)


@contextlib.contextmanager
def sharded(directory: Path) -> Iterator[Sharded]:
    """Start them all."""
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(servers.cluster_node(directory, NODE_TIMEOUT_MS)) for _ in range(4)]
        yield Sharded(nodes[:3], nodes[3])


def serves(node: Server) -> bool:
    with asking(node) as client:
        reported = client.info("replication")
    return is_ok(node) and reported.get("master_link_status", "up") == "up"


def is_ok(node: Server) -> bool:
    with asking(node) as client:
        reported = client.execute_command("CLUSTER INFO")
    return "ok" in (reported["cluster_state"] if isinstance(reported, dict) else text_of(reported).split()[0])


def bus_of(node: Server) -> Any:
    with asking(node) as client:
        return client.config_get("cluster-port")["cluster-port"]


def asking(server: Server) -> Any:
    return contextlib.closing(redis.Redis(host=server.host, port=server.port, socket_timeout=10))


def text_of(reported: Any) -> str:
    return reported.decode() if isinstance(reported, bytes) else str(reported)
