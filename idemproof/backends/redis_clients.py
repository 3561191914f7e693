"""Clients for Redis and Valkey: made from the documented parameters, or supplied by the user."""

import inspect
from importlib import import_module
from importlib.util import find_spec
from queue import Empty
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from ..spec.errors import IdempotencyPersistenceConfigError, IdempotencyPersistenceConnectionError
from .credentials import secrets_in
from .doubles import is_double
from .names import whole
from .redis_errors import CREDENTIAL_PROVIDER, NO_CLUSTER, contains_secret

_SECONDS = 5.0
"""How many seconds a client that is made here waits for a connection or a reply."""

_CONNECTIONS = 10_000
"""The largest number of connections of a client that is made here. Requests beyond the limit would fail."""

_COMMANDS = ("get", "eval", "evalsha", "execute_command")
_THREE_METHODS = ("get", "set", "delete")


class Address(NamedTuple):
    """The address of the store, and the options of the connection: the documented parameters."""

    url: str
    host: str
    port: int
    username: str
    password: str
    db_index: int
    mode: Literal["standalone", "cluster"]
    ssl: bool

    def checked(self) -> "Address":
        """Return the address with its numbers converted to int.

        Raises
        ------
        IdempotencyPersistenceConfigError
            The mode is unknown, a number is invalid, or redis is not installed.
        """
        if self.mode not in ("standalone", "cluster"):
            raise IdempotencyPersistenceConfigError(
                f"mode must be 'standalone' or 'cluster', not {self.mode!r}."
            )
        if find_spec("redis") is None:
            raise IdempotencyPersistenceConfigError("This needs redis: pip install 'idemproof[redis]'.")
        return self._replace(
            port=whole("port", self.port, 0),
            db_index=0 if self.db_index is None else whole("db_index", self.db_index, 0),
        )

    def require(self, key: str | None = None) -> None:
        """Raise an error if there is no url and no host.

        It is raised at the first request and not before, so that a module can be imported without an address.
        """
        if not self.url and not self.host:
            whose = "" if key is None else f" for {key!r}"
            raise IdempotencyPersistenceConfigError(
                f"The store has no address, so nothing was sent{whose}. Set a url, a host or a client."
            )

    def client(self, module: Any) -> Any:
        """Make a client with ``module``, which is ``redis`` or ``redis.asyncio``.

        Raises
        ------
        IdempotencyPersistenceConfigError
            A parameter is invalid.
        IdempotencyPersistenceConnectionError
            No node of the cluster can be reached.
        """
        cluster = self.mode == "cluster"
        kind = module.RedisCluster if cluster else module.Redis
        options: dict[str, Any] = {
            "socket_timeout": _SECONDS,
            "socket_connect_timeout": _SECONDS,
            "max_connections": _CONNECTIONS,
        }
        failure: Exception
        try:
            # A cluster client needs one retry to follow a moved slot.
            options["retry"] = _retries(module, 1 if cluster else 0)
            if self.url:
                return kind.from_url(self.url, **options)
            if not cluster:
                options["db"] = self.db_index
            return kind(
                host=self.host,
                port=self.port,
                username=self.username or None,
                password=self.password or None,
                ssl=self.ssl,
                **options,
            )
        except (ValueError, TypeError) as error:
            # The text of the error may contain parts of the URL, and so of the password.
            failure = IdempotencyPersistenceConfigError(
                f"No client can be made of these parameters ({type(error).__name__}). A url looks like "
                "rediss://user:password@host:6379/0, with special characters percent-encoded."
            )
        except Exception as error:  # noqa: BLE001 - every other error means that it cannot connect
            if NO_CLUSTER in str(error):
                failure = IdempotencyPersistenceConfigError(
                    f"{self!r} is not a cluster. Use mode='standalone'."
                )
            else:
                failure = IdempotencyPersistenceConnectionError(
                    f"Cannot connect to {self!r}: {self._describe(error)}. Retry."
                )
        raise failure  # outside of the handlers, because its context may contain a secret

    def secrets(self) -> list[str]:
        """Return the texts that must not appear in messages."""
        found = [self.password]
        try:
            url = urlsplit(self.url)
            found += [url.password or "", unquote(url.password or "")]
            found += parse_qs(url.query).get("password", [])
        except ValueError:
            pass  # no client can be made of such a URL
        return [secret for secret in found if secret]

    def _describe(self, error: Exception) -> str:
        return (
            type(error).__name__ if contains_secret(error, self.secrets()) else str(error).removesuffix(".")
        )

    def __repr__(self) -> str:
        """Return host and port, without secrets."""
        if not self.url:
            return f"{self.host}:{self.port}"
        return self.url.partition("?")[0].rpartition("@")[2]


def _retries(module: Any, number: int) -> Any:
    """Return the library's policy for ``number`` retries. The engine retries too, and both would multiply."""
    from redis.backoff import NoBackoff  # noqa: PLC0415 - loaded when used

    return import_module(f"{module.__name__}.retry").Retry(NoBackoff(), number)  # type: ignore[no-untyped-call,unused-ignore]


def retries_after(client: Any, kind: type[Exception]) -> bool:
    """Return whether a client may retry a request by itself after ``kind`` is raised in it."""
    if not issubclass(kind, OSError):
        return False
    if hasattr(client, "get_nodes"):
        return True  # to follow its nodes
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    if options.get("retry_on_timeout") or options.get("retry_on_error"):
        return True
    retries = getattr(options.get("retry"), "get_retries", None)  # older releases do not have it
    return retries is not None and retries() != 0


