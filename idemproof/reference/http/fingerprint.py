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

_ENCODING = b"content-encoding"
_KEPT_MEDIA_TYPES = 128
_name_of = itemgetter(0)


def packed(values: Iterable[bytes]) -> bytes:
    """Return one text for a sequence of texts, each behind its length in eight bytes.

    Different sequences have different texts.
    """
    return b"".join([len(value).to_bytes(8, "big") + value for value in values])


class Fingerprint:
    """Returns the payload hashes of requests.

    Parameters
    ----------
    digest
        Hashes a text.
    parts
        What is compared.
    headers
        Lower-case names of further headers that are compared.
    numbers
        How numbers in JSON are compared.
    """

    def __init__(
        self,
        digest: Callable[[bytes], str],
        parts: Collection[Part] = ALL_PARTS,
        headers: Collection[bytes] = (),
        numbers: Numbers = "literal",
    ) -> None:
        self._digest = digest
        self._parts = frozenset(parts)
        self._headers = frozenset(headers)
        if "content-encoding" in parts:
            self._headers |= {_ENCODING}
        if "preconditions" in parts:
            self._headers |= PRECONDITIONS
        self._numbers: Numbers = numbers

    def __call__(self, request: Request) -> str:
        """Return the payload hash of a request that has its body."""
        parts = self._parts
        media_type, form, body = self._body_of(request)
        # Which parts are left out is the same for all requests of a middleware.
        return self._digest(
            packed(
                [
                    request.method.encode("latin-1", "replace") if "method" in parts else b"",
                    request.path if "path" in parts else b"",
                    request.query if "query" in parts else b"",
                    media_type if "media-type" in parts else b"",
                    *((form, body) if "body" in parts else ()),
                    *self._lines_of(request),
                ]
            )
        )

    def _lines_of(self, request: Request) -> Iterable[bytes]:
        """Return the names and values of the compared headers. Lines with one name keep their order."""
        lines = [line for line in request.headers if line[0] in self._headers]
        lines.sort(key=_name_of)
        return chain.from_iterable(lines)

    def _body_of(self, request: Request) -> tuple[bytes, bytes, bytes]:
        """Return the media type, and the form in which the body is compared, and the body in that form."""
        lines, body = request.lines("content-type"), request.body
        if len(lines) != 1:
            return packed(lines), b"raw", body
        media_type = read_media_type(lines[0])
        if media_type.is_json and not request.lines("content-encoding"):
            text = canonical_json(body, self._numbers)
            if text is not None:
                return media_type.text, b"json", text
        elif media_type.boundary is not None and not request.lines("content-encoding"):
            parts = parts_of(body, media_type.boundary)
            if parts is not None:
                return media_type.text_without_boundary, b"parts", packed(parts)
        return media_type.text, b"raw", body


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
