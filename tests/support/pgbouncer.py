"""A real PgBouncer for tests, in transaction mode."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

from postgres import UNPRIVILEGED, PostgreSQL
from server_process import HOST, Missing, Server, module

SETTINGS = """\
[databases]
* = host={server.host} port={server.port} user=postgres
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = 500
"""


class PgBouncer(Server):
    """One PgBouncer before ``server``, with two connections to each database."""

    def __init__(self, server: PostgreSQL) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise Missing("pgbouncer", "apt-get install pgbouncer")
        user = UNPRIVILEGED if os.geteuid() == 0 else None  # it refuses to run as root
        self._home = Path(tempfile.mkdtemp(prefix="idemproof-pgbouncer-"))
        file = self._home / "pgbouncer.ini"

        def command(port: int) -> list[str]:
            self._home.mkdir(exist_ok=True)  # a failed start removes it
            file.write_text(SETTINGS.format(server=server, host=HOST, port=port), "utf-8")
            if user is not None:
                shutil.chown(self._home, user)
                shutil.chown(file, user)
            return [program, str(file)]

        try:
            super().__init__(
                command,
                _answers,
                self._home,
                working_directory=self._home,
                user=user,
                stop_signal=signal.SIGINT,
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


def _answers(server: Server) -> bool:
    assert isinstance(server, PgBouncer)
    psycopg = module("psycopg")
    try:
        with psycopg.connect(server.dsn("pgbouncer"), autocommit=True, connect_timeout=2) as connection:
            found = connection.execute("SHOW CONFIG").fetchall()
    except psycopg.OperationalError:
        return False
    return ("listen_port", str(server.port)) in [(row[0], row[1]) for row in found]
