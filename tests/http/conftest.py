"""Real servers with the shop, each over one store."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import servers
from http_apps import Spec
from http_servers import HTTPServer
from idemproof import PostgresPersistenceLayer
from server_process import Missing, missing

STORES = {
    "uvicorn": "valkey",
    "uvicorn-fastapi": "sqlite",
    "uvicorn-django": "postgres",
    "hypercorn": "memory",
    "gunicorn": "postgres",
    "gunicorn-flask": "sqlite",
    "gunicorn-django": "valkey",
    "gunicorn-threads": "memory",
    "gunicorn-gevent": "valkey",
}
"""The store of each server. Memory is for a single process."""

Start = Callable[..., contextlib.AbstractContextManager[HTTPServer]]


@pytest.fixture(scope="session")
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start a server of a kind, over an empty store."""

    def address(store: str, folder: Path) -> str:
        if store == "sqlite":
            return str(folder / f"{uuid.uuid4().hex}.db")
        if store == "valkey":
            running = request.getfixturevalue("valkey_server")
            with redis.Redis(**servers.redis_kwargs(running, db=7)) as client:
                client.flushdb()
            return f"redis://{running.host}:{running.port}/7"
        if store == "postgres":
            dsn: str = request.getfixturevalue("postgres_server").create_database(f"shop_{uuid.uuid4().hex}")
            with contextlib.closing(PostgresPersistenceLayer(dsn)) as layer:
                layer.create_table()
            return dsn
        return ""

    @contextlib.contextmanager
    def started(kind: str, store: str | None = None, where: str | None = None, **spec: Any) -> Iterator[Any]:
        folder = tmp_path_factory.mktemp("http")
        store = STORES[kind] if store is None else store
        made = Spec("", store=store, address=address(store, folder) if where is None else where, **spec)
        try:
            server = HTTPServer(kind, folder, made)
        except Missing as lack:
            missing(lack.what, lack.how_to_install)
        with server:
            yield server

    return started
