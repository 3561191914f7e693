"""The payload hash of a request: what must be equal in all requests with one key (HTTP-10)."""

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Literal, NamedTuple

from .canonical import Numbers, canonical_json
from .messages import Request
from .multipart import parts_of

Part = Literal["method", "path", "query", "media-type", "content-encoding", "preconditions", "body"]

ALL_PARTS: tuple[Part, ...] = (
    *("method", "path", "query", "media-type", "content-encoding", "preconditions", "body"),
)

PRECONDITIONS = frozenset(
    {b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"range"}
)
"""The headers that make a request conditional, or ask for a part."""

_KEPT_MEDIA_TYPES = 128
_name_of = itemgetter(0)


def packed(values: Iterable[bytes]) -> bytes:
    """Return one text for a sequence of texts, each behind its length in eight bytes.

    Different sequences have different texts.
    """
    return b"".join([len(value).to_bytes(8, "big") + value for value in values])


def fingerprint_text(
    request: Request,
    parts: Collection[Part] = ALL_PARTS,
    headers: Collection[bytes] = (),
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
        Lower-case names of further headers that are compared.
    numbers
        How numbers in JSON are compared.
    """
    encodings = request.lines("content-encoding")
    media_type, body = _media_type_and_body(request, numbers, is_encoded=bool(encodings))
    values: dict[Part, bytes] = {
        "method": request.method.encode("latin-1", "replace"),
        "path": request.path,
        "query": request.query,
        "media-type": media_type,
        "content-encoding": packed(encodings),
        "preconditions": _named(request, PRECONDITIONS),
        "body": body,
    }
    compared = [values[part] for part in ALL_PARTS if part in parts]
    # Of which parts they are, and of which headers, is the same for all requests to one middleware.
    return packed((*compared, _named(request, headers)))


def fingerprint(
    request: Request,
    digest: Callable[[bytes], str],
    parts: Collection[Part] = ALL_PARTS,
    headers: Collection[bytes] = (),
    numbers: Numbers = "literal",
) -> str:
    """Return the payload hash: the hash of :func:`fingerprint_text`."""
    return digest(fingerprint_text(request, parts, headers, numbers))


def _named(request: Request, names: Collection[bytes]) -> bytes:
    """Return the field lines that have these names. Lines with one name keep their order."""
    lines = [line for line in request.headers if line[0] in names]
    lines.sort(key=_name_of)
    return packed(chain.from_iterable(lines))


def _media_type_and_body(request: Request, numbers: Numbers, *, is_encoded: bool) -> tuple[bytes, bytes]:
    """Return the media type and the body, in the form in which they are compared."""
    lines, body = request.lines("content-type"), request.body
    if len(lines) != 1:
        return packed(lines), packed((b"raw", body))
    media_type = read_media_type(lines[0])
    if body and not is_encoded:
        if media_type.is_json:
            text = canonical_json(body, numbers)
            if text is not None:
                return media_type.text, packed((b"json", text))
        elif media_type.boundary is not None:
            parts = parts_of(body, media_type.boundary)
            if parts is not None:
                return media_type.text_without_boundary, packed((b"parts", packed(parts)))
    return media_type.text, packed((b"raw", body))


class MediaType(NamedTuple):
    """What counts of the value of ``Content-Type``.

    Parameters
    ----------
    text, text_without_boundary
        The media type in one spelling, without ``charset=utf-8``.
    is_json
        Whether a body of this type is JSON in UTF-8.
    boundary
        What separates the parts of a body of this type, if it is multipart.
    """

    text: bytes
    text_without_boundary: bytes
    is_json: bool
    boundary: bytes | None


@lru_cache(_KEPT_MEDIA_TYPES)
def read_media_type(content_type: bytes) -> MediaType:
    """Return what counts of a media type. Most requests to a service have the same few."""
    kind, parameters = _kind_and_parameters(content_type)
    charsets = [value.lower() for name, value in parameters if name == b"charset"]
    is_utf8 = all(charset in (b"utf-8", b"utf8") for charset in charsets)
    kept = [line for line in parameters if not (line[0] == b"charset" and is_utf8 and len(charsets) == 1)]
    # Of a name that is there twice, some readers take the first value and some the last.
    kept.sort(key=_name_of)
    boundaries = [value for name, value in kept if name == b"boundary"]
    is_separated = len(boundaries) == 1 and boundaries[0] and b"\\" not in boundaries[0]
    return MediaType(
        packed((kind, *map(packed, kept))),
        packed((kind, *(packed(line) for line in kept if line[0] != b"boundary"))),
        is_json=is_utf8 and (kind == b"application/json" or kind.endswith(b"+json")),
        boundary=boundaries[0] if is_separated and kind.startswith(b"multipart/") else None,
    )


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
