"""Layers that a fork breaks, and correct ones, over files with a lock and over a server."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import asyncio
import fcntl
import hashlib
import os
import pickle
import shutil
import socket
import socketserver
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from idemproof.backends.base import AsyncCompareAndSwapLayer, CompareAndSwapLayer
from idemproof.conformance.suite.factories import Factory
from idemproof.spec.record import Record, same_version

from .exhibits import FORKS, broken, correct
from .foundations import Dictionary

_PAUSE = 0.001
_LENGTH = 8


class Folder:
    """A factory of layers over one folder, which is deleted when the factory is garbage collected.

    Parameters
    ----------
    kind
        The class.
    """

    def __init__(self, kind: Any) -> None:
        folder = tempfile.mkdtemp(prefix="idemproof-broken-layers-")
        self._make = partial(kind, folder)
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __call__(self) -> Any:
        """Return another layer over the folder."""
        return self._make()

    def __reduce__(self) -> Any:
        # Another process gets the bare function, so that only this one deletes the folder.
        return partial, (self._make.func, *self._make.args)


class Files:
    """A file for each key, in one folder."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    @classmethod
    def factory(cls) -> Factory:
        """Return a factory of layers of this class over a new folder."""
        return Folder(cls)

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.folder / hashlib.sha256(key.encode()).hexdigest()

    def read(self, key: str) -> Record | None:
        """Return the stored record."""
        try:
            stored: Record = pickle.loads(self.path(key).read_bytes())  # noqa: S301 - its own file
        except FileNotFoundError:
            return None
        return stored

    def replace(self, key: str, expected: Record | None, new: Record | None) -> Record | None:
        """Replace the record if it is the expected one, and return the stored one. Needs the lock."""
        current = self.read(key)
        if not same_version(current, expected):
            return current
        path = self.path(key)
        if new is None:
            path.unlink(missing_ok=True)
        else:
            path.with_suffix(".new").write_bytes(pickle.dumps(new))
            path.with_suffix(".new").replace(path)
        return new


