"""The canonical form of a JSON body: equal for texts that mean the same, and only for them (HTTP-11)."""

import json
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import Any, Literal

LARGEST_JSON = 64 * 1024
"""The largest body that is compared as JSON, in bytes. A larger one is compared as it is."""

DEEPEST_JSON = 64
"""The deepest nesting that is compared as JSON."""

Numbers = Literal["literal", "value"]

_name_of = itemgetter(0)


class _Number(str):
    """A number, as it was written or as it is compared. In the canonical form it has no quotes."""

    __slots__ = ()
    __repr__ = str.__str__


class _AmbiguousError(ValueError):
    """Readers of the text may disagree about it."""


def canonical_json(body: bytes, numbers: Numbers = "literal") -> bytes | None:
    """Return the canonical form of a JSON text, or None if it has none.

    It is the value as Python writes it in ASCII, with sorted names and one spelling for each string. It has
    none if it is too large or too deep, is not UTF-8 without a byte-order mark, or has a name twice, or
    ``NaN`` or ``Infinity``.

    Parameters
    ----------
    body
        The text.
    numbers
        ``"literal"``: numbers are equal if they are written the same. ``"value"``: if they have the same
        value, as 1 and 1.0.
    """
    if len(body) > LARGEST_JSON or body.startswith(b"\xef\xbb\xbf"):
        return None
    try:
        value = _DECODERS[numbers].decode(body.decode("utf-8"))
        # One that has so few objects and arrays cannot have them in more levels.
        if body.count(b"{") + body.count(b"[") > DEEPEST_JSON and _is_deeper(value, DEEPEST_JSON):
            return None
        return ascii(value).encode("ascii")
    except (ValueError, RecursionError):
        return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(sorted(pairs, key=_name_of))
    if len(found) != len(pairs):
        raise _AmbiguousError
    return found


def _refuse(constant: str) -> Any:
    raise _AmbiguousError(constant)


def _by_value(literal: str) -> _Number:
    """Return one spelling for all numbers of the same value."""
    try:
        sign, digits, exponent = Decimal(literal).as_tuple()
    except InvalidOperation as error:
        raise _AmbiguousError from error
    text = "".join(map(str, digits)).lstrip("0")
    if not text:
        return _Number("0")
    shorter = text.rstrip("0")
    return _Number(f"{'-' if sign else ''}{shorter}e{int(exponent) + len(text) - len(shorter)}")


_DECODERS = {
    numbers: json.JSONDecoder(
        object_pairs_hook=_object, parse_int=number, parse_float=number, parse_constant=_refuse
    )
    for numbers, number in (("literal", _Number), ("value", _by_value))
}


def _is_deeper(value: Any, levels: int) -> bool:
    """Return whether objects and arrays are nested in more than so many levels."""
    if type(value) is dict:
        value = value.values()
    elif type(value) is not list:
        return False
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in value)
