"""Where contestants meet: servers that are started when they are first asked for, and a folder for files."""

import contextlib
import functools
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TABLE = "benchmarks"

# What starts servers for tests does it here too.
sys.path.append(str(ROOT / "tests" / "support"))
servers: Any = importlib.import_module("servers")

Lacking: type[Exception] = servers.Missing
"""Raised if a server cannot be started here; it says how to install it."""


class Places:
    """Valkey, DynamoDB Local and a folder, for one run."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    @functools.cached_property
    def folder(self) -> Path:
        """A folder that goes with the run."""
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-")))

    @functools.cached_property
    def valkey_port(self) -> int:
        """The port of a Valkey without persistence."""
        return int(self._stack.enter_context(servers.valkey(self.folder)).port)

    @functools.cached_property
    def dynamodb(self) -> dict[str, Any]:
        """What clients of a DynamoDB Local are made with; it has the table."""
        server = self._stack.enter_context(servers.dynamodb(self.folder))
        kwargs: dict[str, Any] = servers.dynamodb_kwargs(server)
        client = servers.dynamodb_client(server)
        servers.create_table(client, TABLE)
        client.close()
        return kwargs
