"""Encode results as JSON text, decode them, and locate values that cannot be encoded."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ..drivers.interrupts import raise_interrupt
from .places import ROOT, Place, keyed, spelt, type_name

_JSON_KEYS = (str, int, float, type(None))


class ResultEncoder(json.JSONEncoder):
    """Encodes plain data, decimals, Pydantic models and dataclasses as JSON with sorted keys."""

    def __init__(self, **options: Any) -> None:
        super().__init__(sort_keys=True, **options)

    def default(self, o: Any) -> Any:
        """Return JSON data for a value that JSON cannot represent.

        Raises
        ------
        TypeError
            There is no such data.
        """
        if isinstance(o, Decimal):
            return math.nan if o.is_nan() else str(o)
        # Powertools, which may share the table, checks the attribute `json`, and the bytes must be the same.
        if getattr(o, "json", None) and callable(dump := getattr(o, "model_dump", None)):
            return dump(mode="json")
        if hasattr(o, "__dataclass_fields__"):
            return dataclasses.asdict(o)
        return super().default(o)


_encoder = ResultEncoder()
_read = json.JSONDecoder().raw_decode


encode: Callable[[Any], str] = _encoder.encode
"""Return a result as JSON text: plain data that may contain decimals, Pydantic models and dataclasses.

Raise ``TypeError``, ``ValueError`` or ``RecursionError`` if it cannot be encoded; `locate_failure` finds the
cause.
"""


def decode(text: str | None) -> Any:
    """Return the result that is decoded from JSON text; None without text.

    Parameters
    ----------
    text
        The text that `encode` returned.

    Raises
    ------
    ValueError, RecursionError
        The text is not JSON.
    """
    if not text:
        return None
    try:
        value, end = _read(text)  # faster: it does not search for surrounding white space
    except json.JSONDecodeError:
        end = -1
    return value if end == len(text) else json.loads(text)


def locate_failure(value: Any, encoder: json.JSONEncoder = _encoder) -> tuple[str, str]:
    """Return where and why a value cannot be encoded, without showing any part of it.

    Parameters
    ----------
    value
        The value that the encoder refused.
    encoder
        The encoder that refused it.

    Returns
    -------
    tuple of str
        A path such as ``$.items[2].price``, and text that follows it and says what is wrong there. It only
        contains names and types.
    """
    return _Walk(encoder).run(value)


class _Walk:
    # Iterative, because it has to report nesting that is too deep.

    def __init__(self, encoder: json.JSONEncoder) -> None:
        self._encoder = encoder
        self._open: set[int] = set()
        self._pending: list[tuple[Any, Place, int, bool]] = []

    def run(self, value: Any) -> tuple[str, str]:
        deepest: tuple[int, Place] = (0, ROOT)
        self._pending.append((value, deepest[1], 0, False))
        while self._pending:
            current, place, depth, leaving = self._pending.pop()
            if leaving:
                self._open.discard(id(current))
                continue
            if depth > deepest[0]:
                deepest = (depth, place)
            # An encoder's hook can unfold without end, and nothing this deep can be encoded.
            if depth > 2 * sys.getrecursionlimit():
                break
            if fault := self._fault(current, place, depth):
                return spelt(place, str), fault
        return spelt(deepest[1], str), f"is nested {deepest[0]} levels deep, more than can be encoded"

    def _fault(self, current: Any, place: Place, depth: int) -> str | None:
        if current is None or isinstance(current, str):
            return None
        if isinstance(current, int | float):
            return self._number_fault(current)
        if id(current) in self._open:
            return f"is of type {_kind(current)} and contains itself"
        if isinstance(current, dict) and (fault := _key_fault(current)):
            return fault
        try:
            children = self._children(current)
        except Exception as error:  # noqa: BLE001 - any failure of a hook is the result here
            raise_interrupt(error)
            cause = "" if type(error) is TypeError else f" ({type(error).__name__})"
            return f"is of type {_kind(current)}, which cannot be encoded{cause}"
        self._open.add(id(current))
        self._pending.append((current, place, depth, True))
        self._pending.extend(
            (child, (place, segment) if segment else place, depth + 1, False)
            for child, segment in reversed(children)
        )
        return None

    def _number_fault(self, number: float) -> str | None:
        try:
            self._encoder.encode(number)
        except ValueError:
            return f"is of type {_kind(number)} and too long to be encoded"
        return None

    def _children(self, current: Any) -> list[tuple[Any, str]]:
        if isinstance(current, dict):
            return [(child, keyed(key)) for key, child in current.items()]
        if isinstance(current, list | tuple):
            return [(child, f"[{index}]") for index, child in enumerate(current)]
        return [(self._encoder.default(current), "")]


def _key_fault(mapping: dict[Any, Any]) -> str | None:
    for key in mapping:
        if not isinstance(key, _JSON_KEYS):
            return f"has a key of type {_kind(key)}, where JSON only has strings"
    try:
        sorted(mapping)
    except TypeError:
        kinds = sorted({_kind(key) for key in mapping})
        return f"has keys of types {' and '.join(kinds)}, which cannot be sorted"
    return None


def _kind(value: Any) -> str:
    return type_name(type(value))