def kind_of(client: Any, *, asynchronous: bool) -> Literal["redis", "glide", "three methods"]:
    """Return the kind of a client, by the methods that it has.

    Raises
    ------
    IdempotencyPersistenceConfigError
        The client is async where a blocking one is needed or vice versa, it lacks methods, or it reads from
        replicas, which may return stale records.
    """
    missing = _missing_methods(client, _THREE_METHODS)
    # A mock has every method, so it gets the calls that Powertools makes.
    mocked = is_double(client) and not missing
    if not mocked and not _missing_methods(client, _COMMANDS):
        _check_side(client, "execute_command", asynchronous=asynchronous)
        _check_redis(client, asynchronous=asynchronous)
        return "redis"
    if not mocked and callable(getattr(client, "custom_command", None)):
        _check_side(client, "custom_command", asynchronous=asynchronous)
        read_from = getattr(getattr(client, "_config", None), "read_from", None)
        if getattr(read_from, "name", "PRIMARY") != "PRIMARY":
            raise IdempotencyPersistenceConfigError(
                "The client reads from replicas, which may return stale records. Make it with "
                "read_from=ReadFrom.PRIMARY."
            )
        return "glide"
    if missing:
        raise IdempotencyPersistenceConfigError(
            f"The client {type(client).__name__} has no {', '.join(missing)}. Pass a client with the methods "
            "of redis-py (redis, valkey, fakeredis), or a Valkey GLIDE client."
        )
    if not mocked:
        _check_side(client, "set", asynchronous=asynchronous)
    return "three methods"


def _missing_methods(client: Any, methods: tuple[str, ...]) -> list[str]:
    return [name for name in methods if not callable(getattr(client, name, None))]


def _check_side(client: Any, method: str, *, asynchronous: bool) -> None:
    command = getattr(type(client), method, None)
    if command is not None and inspect.iscoroutinefunction(command) is not asynchronous:
        needed, layer = (
            ("an async", "RedisCachePersistenceLayer")
            if asynchronous
            else ("a blocking", "AsyncRedisCachePersistenceLayer")
        )
        raise IdempotencyPersistenceConfigError(
            f"The client is of {type(client).__module__}, but this layer needs {needed} client. Use {layer} "
            "for this client."
        )


def _check_redis(client: Any, *, asynchronous: bool) -> None:
    if _is_set(client, "read_from_replicas") or _is_set(client, "load_balancing_strategy"):
        raise IdempotencyPersistenceConfigError(
            "The client reads from replicas, which may return stale records. Make it without "
            "read_from_replicas and load_balancing_strategy."
        )
    if getattr(getattr(client, "connection_pool", None), "is_master", True) is False:
        raise IdempotencyPersistenceConfigError(
            "The client reads from a replica of Sentinel, which may return stale records. Make it with "
            "master_for."
        )
    if _is_set(getattr(client, "connection_pool", None), "cache"):
        raise IdempotencyPersistenceConfigError(
            "The client has a client-side cache, which may return stale records. Make it without "
            "cache_config."
        )
    if not asynchronous and _is_set(client, "connection"):
        raise IdempotencyPersistenceConfigError(
            "The client has a single connection, on which threads and forks would get each other's replies. "
            "Make it without single_connection_client."
        )


def secrets_of(client: Any) -> list[str]:
    """Return the texts of a client that must not appear in messages."""
    found = []
    for holder in (client, getattr(client, "connection_pool", None), getattr(client, "nodes_manager", None)):
        options = getattr(holder, "connection_kwargs", None)
        if isinstance(options, dict):
            found += [str(options[name]) for name in ("password", "ssl_password") if options.get(name)]
            provider = options.get("credential_provider")
            if provider is not None:
                found += [CREDENTIAL_PROVIDER, *secrets_in(provider)]
    return found


def drop_idle_connections(client: Any) -> None:
    """Close idle connections, so that the next request opens a new one."""
    for pool in _pools(client):
        if _can_close_idle_only(pool):
            pool.disconnect(inuse_connections=False)
        elif hasattr(pool, "pool"):
            _disconnect_queued(pool.pool)


async def drop_idle_connections_async(client: Any) -> None:
    """Do what :func:`drop_idle_connections` does, with an async client."""
    nodes = getattr(getattr(client, "nodes_manager", None), "nodes_cache", None) or {}
    closing = [
        connection.disconnect(nowait=True)
        for node in nodes.values()
        for connection in tuple(getattr(node, "_free", ()))  # there is no pool
    ]
    closing += [
        pool.disconnect(inuse_connections=False) for pool in _pools(client) if _can_close_idle_only(pool)
    ]
    for each in closing:
        await each


def _pools(client: Any) -> list[Any]:
    nodes = client.get_nodes() if hasattr(client, "get_nodes") else ()
    clients = (client, *(getattr(node, "redis_connection", None) for node in nodes))
    clients += tuple(getattr(node, "valkey_connection", None) for node in nodes)
    pools = (getattr(one, "connection_pool", None) for one in clients)
    return [pool for pool in pools if hasattr(pool, "disconnect")]


def _can_close_idle_only(pool: Any) -> bool:
    try:
        inspect.signature(pool.disconnect).bind(inuse_connections=False)
    except TypeError:
        return False
    return True


def _disconnect_queued(connections: Any) -> None:
    """Close the queued connections of a blocking pool whose ``disconnect`` would close all connections."""
    taken = []
    try:
        while True:
            taken.append(connections.get_nowait())
    except Empty:
        pass
    try:
        for connection in taken:
            if connection is not None:
                connection.disconnect()
    finally:
        for connection in reversed(taken):
            connections.put_nowait(connection)


def _is_set(holder: Any, name: str) -> bool:
    # Statically first, because a mock has every attribute.
    if inspect.getattr_static(holder, name, None) is None:
        return False
    return bool(getattr(holder, name, None))
