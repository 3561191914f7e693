"""The stores of the contestants: servers that start on first use, and a directory for files."""

import contextlib
import functools
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent
LINK = Path(__file__).with_name("link.py")
TABLE = "benchmarks"

# The benchmarks start servers with the same code as the tests.
sys.path.append(str(ROOT / "tests" / "support"))
servers: Any = importlib.import_module("servers")

Lacking: type[Exception] = servers.Missing
"""Raised if a server cannot be started here; it says how to install it."""


class Places:
    """Valkey, PostgreSQL, moto's DynamoDB and a directory, for one run.

    If the system allows it, the servers have their own processors, as if on another machine. Otherwise the
    operating system's scheduler would influence the times.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._all = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self._ours = {min(self._all)} if len(self._all) > 1 else self._all
        self._keep_to(self._ours)
        stack.callback(self._keep_to, self._all)

    @functools.cached_property
    def folder(self) -> Path:
        """A directory that is deleted after the run."""
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-")))

    @functools.cached_property
    def valkey_port(self) -> int:
        """The port of a Valkey without persistence."""
        with self._elsewhere():
            return int(self._stack.enter_context(servers.valkey(self.folder)).port)

    @functools.cached_property
    def postgres(self) -> str:
        """The address of a PostgreSQL 18 whose commits wait for the disk, as by default."""
        with self._elsewhere():
            server = self._stack.enter_context(importlib.import_module("postgres").PostgreSQL(self.folder))
            server.restart(
                *("-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on"),
            )
            return str(server.dsn())

    @functools.cached_property
    def far_postgres(self) -> str:
        """The same address over a link on which each reply takes a millisecond longer."""
        near = urlsplit(self.postgres)
        with self._elsewhere():
            link = self._stack.enter_context(
                servers.Server(
                    lambda port: [sys.executable, str(LINK), str(port), str(near.port)],
                    lambda link: "ready" in link.output(),
                    self._own_folder("link"),
                )
            )
        return near._replace(netloc=f"{near.username}@{link.host}:{link.port}").geturl()

    @functools.cached_property
    def dynamodb(self) -> dict[str, Any]:
        """The arguments for clients of DynamoDB, on which the table exists."""
        with self._elsewhere():
            server = self._stack.enter_context(servers.dynamodb(self.folder))
        kwargs: dict[str, Any] = servers.dynamodb_kwargs(server)
        client = servers.dynamodb_client(server)
        servers.create_table(client, TABLE)
        client.close()
        return kwargs

    @functools.cached_property
    def postgresql(self) -> str:
        """The address of an empty database on PostgreSQL."""
        postgres: Any = importlib.import_module("postgres")
        with self._elsewhere():
            server = self._stack.enter_context(postgres.PostgreSQL(self._own_folder("postgres")))
        return str(server.create_database("benchmarks"))

    @functools.cached_property
    def mariadb(self) -> str:
        """The address of an empty database on MariaDB."""
        mariadb: Any = importlib.import_module("mariadb")
        with self._elsewhere():
            server = self._stack.enter_context(mariadb.MariaDB(self._own_folder("mariadb")))
        return str(server.create_database())

    def _own_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    @contextlib.contextmanager
    def _elsewhere(self) -> Iterator[None]:
        """Start processes on the other processors. A process inherits the processors of its parent."""
        self._keep_to(self._all - self._ours)
        try:
            yield
        finally:
            self._keep_to(self._ours)

    def _keep_to(self, processors: set[int]) -> None:
        if processors:
            os.sched_setaffinity(0, processors)
