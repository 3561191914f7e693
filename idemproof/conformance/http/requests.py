"""Makes the requests of a check from the templates of the target."""

import secrets
import string
import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

from .expectations import Expectations
from .target import Headers, Target, Template
from .texts import Texts, compact, multipart
from .wire import Request

_LETTERS = string.ascii_lowercase + string.digits
UNCHANGED: Final[Any] = object()


class Maker:
    """Makes requests.

    Parameters
    ----------
    target, expects
        The target, and what its profile requires.
    texts
        Fills the placeholders.
    """

    def __init__(self, target: Target, expects: Expectations, texts: Texts) -> None:
        self._target = target
        self.header = target.header or expects.header
        self.quoted = expects.quoted
        self._pattern = expects.key_pattern
        self._texts = texts

    def unique(self) -> str:
        """Return a text that no other request of this run has."""
        return _drawn(20)

    def new_key(self, length: int = 26) -> str:
        """Return an unused key of some length, without quotes."""
        if self._pattern is not None:
            return self._by_pattern()
        return f"judge-{_drawn(max(length, 26))}"[:length]

    def _by_pattern(self) -> str:
        """Return a UUID of version 7, which is the only form that a profile requires."""
        milliseconds, chance = time.time_ns() // 1_000_000, secrets.randbits(74)
        high = (milliseconds << 16) | 0x7000 | (chance >> 62)
        key = str(uuid.UUID(int=(high << 64) | (1 << 63) | (chance & ((1 << 62) - 1))))
        if self._pattern is None or not self._pattern.fullmatch(key):
            raise ValueError(f"The judge makes no keys that match {self._pattern!r}.")
        return key

    def field(self, key: str) -> str:
        """Return the value of the header for a key."""
        return quoted(key) if self.quoted else key

    def make(
        self,
        unique: str,
        key: str | None,
        *,
        template: Template | None = None,
        lines: Sequence[str] | None = None,
        client: Headers | None = None,
        more: Headers = (),
        method: str | None = None,
        path: str | None = None,
        json: Any = UNCHANGED,
        body: bytes | None = None,
        chunked: bool = False,
    ) -> Request:
        """Return a request.

        Parameters
        ----------
        unique
            Fills ``{unique}``. Requests that are the same for the service have the same.
        key
            The key, or None for a request without one.
        template
            The request of the target; None for its main one.
        lines
            The exact values of the header lines of the key, instead of ``key``.
        client
            The headers of another client; they replace those of the same names.
        more
            Further headers.
        method, path, json, body, chunked
            What differs from the template.
        """
        base = template or self._target.request
        headers = self._headers(base, client, unique)
        content, media_type = self._body(base, json, unique)
        if body is not None:
            content = body
        if media_type is not None and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", media_type))
        values = lines if lines is not None else [] if key is None else [self.field(key)]
        headers += [(self.header, value) for value in values]
        return Request(
            method or base.method,
            self._texts.filled_line(path or base.path, unique),
            (*headers, *more),
            content,
            chunked,
        )

    def try_all(self) -> None:
        """Make each request of the target once; raise :class:`VariableError` if a variable does not fit."""
        target = self._target
        for template in (target.request, target.other, *target.requests.values()):
            self.make("", None, template=template)
        for client in (target.second, target.rotated, target.invalid):
            self.make("", None, client=client)
        for path in (target.other_path, target.other_query, target.second_service):
            self.make("", None, path=path)

    def _headers(self, base: Template, client: Headers | None, unique: str) -> list[tuple[str, str]]:
        replaced = {name.lower() for name, _ in client or ()}
        own = [(name, value) for name, value in base.headers if name.lower() not in replaced]
        filled = [(name, self._texts.filled_line(value, unique)) for name, value in (*own, *(client or ()))]
        return [(name, value) for name, value in filled if value]

    def _body(self, base: Template, json: Any, unique: str) -> tuple[bytes, str | None]:
        if json is not UNCHANGED:
            return compact(self._texts.filled(json, unique)), "application/json"
        if base.parts is not None:
            media_type, body = multipart(self._texts.filled(base.parts, unique))
            return body, media_type
        if base.json is not None:
            return compact(self._texts.filled(base.json, unique)), "application/json"
        if base.body is not None:
            return str(self._texts.filled(base.body, unique)).encode(), None
        return b"", None


def _drawn(length: int) -> str:
    """Return a text that no other run draws, not even with the same seed: its answers may still be kept."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def quoted(key: str) -> str:
    """Return a key as a quoted string."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
