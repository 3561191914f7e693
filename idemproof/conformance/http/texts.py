"""Fills the placeholders of a target, and shows requests and answers without its secrets."""

import json
import os
import re
import secrets
from collections.abc import Mapping
from typing import Any

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""A variable of the environment."""
_LONGEST = 160
_SHORTEST_SECRET = 4


class VariableError(ValueError):
    """A target uses a variable of the environment that is not set or does not fit; the message says which."""


class Texts:
    """Fills ``{unique}`` and ``${NAME}``, and masks the values of variables in what a report shows."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._secrets: dict[str, str] = {}

    def filled(self, value: Any, unique: str) -> Any:
        """Return a text, or JSON data, with its placeholders filled."""
        if isinstance(value, str):
            return VARIABLE.sub(self._variable, value.replace("{unique}", unique))
        if isinstance(value, Mapping):
            return {self.filled(name, unique): self.filled(each, unique) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.filled(each, unique) for each in value]
        return value

    def filled_line(self, value: str, unique: str) -> str:
        """Return a text for a header or a path with its placeholders filled."""
        line: str = self.filled(value, unique)
        if not line.isprintable():
            raise VariableError(f"The target uses {value!r}, but a variable in it contains a line break.")
        return line

    def masked(self, text: str) -> str:
        """Return a text with ``${NAME}`` for the value of each variable that was filled in."""
        for secret, name in self._secrets.items():
            text = text.replace(secret, f"${{{name}}}")
        return text

    def _variable(self, match: re.Match[str]) -> str:
        name = match[1]
        if name not in self._environment:
            raise VariableError(f"The target uses ${{{name}}}, but this variable is not set.")
        value = self._environment[name]
        if len(value) >= _SHORTEST_SECRET:
            self._secrets[value] = name
        return value


def compact(value: Any) -> bytes:
    """Return JSON data as bytes, without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def shown(body: bytes) -> str:
    """Return a body as a short text."""
    if not body:
        return "no body"
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"{len(body):,} bytes that are not text"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(body):,} bytes)"


def multipart(parts: Mapping[str, str]) -> tuple[str, bytes]:
    """Return the media type and the body of a form, with a new boundary."""
    boundary = f"judge-{secrets.token_hex(12)}"
    lines: list[str] = []
    for name, value in parts.items():
        lines += [f"--{boundary}", f'Content-Disposition: form-data; name="{name}"', "", value]
    return f"multipart/form-data; boundary={boundary}", "\r\n".join([*lines, f"--{boundary}--", ""]).encode()