@contextmanager
def lock_file(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder, by a descriptor of its own."""
    with (folder / "lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:  # a child may have inherited the descriptor: closing it here does not release the lock
            fcntl.flock(file, fcntl.LOCK_UN)


@correct(capabilities=FORKS)
class ByALockFile(Files, CompareAndSwapLayer):
    """A file for each key, and a lock file that each request opens, so that a child has its own lock."""

    def _load(self, key: str) -> Record | None:
        return self.read(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.locked():
            return self.replace(key, expected, new)

    def locked(self) -> AbstractContextManager[Any]:
        """Return the lock."""
        return lock_file(self.folder)


@broken(capabilities=FORKS, CAS_13="concurrency")
class InheritsAHeldLock(ByALockFile):
    """Its threads share a lock, which a forked child inherits locked, if another thread holds it."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.lock = threading.Lock()

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self.lock, lock_file(self.folder):
            yield


@correct(capabilities=FORKS)
class UnlocksByClosing(ByALockFile):
    """A lock file that each request opens; closing it releases the lock."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@correct(capabilities=FORKS)
class ByALockOfEachProcess(ByALockFile):
    """A lock file, and a lock of threads for each process."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.locks: dict[int, threading.Lock] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self.locks.setdefault(os.getpid(), threading.Lock()), lock_file(self.folder):
            yield


@broken(capabilities=FORKS, CAS_13="concurrency", CAS_4="concurrency")
class InheritsItsLockFile(ByALockOfEachProcess):
    """It keeps its lock file open: a child inherits the descriptor, and with it the lock of its parent."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.file = (self.folder / "lock").open("ab")

    def close(self) -> None:
        """Close the lock file."""
        self.file.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self.locks.setdefault(os.getpid(), threading.Lock()):
            fcntl.flock(self.file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self.file, fcntl.LOCK_UN)


class ByAMark(ByALockFile):
    """A file marks which process has the lock. A process that finds its own mark has it already."""

    all_locks: ClassVar[dict[tuple[int, Path], threading.Lock]] = {}
    """A lock for all layers over one folder, in each process."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self.all_locks.setdefault((os.getpid(), self.folder), threading.Lock()):
            mark = self.folder / "mark"
            while True:
                try:
                    os.link(self.own_mark(), mark)
                except FileExistsError:
                    if self.is_own(mark):
                        break
                    time.sleep(_PAUSE)
                else:
                    break
            try:
                yield
            finally:
                mark.unlink(missing_ok=True)

    def own_mark(self) -> Path:
        """Return a file with the number of this process."""
        path = self.folder / f"process-{self.process()}"
        path.write_text(str(self.process()), encoding="ascii")
        return path

    def is_own(self, mark: Path) -> bool:
        """Return whether this process has made the mark."""
        try:
            return mark.read_text(encoding="ascii") == str(self.process())
        except FileNotFoundError:
            return False

    def process(self) -> int:
        """Return the number of this process."""
        return os.getpid()


@correct(capabilities=FORKS)
class MarksItsProcess(ByAMark):
    """A file with the number of the process that has the lock, which is asked for at each request."""


@broken(capabilities=FORKS, CAS_13="concurrency", CAS_4="concurrency")
class RemembersItsProcess(ByAMark):
    """It remembers the number of the process that made it, which a child takes for its own."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.number = os.getpid()

    def process(self) -> int:
        return self.number


@broken(capabilities=FORKS, CAS_13="concurrency")
class InheritsAHeldAsyncioLock(Files, AsyncCompareAndSwapLayer):
    """Its tasks share a lock, which the event loop of a forked child finds locked."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.lock = asyncio.Lock()

    async def _load(self, key: str) -> Record | None:
        return self.read(key)

    async def _swap(
        self, key: str, expected: Record | None, new: Record | None, _keep_ms: int
    ) -> Record | None:
        async with self.lock:
            await asyncio.sleep(0)
            with lock_file(self.folder):
                return self.replace(key, expected, new)


class Server:
    """A factory of layers over a server in threads of this process, which ends with the factory.

    Parameters
    ----------
    kind
        The class.
    """

    def __init__(self, kind: Any) -> None:
        server = _Server(("127.0.0.1", 0), _Handler)
        threading.Thread(target=server.serve_forever, name="broken-layers-server", daemon=True).start()
        self._make = partial(kind, *server.server_address[:2])
        self._end = weakref.finalize(self, _end, server)

    def __call__(self) -> Any:
        """Return another layer over the server."""
        return self._make()

    def __reduce__(self) -> Any:
        return partial, (self._make.func, *self._make.args)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.layer = Dictionary()


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while (request := received(self.rfile.read)) is not None:
            method, arguments = request
            assert isinstance(self.server, _Server)
            self.wfile.write(packed(getattr(self.server.layer, method)(*arguments)))


def _end(server: _Server) -> None:
    server.shutdown()
    server.server_close()


def packed(what: Any) -> bytes:
    """Return an object with its length."""
    text = pickle.dumps(what)
    return len(text).to_bytes(_LENGTH, "big") + text


def received(read: Any) -> Any:
    """Return the next object, or None at the end."""
    length = read(_LENGTH)
    if len(length) < _LENGTH:
        return None
    return pickle.loads(read(int.from_bytes(length, "big")))  # noqa: S301 - from this program


@correct(capabilities=FORKS)
class WithASocketForEachProcess(CompareAndSwapLayer):
    """A server; each process has a socket and a lock of its own."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)
        self.locks: dict[int, threading.Lock] = {}
        self.sockets: dict[int, socket.socket] = {}

    @classmethod
    def factory(cls) -> Factory:
        """Return a factory of layers of this class over a new server."""
        return Server(cls)

    def close(self) -> None:
        """Close the sockets."""
        while self.sockets:
            self.sockets.popitem()[1].close()

    def _load(self, key: str) -> Record | None:
        return self.ask("_load", key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return self.ask("_swap", key, expected, new, ttl_ms)

    def ask(self, method: str, *arguments: Any) -> Record | None:
        """Send a request, and return the reply."""
        with self.locks.setdefault(os.getpid(), threading.Lock()):
            connection = self.connection()
            connection.sendall(packed((method, arguments)))
            reply: Record | None = received(partial(exactly, connection))
            return reply

    def connection(self) -> socket.socket:
        """Return the socket of this process."""
        if os.getpid() not in self.sockets:
            self.sockets[os.getpid()] = socket.create_connection(self.address)
        return self.sockets[os.getpid()]


def exactly(connection: socket.socket, size: int) -> bytes:
    """Receive as many bytes, or fewer at the end."""
    received_ = b""
    while len(received_) < size and (block := connection.recv(size - len(received_))):
        received_ += block
    return received_


@broken(capabilities=FORKS, CAS_13="concurrency")
class InheritsItsSocket(WithASocketForEachProcess):
    """Parent and child send their requests by one socket, and receive each other's replies."""

    def connection(self) -> socket.socket:
        if not self.sockets:
            self.sockets[0] = socket.create_connection(self.address)
        return self.sockets[0]
