"""Real HTTP servers on 127.0.0.1, each with the shop of ``http_apps.py``, stopped with all their workers."""

import http.client
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import raw_http
from http_apps import FAILED, WHO, Effect, Spec, effects
from server_process import HOST, Server, module

GRACE_SECONDS = 10


@dataclass(frozen=True)
class Kind:
    """A server with an application: the modules that it needs, and its command line for a port."""

    application: str
    modules: tuple[str, ...]
    command: Callable[[int], Sequence[str]]
    workers: int = 1


def _uvicorn(app: str, workers: int = 1) -> Kind:
    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "uvicorn", "http_apps:application", "--host", HOST, "--port", str(port)),
            *("--log-level", "warning", "--timeout-graceful-shutdown", str(GRACE_SECONDS)),
            *(("--workers", str(workers)) if workers > 1 else ()),
        ]

    return Kind(app, ("uvicorn",), command, workers)


def _hypercorn(app: str) -> Kind:
    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "hypercorn", "http_apps:application", "--bind", f"{HOST}:{port}"]

    return Kind(app, ("hypercorn",), command)


def _gunicorn(app: str, worker: str = "sync", workers: int = 1, *options: str) -> Kind:
    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "gunicorn", "http_apps:application", "--bind", f"{HOST}:{port}"),
            *("--worker-class", worker, "--workers", str(workers), "--log-level", "warning"),
            *("--graceful-timeout", str(GRACE_SECONDS), "--no-control-socket", *options),
        ]

    modules = ("gunicorn", "gevent") if worker == "gevent" else ("gunicorn",)
    return Kind(app, modules, command, workers)


KINDS = {
    "uvicorn": _uvicorn("asgi", 2),
    "hypercorn": _hypercorn("asgi"),
    "uvicorn-fastapi": _uvicorn("fastapi"),
    "uvicorn-django": _uvicorn("django_asgi", 2),
    "gunicorn": _gunicorn("wsgi", "sync", 2),
    "gunicorn-flask": _gunicorn("flask", "gthread", 1, "--threads", "4"),
    "gunicorn-django": _gunicorn("django_wsgi", "gthread", 2, "--threads", "2"),
    "gunicorn-threads": _gunicorn("wsgi", "gthread", 1, "--threads", "4"),
    "gunicorn-gevent": _gunicorn("wsgi", "gevent"),
}
"""The servers, by name."""

IN_TRANSACTIONS = {
    "uvicorn-transactions": _uvicorn("http_transactions.starlette", 2),
    "gunicorn-transactions": _gunicorn("http_transactions.django", "gthread", 2, "--threads", "2"),
}
"""Those whose effects are in the database of the records."""


class HTTPServer(Server):
    """A server with an application; ``folder`` has its effects, its output and its workers' numbers."""

    def __init__(self, kind: str, directory: Path, spec: Spec | None = None) -> None:
        self.kind = (KINDS | IN_TRANSACTIONS)[kind]
        for name in self.kind.modules:
            module(name)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=directory))
        self.name = uuid.uuid4().hex
        self.spec = replace(
            spec or Spec(""), folder=str(self.folder), name=self.name, application=self.kind.application
        )
        super().__init__(
            self.kind.command,
            lambda _: self._is_up(),
            self.folder,
            environment=self.spec.environment(),
            own_group=True,
        )

    def effects(self) -> list[Effect]:
        """Return the effects so far."""
        return effects(self.folder)

    def workers(self) -> list[int]:
        """Return the numbers of the live processes that serve the application."""
        assert self.process is not None
        known = {int(path.name) for path in (self.folder / "workers").iterdir()}
        return [number for number in known if _group_of(number) == self.process.pid]

    def strike(self, worker: int, number: int = signal.SIGKILL) -> bool:
        """Send a signal to a worker; return whether it was still there."""
        assert self.process is not None
        if _group_of(worker) != self.process.pid:
            return False
        try:
            os.kill(worker, number)
        except ProcessLookupError:
            return False
        return True

    def _is_up(self) -> bool:
        if (self.folder / FAILED).exists():
            raise RuntimeError(f"the application cannot be built:\n{self.output()[-3000:]}")
        try:
            reply = raw_http.exchange(self, raw_http.request(WHO, body=None, method="GET"), "GET")
        except (OSError, http.client.HTTPException):
            return False
        return reply.body == self.name.encode() and len(self.workers()) >= self.kind.workers


def _group_of(number: int) -> int | None:
    """Return the process group of a live process."""
    try:
        state, _, group = _status(number)[:3]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(group)


def _status(number: int) -> list[str]:
    # The name in parentheses may contain anything.
    return Path(f"/proc/{number}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()


def headers(key: str | None = None, tenant: str | None = "ada", **more: str) -> list[tuple[str, str]]:
    """Return the headers of an order; names in ``more`` have underscores for hyphens."""
    found: list[tuple[str, str]] = [("Content-Type", "application/json")]
    if tenant is not None:
        found.append(("Authorization", f"Bearer {tenant}"))
    if key is not None:
        found.append(("Idempotency-Key", f'"{key}"'))
    return found + [(name.replace("_", "-"), value) for name, value in more.items()]


def order(server: Any, key: str, body: bytes = b"{}", target: str = "/orders", **more: Any) -> raw_http.Reply:
    """Send an order, and return the response."""
    return raw_http.exchange(server, raw_http.request(target, headers(key, **more), body))
