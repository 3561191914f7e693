"""The payload hash of a request: what must be equal in all requests with one key (HTTP-10)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from .canonical import Numbers, canonical_json
from .messages import Request
from .multipart import parts_of

Part = Literal["method", "path", "query", "media-type", "content-encoding", "preconditions", "body"]

ALL_PARTS: tuple[Part, ...] = (
    *("method", "path", "query", "media-type", "content-encoding", "preconditions", "body"),
)

PRECONDITIONS = (
    *("if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"),
)
"""The headers that make a request conditional, or ask for a part."""


def packed(values: Iterable[bytes]) -> bytes:
    """Return one text for a sequence of texts, each behind its length in eight bytes.

    Different sequences have different texts.
    """
    return b"".join(len(value).to_bytes(8, "big") + value for value in values)


def fingerprint_text(
    request: Request,
    parts: Sequence[Part] = ALL_PARTS,
    headers: Sequence[str] = (),
    numbers: Numbers = "literal",
) -> bytes:
    """Return the text that is hashed.

    Parameters
    ----------
    request
        The request, with its body.
    parts
        What is compared.
    headers
        Names of further headers that are compared.
    numbers
        How numbers in JSON are compared.
    """
    form, body = _body_of(request, numbers)
    fields: list[bytes] = []
    for part in ALL_PARTS:
        if part not in parts:
            continue
        if part == "method":
            value = request.method.encode("latin-1", "replace")
        elif part == "path":
            value = request.path
        elif part == "query":
            value = request.query
        elif part == "media-type":
            value = media_type(request, with_boundary=form != b"parts")
        elif part == "content-encoding":
            value = packed(request.lines("content-encoding"))
        elif part == "preconditions":
            value = _named(request, PRECONDITIONS)
        else:
            value = packed((form, body))
        fields += (part.encode(), value)
    if headers:
        fields += (b"headers", _named(request, sorted({name.lower() for name in headers})))
    return packed(fields)


def fingerprint(
    request: Request,
    digest: Callable[[bytes], str],
    parts: Sequence[Part] = ALL_PARTS,
    headers: Sequence[str] = (),
    numbers: Numbers = "literal",
) -> str:
    """Return the payload hash: the hash of :func:`fingerprint_text`."""
    return digest(fingerprint_text(request, parts, headers, numbers))


def media_type(request: Request, *, with_boundary: bool = True) -> bytes:
    """Return the media type in one spelling, without ``charset=utf-8``."""
    lines = request.lines("content-type")
    if len(lines) != 1:
        return packed(lines)
    kind, parameters = _kind_and_parameters(lines[0])
    charsets = [value for name, value in parameters if name == b"charset"]
    is_plain = len(charsets) == 1 and _is_utf8(charsets[0])
    kept = [
        (name, value)
        for name, value in parameters
        if (with_boundary or name != b"boundary") and not (name == b"charset" and is_plain)
    ]
    # Of a name that is there twice, some readers take the first value and some the last.
    return packed((kind, *map(packed, sorted(kept, key=lambda parameter: parameter[0]))))


def _kind_and_parameters(content_type: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return a media type in lower case, and its parameters, with lower-case names and without quotes."""
    kind, *parameters = _split(content_type)
    found = []
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        value = value.strip()
        if len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
            value = value[1:-1]
        found.append((name.strip().lower(), value))
    return kind.lower(), found


def _split(content_type: bytes) -> list[bytes]:
    """Split a media type at the semicolons that no quotes enclose."""
    found, quoted, begin = [], False, 0
    for place, byte in enumerate(content_type):
        if byte == 0x22:  # noqa: PLR2004 - a quote
            quoted = not quoted
        elif byte == 0x3B and not quoted:  # noqa: PLR2004 - a semicolon
            found.append(content_type[begin:place].strip())
            begin = place + 1
    found.append(content_type[begin:].strip())
    return found


def _named(request: Request, names: Iterable[str]) -> bytes:
    return packed(packed((name.encode("latin-1"), *request.lines(name))) for name in names)


def _body_of(request: Request, numbers: Numbers) -> tuple[bytes, bytes]:
    """Return the form in which the body is compared, and the body in that form."""
    lines = request.lines("content-type")
    if not request.body or len(lines) != 1 or request.lines("content-encoding"):
        return b"raw", request.body
    kind, parameters = _kind_and_parameters(lines[0])
    if kind == b"application/json" or kind.endswith(b"+json"):
        utf8 = all(_is_utf8(value) for name, value in parameters if name == b"charset")
        text = canonical_json(request.body, numbers) if utf8 else None
        return (b"raw", request.body) if text is None else (b"json", text)
    if kind.startswith(b"multipart/"):
        boundaries = [value for name, value in parameters if name == b"boundary"]
        known = len(boundaries) == 1 and boundaries[0] and b"\\" not in boundaries[0]
        parts = parts_of(request.body, boundaries[0]) if known else None
        return (b"raw", request.body) if parts is None else (b"parts", packed(parts))
    return b"raw", request.body


def _is_utf8(charset: bytes) -> bool:
    return charset.lower() in (b"utf-8", b"utf8")
