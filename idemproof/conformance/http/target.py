"""The target of the HTTP judge: where the service is, what to send, and what its owner can do."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Headers = tuple[tuple[str, str], ...]


class Template(NamedTuple):
    """A request of the service's own interface. Its texts may contain ``{unique}`` and ``${NAME}``.

    Parameters
    ----------
    method, path
        The method, and the path with its query.
    headers
        The headers, without the idempotency key.
    json
        The body as JSON data, if it is JSON; else None.
    body
        The body as text, if it is not JSON; else None.
    parts
        The fields of a multipart form, if the body is one; else None.
    """

    method: str
    path: str
    headers: Headers = ()
    json: Any = None
    body: str | None = None
    parts: Mapping[str, str] | None = None


class Effects(NamedTuple):
    """How to count the effects of the service: one of ``url``, ``log`` and ``command``.

    Parameters
    ----------
    url, json
        An address that answers a GET, and the path to the number in its JSON, such as ``totals.charges``.
        Without a path the whole answer is the number.
    headers
        The headers of that GET.
    log, pattern
        A file whose lines that match the regular expression are counted.
    command
        A shell command that prints the number.
    settle_ms
        How long the count must not change before it counts (milliseconds): longer than background work takes.
    """

    url: str | None = None
    json: str = ""
    headers: Headers = ()
    log: str | None = None
    pattern: str = ""
    command: str | None = None
    settle_ms: int = 60


class Process(NamedTuple):
    """How the owner controls the process of the service: shell commands, or None.

    Parameters
    ----------
    restart
        Stops the service in order, and starts it again.
    terminate, kill
        Ends the service in the midst of its work, by SIGTERM or SIGKILL.
    start
        Starts it after ``terminate`` or ``kill``; None if something else starts it.
    ready_seconds
        How long it may take until the service accepts connections again.
    keeps_answers
        Whether an answer that was sent survives the end of the process.
    runs_once
        Whether the owner promises that an effect which the end of the process interrupts happens once.
    """

    restart: str | None = None
    terminate: str | None = None
    kill: str | None = None
    start: str | None = None
    ready_seconds: float = 30.0
    keeps_answers: bool = True
    runs_once: bool = False


class Limits(NamedTuple):
    """The bounds of a run.

    Parameters
    ----------
    requests
        How many requests it may send.
    seconds
        How long it may take.
    timeout_seconds
        How long one request may take.
    connections
        How many connections may be open at once.
    answer_bytes
        How much of an answer is read.
    """

    requests: int = 2000
    seconds: float = 120.0
    timeout_seconds: float = 10.0
    connections: int = 50
    answer_bytes: int = 8 << 20


class Target(NamedTuple):
    """A service to judge.

    Parameters
    ----------
    url
        The origin of the service: scheme, host and port.
    request
        The request that has an effect.
    profile
        The name of the profile that says what is required.
    other
        The same request with another payload, or None.
    other_path, other_query, other_method
        Another path, another query or another method of the service, or None.
    second, rotated, invalid
        The headers of a second client, of the first client with a renewed credential, and of no client.
    requests
        Other requests by name: ``fails``, ``declined``, ``large``, ``stream``, ``redirect``,
        ``multipart``, ``cookie``, ``slow``.
    second_service
        The address of another service that keeps its keys in the same store, or None.
    effects, process, limits
        See these classes. Without ``effects`` the judge compares only answers.
    window_seconds, lease_seconds
        How long the service promises to keep an answer, and how long a claim may block a key; or None.
    ignore
        Names of JSON fields that differ in every answer.
    header
        The name of the header; None for the profile's.
    key_required
        Whether a request without a key must be refused; None for what the profile says.
    """

    url: str
    request: Template
    profile: str
    other: Template | None = None
    other_path: str | None = None
    other_query: str | None = None
    other_method: str | None = None
    second: Headers | None = None
    rotated: Headers | None = None
    invalid: Headers | None = None
    requests: Mapping[str, Template] = {}
    second_service: str | None = None
    effects: Effects | None = None
    process: Process = Process()
    limits: Limits = Limits()
    window_seconds: float | None = None
    lease_seconds: float | None = None
    ignore: tuple[str, ...] = ()
    header: str | None = None
    key_required: bool | None = None
