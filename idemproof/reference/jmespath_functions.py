"""JMESPath functions that unpack parts of an event: JSON text, base64, gzip."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jmespath
from jmespath.functions import Functions, signature

MAX_UNPACKED_BYTES = 32 * 1024 * 1024
"""The default limit of unpacked zipped text, in bytes."""

_CHUNK = 256 * 1024

_left: ContextVar[list[int] | None] = ContextVar("idemproof_unpacking_left", default=None)
"""How many bytes this search may still unpack, as a list with one number; and the limit."""


class UnpackedTooLargeError(ValueError):
    """Zipped text unpacks to more than the limit. The message shows no part of it."""


@contextmanager
def bounded_unpacking(most: int) -> Iterator[None]:
    """Limit how many bytes one search unpacks in total."""
    token = _left.set([most, most])
    try:
        yield
    finally:
        _left.reset(token)


def unpacks(node: Any) -> bool:
    """Return whether a parsed expression calls a function that unpacks zipped text."""
    return "powertools_base64_gzip" in called_functions(node)


def called_functions(node: Any) -> list[str]:
    """Return the names of the functions that a parsed expression calls."""
    called: list[str] = []
    pending = [node]
    while pending:
        current = pending.pop()
        # Children of slices are numbers, not nodes.
        if isinstance(current, dict):
            if current["type"] == "function_expression":
                called.append(current["value"])
            pending.extend(current.get("children", ()))
    return called


class PowertoolsFunctions(Functions):
    """The built-in JMESPath functions, and three that unpack strings.

    ``powertools_json(text)`` parses JSON, ``powertools_base64(text)`` decodes base64 to text, and
    ``powertools_base64_gzip(text)`` decodes base64 and unzips it to text.
    """

    @signature({"types": ["string"]})
    def _func_powertools_json(self, text: str) -> Any:
        return json.loads(text)

    @signature({"types": ["string"]})
    def _func_powertools_base64(self, text: str) -> str:
        return _from_base64(text).decode()

    @signature({"types": ["string"]})
    def _func_powertools_base64_gzip(self, text: str) -> str:
        return _unzipped(_from_base64(text)).decode()


def _from_base64(text: str) -> bytes:
    import base64  # noqa: PLC0415 - loaded when used

    return base64.b64decode(text)


def _unzipped(data: bytes) -> bytearray:
    """Return unpacked data. It is read in parts, so that it never takes more memory than the limit."""
    import gzip  # noqa: PLC0415 - loaded when used
    import io  # noqa: PLC0415 - same

    left = _left.get() or [MAX_UNPACKED_BYTES, MAX_UNPACKED_BYTES]
    unpacked = bytearray()
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        while chunk := file.read(_CHUNK):
            left[0] -= len(chunk)
            if left[0] < 0:
                raise UnpackedTooLargeError(
                    f"it unpacks to more than max_unpacked_bytes={left[1]:,} of the configuration"
                )
            unpacked += chunk
    return unpacked


DEFAULT_OPTIONS = jmespath.Options(custom_functions=PowertoolsFunctions())
