"""The canonical form of a JSON body: equal for texts that mean the same, and only for them (HTTP-11)."""

import json
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

LARGEST_JSON = 64 * 1024
"""The largest body that is compared as JSON, in bytes. A larger one is compared as it is."""

DEEPEST_JSON = 64
"""The deepest nesting that is compared as JSON."""

Numbers = Literal["literal", "value"]

_quote = json.encoder.encode_basestring_ascii


class _Number(str):
    """A number, as it was written or as it is compared."""

    __slots__ = ()


class _AmbiguousError(ValueError):
    """Readers of the text may disagree about it."""


def canonical_json(body: bytes, numbers: Numbers = "literal") -> bytes | None:
    """Return the canonical form of a JSON text, or None if it has none.

    It has sorted names, no white space, and one spelling for each string. It has none if it is too large or
    too deep, is not UTF-8 without a byte-order mark, or has a name twice, or ``NaN`` or ``Infinity``.

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
        parts: list[str] = []
        _write(value, parts.append, DEEPEST_JSON)
    except (ValueError, RecursionError):
        return None
    return "".join(parts).encode("ascii")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
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


def _write(value: Any, write: Any, depth: int) -> None:
    kind = type(value)
    if kind is str:
        write(_quote(value))
    elif kind is _Number:
        write(value)
    elif value is None:
        write("null")
    elif kind is bool:
        write("true" if value else "false")
    elif depth == 0:
        raise _AmbiguousError
    elif kind is dict:
        write("{")
        for place, name in enumerate(sorted(value)):
            write(("," if place else "") + _quote(name) + ":")
            _write(value[name], write, depth - 1)
        write("}")
    else:
        write("[")
        for place, item in enumerate(value):
            if place:
                write(",")
            _write(item, write, depth - 1)
        write("]")
