"""A real MariaDB for tests, from the system's package."""

import getpass
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

from server_process import HOST, Missing, Server, module

__all__ = ["MariaDB"]

SETTINGS = (
    f"--bind-address={HOST}",
    "--max-connections=300",
    # It has to survive no loss of power.
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=64M",
    "--skip-log-bin",
    "--skip-name-resolve",
)
INSTALL = "install MariaDB, for example by apt-get install mariadb-server-core mariadb-client-core"


class MariaDB(Server):
    """One server, whose files are in a folder that is removed at the end."""

    def __init__(self, directory: Path) -> None:
        program, installer = shutil.which("mariadbd", path=_path()), shutil.which("mariadb-install-db")
        if program is None or installer is None:
            raise Missing("mariadbd", INSTALL)
        self._pymysql = module("pymysql")
        # The path of a socket has at most 107 characters, and those of tests are long.
        self._home = Path(tempfile.mkdtemp(prefix="idemproof-mariadb-"))
        self.data = self._home / "data"
        # A server that starts removes the temporary tables of others from a folder that they share.
        self._temporary = self._home / "tmp"
        self._temporary.mkdir()
        user = f"--user={getpass.getuser()}"  # also root, if told so
        try:
            self._initialize(installer, user)
            super().__init__(
                lambda port: [
                    *(program, "--no-defaults", user, f"--datadir={self.data}", f"--port={port}", *SETTINGS),
                    f"--tmpdir={self._temporary}",
                    *(f"--socket={self._home}/socket", f"--pid-file={self._home}/pid"),
                ],
                _answers,
                directory,
                working_directory=self._home,
            )
        except BaseException:
            shutil.rmtree(self._home, ignore_errors=True)
            raise

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def connect(self, **options: Any) -> Any:
        """Return a connection of PyMySQL, in autocommit mode."""
        return self._pymysql.connect(host=self.host, port=self.port, user="root", autocommit=True, **options)

    def create_database(self, driver: str = "pymysql") -> str:
        """Create an empty database, and return its address for an engine with this driver."""
        name = f"d{uuid.uuid4().hex}"
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        return f"mysql+{driver}://root@{self.host}:{self.port}/{name}"

    def _initialize(self, installer: str, user: str) -> None:
        done = subprocess.run(
            [
                *(installer, "--no-defaults", user, f"--datadir={self.data}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"),
            ],
            cwd=self._home,
            env={**os.environ, "TMPDIR": str(self._temporary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db failed:\n{done.stdout}")


def _path() -> str:
    """Return where programs are: Debian puts servers where only root looks."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def _answers(server: Server) -> bool:
    """Return whether it is this server that answers, and not another one on its port."""
    assert isinstance(server, MariaDB)
    pymysql = module("pymysql")
    try:
        with server.connect(connect_timeout=2) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@datadir")
            return Path(cursor.fetchone()[0]) == server.data
    except pymysql.MySQLError:
        return False
