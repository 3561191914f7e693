"""Runs services on real servers: in a thread with uvicorn, or as a process."""

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from idemproof.conformance.http.target import Target
from idemproof.conformance.http.target_file import target_of

TOOLS = Path(__file__).resolve().parents[1]
_START_SECONDS = 20.0


@contextlib.contextmanager
def in_thread(
    application: Any, host: str = "127.0.0.1", *, certificate: tuple[str, str] | None = None
) -> Iterator[str]:
    """Serve an ASGI application with uvicorn, in a thread; yield its address.

    Parameters
    ----------
    application
        The application.
    host
        The address to listen on.
    certificate
        The files of a certificate and of its key, to serve HTTPS; or None.
    """
    file, key = certificate or (None, None)
    config = uvicorn.Config(
        application,
        port=0,
        log_level="critical",
        lifespan="off",
        loop="asyncio",
        ssl_certfile=file,
        ssl_keyfile=key,
    )
    server = uvicorn.Server(config)
    family, name = (socket.AF_INET6, f"[{host}]") if ":" in host else (socket.AF_INET, host)
    listener = socket.create_server((host, 0), family=family, backlog=128)
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="service", daemon=True)
    thread.start()
    try:
        wait_for(port, host)
        yield f"{'http' if certificate is None else 'https'}://{name}:{port}"
    finally:
        server.force_exit = server.should_exit = True
        thread.join(_START_SECONDS)
        listener.close()


@contextlib.contextmanager
def as_process(words: list[str], port: int) -> Iterator[str]:
    """Run a service as a process; yield its address."""
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, cwd=TOOLS) as process:
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(port: int, host: str = "127.0.0.1") -> None:
    """Wait until something accepts connections on a port."""
    ends = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def as_owned(words: str, folder: Path, port: int) -> Iterator[dict[str, str]]:
    """Run a service in the background, with all that it starts; yield the commands that control it.

    Parameters
    ----------
    words
        The command line, for a shell.
    folder
        Where its output and its number go.
    port
        The port on which it will accept connections.
    """
    log, number = folder / "log", f"$(cat {folder / 'pid'})"
    start = f"cd {TOOLS}; nohup setsid {words} >{log} 2>&1 & echo $! >{folder / 'pid'}"
    terminate = f"kill -s TERM {number}; while kill -0 {number} 2>&-; do sleep 0.02; done"
    kill = f"kill -s KILL -- -{number}; while kill -0 {number} 2>&-; do sleep 0.02; done"
    _shell(start)
    try:
        wait_for(port)
        _wait_for_answer(port)
        yield {"start": start, "restart": f"{terminate}; {start}", "terminate": terminate, "kill": kill}
    finally:
        _shell(kill)


def _wait_for_answer(port: int) -> None:
    """Wait for an answer: some servers accept connections before they have the application."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)) as link:
        link.request("GET", "/")
        link.getresponse()


def _shell(command: str) -> None:
    subprocess.run(["/bin/sh", "-c", command], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def target_for(url: str, **more: Any) -> Target:
    """Return the target of a service of this package."""
    values: dict[str, Any] = {
        "url": f"{url}/orders",
        "headers": {"Authorization": "Bearer alice"},
        "json": {"amount": 5, "reference": "{unique}"},
        "other_json": {"amount": 6, "reference": "{unique}"},
        "other_path": "/refunds",
        "other_query": "currency=eur",
        "other_method": "PATCH",
        "tenants": {
            "second": {"Authorization": "Bearer bob"},
            "rotated": {"Authorization": "Bearer alice-renewed"},
            "invalid": {"Authorization": "Bearer wrong"},
        },
        "requests": {
            "fails": {"path": "/orders/fails"},
            "declined": {"path": "/orders/declined"},
            "large": {"path": "/orders/large"},
            "redirect": {"path": "/old-orders"},
            "slow": {"path": "/orders/slow"},
            "multipart": {"path": "/orders/form", "parts": {"amount": "5", "reference": "{unique}"}},
        },
        "effects": {"url": f"{url}/effects", "json": "count", "settle_ms": 20},
        "window_seconds": 3.0,
        "lease_seconds": 1.0,
    }
    values.update(more)
    return target_of({name: value for name, value in values.items() if value is not None})
