"""The parts of a multipart body, so that a new boundary does not make another payload (HTTP-12)."""

import re

_DELIMITER_END = re.compile(rb"[ \t]*\r\n")


def parts_of(body: bytes, boundary: bytes) -> list[bytes] | None:
    """Return the parts of a body, each with its header lines; None if it is malformed.

    The text before the first delimiter and after the last one belongs to no part, and must be empty.
    """
    delimiter = b"--" + boundary
    if not body.startswith(delimiter):
        return None
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if pieces[0] or len(pieces) < 2 or pieces[-1].rstrip(b" \t") not in (b"--", b"--\r\n"):  # noqa: PLR2004
        return None
    parts = []
    for piece in pieces[1:-1]:
        end = _DELIMITER_END.match(piece)
        if end is None:
            return None
        parts.append(piece[end.end() :])
    return parts
