"""Reads a target from TOML. Every value is checked before any request is sent."""

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .places import PORTS
from .target import Effects, Headers, Limits, Process, Target, Template

REQUESTS = ("fails", "declined", "large", "stream", "redirect", "multipart", "cookie", "slow")
"""The names of further requests."""

_BODIES = ("json", "body", "parts")
_REQUEST = ("method", "path", "headers", *_BODIES)
_TOP = (
    *("url", "profile", "header", "key_required", "method", "headers", *_BODIES, "other_json", "other_body"),
    *("other_path", "other_query", "other_method", "tenants", "requests", "second_service"),
    *("effects", "process", "limits", "window_seconds", "lease_seconds", "ignore"),
)
_LARGEST = 10**9
"""The largest number in a target: more than a clock of the system can wait (seconds), or a run can send."""
_PATH = re.compile(r"[!-~]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class TargetFileError(ValueError):
    """The target is invalid; the message says where, and what is expected."""


def read(path: Path) -> Target:
    """Return the target that a TOML file describes, or raise :class:`TargetFileError`."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise TargetFileError(f"{str(path)!r} cannot be read: {failure.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise TargetFileError(f"{str(path)!r} is not TOML: {failure}.") from None
    return target_of(values)


def target_of(values: Mapping[str, Any]) -> Target:
    """Return the target that the values of a TOML file describe, or raise :class:`TargetFileError`."""
    top = _Table("the target", values, _TOP)
    address = top.text("url")
    if address is None:
        raise TargetFileError('The target has no url. Add url = "http://127.0.0.1:8000/orders".')
    origin, path = split(address, "url")
    request = _request(top, "POST", path)
    other = _other(top, request)
    tenants = top.table("tenants", ("second", "rotated", "invalid"))
    service = top.text("second_service")
    if service is not None:
        split(service, "second_service")
    return Target(
        url=origin,
        request=request,
        profile=top.text("profile") or "ietf",
        header=top.token("header"),
        key_required=top.flag("key_required") if top.has("key_required") else None,
        other=other,
        other_path=top.path("other_path"),
        other_query=_query(top),
        other_method=top.method("other_method", None),
        second=tenants.headers("second"),
        rotated=tenants.headers("rotated"),
        invalid=tenants.headers("invalid"),
        requests=_requests(top, request),
        second_service=service,
        effects=_effects(top),
        process=_fields(top, "process", Process),
        limits=_fields(top, "limits", Limits),
        window_seconds=top.number("window_seconds"),
        lease_seconds=top.number("lease_seconds"),
        ignore=tuple(top.texts("ignore")),
    )


def split(address: str, where: str) -> tuple[str, str]:
    """Return the origin and the path of an address, or raise :class:`TargetFileError`."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as wrong:
        raise TargetFileError(f"{where} is no address: {address!r} ({wrong}).") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise TargetFileError(f"{where} must begin with http:// or https:// and a host, not {address!r}.")
    if parts.username is not None:
        raise TargetFileError(f"{where} contains a password. Use an Authorization header instead.")
    if not _PATH.fullmatch(address):
        raise TargetFileError(
            f"{where} contains a space or another character that must be encoded: {address!r}."
        )
    if port == 0:
        raise TargetFileError(f"{where} has the port 0, at which nothing can listen: {address!r}.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    origin = f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, PORTS[parts.scheme]) else "")
    return origin, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _query(top: "_Table") -> str | None:
    query = top.text("other_query")
    if query is not None and not _PATH.fullmatch(query):
        raise TargetFileError(
            f"The target: other_query contains a character that must be encoded: {query!r}."
        )
    return query


def _other(top: "_Table", request: Template) -> Template | None:
    if top.has("other_json"):
        return request._replace(json=top.json("other_json"), body=None)
    text = top.text("other_body")
    return None if text is None else request._replace(body=text, json=None)


def _request(table: "_Table", method: str, path: str, base: Headers = ()) -> Template:
    bodies = [name for name in _BODIES if table.has(name)]
    if len(bodies) > 1:
        raise TargetFileError(f"{table.where} has {' and '.join(bodies)}: use one of them.")
    parts = table.table("parts") if table.has("parts") else None
    headers = table.headers("headers")
    return Template(
        table.method("method", method) or method,
        path,
        base if headers is None else headers,
        table.json("json"),
        table.text("body"),
        None if parts is None else {name: parts.field(name) for name in parts.values},
    )


def _requests(top: "_Table", request: Template) -> dict[str, Template]:
    found = {}
    tables = top.table("requests", REQUESTS)
    for name in tables.values:
        table = tables.table(name, _REQUEST)
        path = table.path("path") or request.path
        template = _request(table, request.method, path, request.headers)
        if not any(table.has(each) for each in _BODIES):
            template = template._replace(json=request.json, body=request.body, parts=request.parts)
        found[name] = template
    return found


def _effects(top: "_Table") -> Effects | None:
    if not top.has("effects"):
        return None
    table = top.table("effects", Effects._fields)
    ways = [name for name in ("url", "log", "command") if table.has(name)]
    if len(ways) != 1:
        raise TargetFileError("effects needs exactly one of url, log and command.")
    if table.has("url"):
        split(table.text("url") or "", "effects.url")
    try:
        re.compile(table.text("pattern") or "")
    except re.error as wrong:
        raise TargetFileError(f"effects: pattern is no regular expression: {wrong}.") from None
    settle = table.count("settle_ms")
    return Effects(
        table.text("url"),
        table.text("json") or "",
        table.headers("headers") or (),
        table.text("log"),
        table.text("pattern") or "",
        table.text("command"),
        Effects().settle_ms if settle is None else settle,
    )


def _fields(top: "_Table", name: str, made: Any) -> Any:
    """Return the table ``name`` as a named tuple, whose defaults say the types."""
    table = top.table(name, made._fields)
    values: dict[str, Any] = {}
    for each in table.values:
        default = made._field_defaults[each]
        if default is None:
            values[each] = table.text(each)
        elif isinstance(default, bool):
            values[each] = table.flag(each)
        elif isinstance(default, int):
            values[each] = table.count(each)
        else:
            values[each] = float(table.number(each) or 0)
    return made(**values)


class _Table:
    """A table of the file, whose values are checked when they are read."""

    def __init__(self, where: str, values: Any, known: Sequence[str] | None = None) -> None:
        if not isinstance(values, Mapping):
            raise TargetFileError(f"{where} must be a table, not {values!r}.")
        self.where = where
        self.values = values
        for name in values if known is not None else ():
            if name not in (known or ()):
                near = difflib.get_close_matches(name, known or (), n=1)
                hint = f" Is it {near[0]!r}?" if near else f" There are: {', '.join(known or ())}."
                raise TargetFileError(f"{where} has no {name!r}.{hint}")

    def has(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "a text", value)
        return value

    def field(self, name: str) -> str:
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self._wrong(name, "a text or a number", value)
        return str(value)

    def texts(self, name: str) -> list[str]:
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._wrong(name, "a list of texts", value)
        return value

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self._wrong(name, "a number above 0", value)
        if value > _LARGEST:
            raise self._wrong(name, f"at most {_LARGEST:,}", value)
        return value

    def count(self, name: str) -> int | None:
        value = self.number(name)
        if isinstance(value, float):
            raise self._wrong(name, "a whole number above 0", value)
        return value

    def flag(self, name: str) -> bool:
        value = self.values[name]
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def headers(self, name: str) -> Headers | None:
        value = self.values.get(name)
        if value is None:
            return None
        table = _Table(f"{self.where}: {name}", value)
        lines = tuple((each, table.text(each) or "") for each in value)
        for each, text in lines:
            if not _TOKEN.fullmatch(each):
                raise TargetFileError(f"{table.where}: {each!r} is no name of a header.")
            if not text.isprintable():
                raise TargetFileError(f"{table.where}: {each} contains a line break or a control character.")
        return lines

    def token(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not _TOKEN.fullmatch(value):
            raise TargetFileError(f"{self.where}: {value!r} is no {name} of HTTP.")
        return value

    def method(self, name: str, default: str | None) -> str | None:
        value = self.token(name)
        return default if value is None else value.upper()

    def json(self, name: str) -> Any:
        """Return JSON data: TOML also has dates and numbers that JSON lacks."""
        value = self.values.get(name)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as wrong:
            raise TargetFileError(f"{self.where}: {name} is no JSON: {wrong}.") from None
        return value

    def path(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not (value.startswith("/") and _PATH.fullmatch(value)):
            raise TargetFileError(f"{self.where}: {name} must begin with '/', without spaces, not {value!r}.")
        return value

    def table(self, name: str, known: Sequence[str] | None = None) -> "_Table":
        return _Table(name, self.values.get(name, {}), known)

    def _wrong(self, name: str, expected: str, value: Any) -> TargetFileError:
        return TargetFileError(f"{self.where}: {name} must be {expected}, not {value!r}.")
