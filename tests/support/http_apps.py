"""The applications that real HTTP servers serve in tests: one shop, on each framework.

A server serves ``application``, which the environment variable ``HTTP_APP`` describes: it has the
:class:`Spec` as JSON. Each order is an effect: a line in a file, written at once, so that effects are counted
outside the application.
"""

import asyncio
import hashlib
import importlib
import json
import os
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

VARIABLE = "HTTP_APP"
FAILED = "failed"
"""The file that says that the application cannot be built."""
WHO = "/who"
"""The path that returns the name of the server."""


@dataclass
class Spec:
    """What an application has to know."""

    folder: str
    """The folder of the effects and of the orders to die."""
    name: str = ""
    """What ``GET /who`` returns."""
    application: str = ""
    """The name of the application."""
    store: str = "memory"
    address: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    """The parameters of ``IdempotencyConfig``."""
    middleware: dict[str, Any] = field(default_factory=dict)
    """The parameters of the middleware."""
    bare: bool = False
    """Whether to leave out the middleware."""
    within: bool = False
    """Whether the applications of ``http_transactions.py`` complete in their transactions."""

    def environment(self) -> dict[str, str]:
        """Return the environment variables of the server."""
        # A server imports what its test does, also from a checkout that is not installed.
        folders = filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
        return {VARIABLE: json.dumps(asdict(self)), "PYTHONPATH": os.pathsep.join(folders)}


@dataclass(frozen=True)
class Order:
    """A request, as the shop sees it. ``how`` is its query: how the shop is to behave."""

    tenant: str
    key: str
    body: bytes
    how: Mapping[str, str]

    @classmethod
    def of(cls, authorization: str | None, key: str | None, body: bytes, query: str) -> "Order":
        how = {name: values[0] for name, values in parse_qs(query).items()}
        return cls((authorization or "").removeprefix("Bearer "), (key or "").strip('"'), body, how)

    @property
    def digest(self) -> str:
        """The digest of the payload."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True)
class Effect:
    """One effect, as it is counted."""

    tenant: str
    key: str
    payload: str
    number: str
    process: int

    @classmethod
    def of(cls, order: Order) -> "Effect":
        """Return a new effect of ``order``, which has not happened yet."""
        return cls(order.tenant, order.key, order.digest, uuid.uuid4().hex, os.getpid())


class Shop:
    """Takes orders. Each has one effect, and an answer that names the effect."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._folder = Path(spec.folder)
        (self._folder / "workers").mkdir(exist_ok=True)
        (self._folder / "workers" / str(os.getpid())).touch()

    @property
    def name(self) -> str:
        return self._spec.name

    def begin(self, order: Order) -> Effect:
        """Let the effect of ``order`` happen."""
        self.reach("before", order)
        effect = Effect.of(order)
        append(self._folder, effect)
        self.reach("after", order)
        return effect

    def end(self, order: Order, effect: Effect) -> tuple[int, list[tuple[str, str]], list[bytes]]:
        """Return status, headers and the parts of the body."""
        if "raise" in order.how:
            raise RuntimeError(f"no order of {order.key}")
        text = json.dumps(asdict(effect)).encode()
        parts = [text, *[b" " * 1000] * int(order.how.get("parts", 0))]
        headers = [("Content-Type", "application/json"), ("X-Order", effect.number)]
        if "cookie" in order.how:
            headers.append(("Set-Cookie", f"basket={effect.number}"))
        if "stream" not in order.how:
            parts = [b"".join(parts)]
            headers.append(("Content-Length", str(len(parts[0]))))
        return int(order.how.get("status", 201)), headers, parts

    def rest(self, order: Order) -> None:
        """Take as long as the order says."""
        for seconds in self._rests(order):
            time.sleep(seconds)

    async def arest(self, order: Order) -> None:
        """Take as long as the order says, on an event loop."""
        for seconds in self._rests(order):
            await asyncio.sleep(seconds)

    def _rests(self, order: Order) -> Iterator[float]:
        yield float(order.how.get("sleep", 0))
        while "hold" in order.how and not going_on(self._folder, order.key).exists():
            yield 0.01

    def reach(self, point: str, order: Order) -> None:
        """End this process if :func:`order_to_die` said so for this point and key, which it does once."""
        for number in (signal.SIGKILL, signal.SIGTERM):
            try:
                (self._folder / f"die-{point}-{order.key}-{int(number)}").unlink()
            except FileNotFoundError:
                continue
            os.kill(os.getpid(), number)


def going_on(folder: Path, key: str) -> Path:
    """Return the file that a test writes to let the orders with this key go on that ask to be held."""
    return folder / f"go-on-{key}"


