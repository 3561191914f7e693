"""The value of ``Idempotency-Key``: an RFC 8941 Item of type String, or a bare value (HTTP-6, HTTP-7)."""

import re
from typing import Literal

KeyForm = Literal["quoted", "bare", "either"]

_STRING = rb'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_BARE_ITEM = rb"|".join(
    (
        rb"-?[0-9]{1,12}\.[0-9]{1,3}",
        rb"-?[0-9]{1,15}",
        _STRING,
        rb"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*",
        rb":[A-Za-z0-9+/=]*:",
        rb"\?[01]",
    )
)
_ITEM = re.compile(
    rb"(?P<string>%s)(?:;\x20*[a-z*][a-z0-9_.*-]*(?:=(?:%s))?)*" % (_STRING, _BARE_ITEM), re.DOTALL
)
_BARE = re.compile(rb"[\x21\x23-\x2b\x2d-\x7e]+")
_ESCAPED = re.compile(rb'\\(["\\])')

LONGEST_LINE = 4096
"""The longest field line that is parsed, in bytes. A key with parameters has far fewer."""


class MalformedKeyError(ValueError):
    """The header is not a key. The message says why, and repeats none of it."""


def parse_key(lines: list[bytes], form: KeyForm = "quoted", longest: int = 255) -> str:
    """Return the client's key.

    Parameters
    ----------
    lines
        The values of all field lines with the name of the header.
    form
        ``"quoted"`` for a String of RFC 8941, whose parameters are ignored. ``"bare"`` for visible ASCII
        characters without quotes and commas. ``"either"`` for both; a key is then the same in both forms.
    longest
        The largest number of characters.

    Raises
    ------
    MalformedKeyError
        There is more than one line or value, or it does not have the form.
    """
    if len(lines) != 1:
        raise MalformedKeyError(f"it has {len(lines)} field lines, and one key is allowed")
    value = lines[0].strip(b" ")
    if len(value) > LONGEST_LINE:
        raise MalformedKeyError(f"its line is longer than {LONGEST_LINE} bytes")
    key = _quoted(value) if form != "bare" else None
    if key is None and form != "quoted":
        key = value.decode("ascii") if _BARE.fullmatch(value) else None
    if key is None:
        raise MalformedKeyError(_EXPECTED[form])
    if not 1 <= len(key) <= longest:
        raise MalformedKeyError(f"it has {len(key)} characters, and 1 to {longest} are allowed")
    if not key.strip(" "):
        raise MalformedKeyError("it consists of spaces")
    return key


_EXPECTED = {
    "quoted": 'it must be one quoted string, such as "8e03978e-40d5-43e8-bc93-6894a57f9324"',
    "bare": "it must be visible ASCII characters without quotes and commas",
    "either": "it must be one quoted string, or visible ASCII characters without quotes and commas",
}


def _quoted(value: bytes) -> str | None:
    """Return the unescaped text of an Item that is a String, or None if it is none."""
    found = _ITEM.fullmatch(value)
    if found is None:
        return None
    return _ESCAPED.sub(rb"\1", found["string"][1:-1]).decode("ascii")