def append(folder: Path, effect: Effect) -> None:
    """Append an effect in one write, which a kill cannot divide."""
    handle = os.open(folder / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, json.dumps(asdict(effect)).encode() + b"\n")
    os.close(handle)


def effects(folder: Path) -> list[Effect]:
    """Return all effects so far, in their order."""
    path = folder / "effects"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [Effect(**json.loads(line)) for line in lines]


def order_to_die(folder: Path, point: str, key: str, number: int = signal.SIGKILL) -> Path:
    """Let the next worker that works at ``key`` die when it reaches ``point``, such as "before" its effect.

    Return the file that is there until then.
    """
    path = folder / f"die-{point}-{key}-{int(number)}"
    path.touch()
    return path


def layer_of(spec: Spec, *, asynchronous: bool) -> Any:
    """Return a layer over the store."""
    import idemproof  # noqa: PLC0415 - the bare application does without

    made: dict[str, Callable[[], Any]] = {
        "memory": idemproof.InMemoryPersistenceLayer,
        "sqlite": lambda: idemproof.SQLitePersistenceLayer(spec.address),
        "valkey": lambda: _of("CachePersistenceLayer", asynchronous)(url=spec.address),
        "postgres": lambda: _of("PostgresPersistenceLayer", asynchronous)(spec.address),
    }
    return made[spec.store]()


def _of(name: str, asynchronous: bool) -> Any:
    import idemproof  # noqa: PLC0415 - as above

    return getattr(idemproof, f"Async{name}" if asynchronous else name)


class Application:
    """The applications over one shop, with their middleware."""

    def __init__(self) -> None:
        self.spec = Spec(**json.loads(os.environ[VARIABLE]))
        self.shop = Shop(self.spec)

    def options(self, *, asynchronous: bool) -> dict[str, Any]:
        """Return the parameters of the middleware."""
        from idemproof import IdempotencyConfig  # noqa: PLC0415 - as above

        config = IdempotencyConfig(**self.spec.config) if self.spec.config else None
        layer = layer_of(self.spec, asynchronous=asynchronous)
        return {"persistence_store": layer, "config": config, **self.spec.middleware}

    def asgi(self) -> Any:
        """Return the plain ASGI application."""
        app = asgi_shop(self.shop)
        if self.spec.bare:
            return app
        from idemproof.http import IdempotencyMiddleware  # noqa: PLC0415 - as above

        return IdempotencyMiddleware(app, **self.options(asynchronous=True))

    def wsgi(self) -> Any:
        """Return the plain WSGI application."""
        app = wsgi_shop(self.shop)
        if self.spec.bare:
            return app
        from idemproof.http import WSGIIdempotencyMiddleware  # noqa: PLC0415 - as above

        return WSGIIdempotencyMiddleware(app, **self.options(asynchronous=False))

    def framework(self) -> Any:
        """Return the application of a framework."""
        module, _, name = self.spec.application.rpartition(".")
        return getattr(importlib.import_module(module or "http_frameworks"), name)(self)

    def built(self) -> Any:
        """Return the application that the specification names."""
        plain = {"asgi": self.asgi, "wsgi": self.wsgi}
        return plain.get(self.spec.application, self.framework)()


def asgi_shop(shop: Shop) -> Callable[..., Awaitable[None]]:
    """Return the shop as an ASGI application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        if scope["path"] == WHO:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": shop.name.encode()})
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        order = Order.of(
            headers.get("authorization"),
            headers.get("idempotency-key"),
            body,
            scope["query_string"].decode("latin-1"),
        )
        effect = shop.begin(order)
        await shop.arest(order)
        status, answered, parts = shop.end(order, effect)
        raw = [(name.lower().encode(), value.encode()) for name, value in answered]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    return app


def wsgi_shop(shop: Shop) -> Callable[..., Iterable[bytes]]:
    """Return the shop as a WSGI application."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == WHO:
            start_response("200 OK", [])
            return [shop.name.encode()]
        length = environ.get("CONTENT_LENGTH")
        source = environ["wsgi.input"]
        body = source.read(int(length)) if length else b""
        order = Order.of(
            environ.get("HTTP_AUTHORIZATION"),
            environ.get("HTTP_IDEMPOTENCY_KEY"),
            body,
            environ.get("QUERY_STRING", ""),
        )
        effect = shop.begin(order)
        shop.rest(order)
        status, headers, parts = shop.end(order, effect)
        start_response(f"{status} As ordered", headers)
        return iter(parts)

    return app


if VARIABLE in os.environ:  # in a server
    try:
        application = Application().built()
    except BaseException:
        Path(Application().spec.folder, FAILED).touch()  # or its server would try again and again
        raise
