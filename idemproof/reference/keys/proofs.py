"""Decide whether the output of a custom serializer distinguishes a value from all others."""

import datetime as dt
import re
from base64 import b64encode, urlsafe_b64encode
from calendar import month_abbr, month_name
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache
from typing import Any
from uuid import UUID

from ...drivers.interrupts import raise_interrupt
from .refusals import Marker, Refused, kind_of

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_RUN = re.compile(r"\d+")
_THOUSANDS = re.compile(r"(?<=\d)[,'_ \u00a0](?=\d{3}\b)")
_MOST_MEMBERS = 64


@cache
def _writers() -> tuple[tuple[type, str], ...]:
    """Return the name of the method that writes a value as text, for each type that has one."""
    from pathlib import PurePath  # noqa: PLC0415 - its import takes milliseconds, and few payloads need it

    return (
        (Decimal, "__str__"),
        (dt.datetime, "isoformat"),
        (dt.date, "isoformat"),
        (dt.time, "isoformat"),
        (UUID, "__str__"),
        (PurePath, "__str__"),
    )


def writes_as_its_base(kind: type) -> bool:
    """Return whether a class writes its values as its standard base class does."""
    for base, name in _writers():
        if issubclass(kind, base):
            return getattr(kind, name) is getattr(base, name) or issubclass(kind, Enum)
    return True


def own_text(value: Any) -> str | None:
    """Return the text that a value's class writes; None if it says less than the standard class's text."""
    for base, name in _writers():
        if isinstance(value, base):
            text: str = getattr(value, name)()
            return text if text.startswith(getattr(base, name)(value)) else None
    return None


class Unproven(Marker):
    """The custom output of a serializer. It is checked when it is selected.

    Parameters
    ----------
    value
        The value itself.
    shown
        The output of the serializer.
    owner, name
        The model, and its field that holds the value.
    """

    __slots__ = ("name", "owner")

    def __init__(self, value: Any, shown: Any, owner: Any, name: str) -> None:
        super().__init__(value, shown)
        self.owner = owner
        self.name = name

    def resolve(self) -> Any:
        """Return the output of the serializer, if it distinguishes the value from all others."""
        if shows(self.value, self.shown) or self._comes_back() or self._differs_for_others():
            return self.shown
        if self._follows():
            return self.shown
        raise Refused(
            f"is written by a serializer of its model ({kind_of(self.owner)}) in a form that may be the same "
            "for other values",
            "Select other fields, or name the operation with key=callable, or let the serializer write the "
            "whole value",
        )

    def _comes_back(self) -> bool:
        """Return whether the model restores the same value from the serializer's output."""
        kind = self.owner.__class__
        held = getattr(self.owner, "__dict__", None)
        if held is None or not callable(read := getattr(kind, "model_validate", None)):
            return False
        if not self.name:
            return self._comes_back_whole(read)
        field = getattr(kind, "model_fields", {}).get(self.name)
        if field is None or held.get(self.name) is not self.value:
            return False
        for given in (self.name, getattr(field, "validation_alias", None) or self.name):
            others = {name: value for name, value in held.items() if name != self.name}
            try:
                back = getattr(read({**others, given: self.shown}), self.name)
                if type(back) is type(self.value) and back == self.value:
                    return True
            except Exception as error:  # noqa: BLE001 - a value that cannot be read is not restored
                raise_interrupt(error)
        return False

    def _comes_back_whole(self, read: Callable[[Any], Any]) -> bool:
        try:
            return bool(read(self.shown) == self.owner)
        except Exception as error:  # noqa: BLE001 - a value that cannot be read is not restored
            raise_interrupt(error)
            return False

    def _follows(self) -> bool:
        """Return whether the output around a text, or between texts, is the same for other texts."""
        value, shown = self.value, self.shown
        held = getattr(self.owner, "__dict__", {}).get(self.name, self)
        if not isinstance(shown, str) or held is not value:
            return False
        if isinstance(value, str) and value and shown.count(value) == 1:
            other: Any = "".join("Aa"[sign == "A"] if sign.isalnum() else sign for sign in value)
            expected = shown.replace(value, other)
            return bool(value != other and self._written_for(other) == expected)
        if isinstance(value, list) and len(value) == 1 and value[0] == shown:
            twice = self._written_for([shown, shown])
            mark = twice[len(shown) : -len(shown)] if isinstance(twice, str) else ""
            return bool(mark) and twice == f"{shown}{mark}{shown}" and not any(sign in shown for sign in mark)
        return False

    def _written_for(self, other: Any) -> Any:
        """Return what the model writes for another value of the field; None if that fails."""
        try:
            return self.owner.model_copy(update={self.name: other}).model_dump(mode="json").get(self.name)
        except Exception as error:  # noqa: BLE001 - a failed dump proves nothing
            raise_interrupt(error)
            return None

    def _differs_for_others(self) -> bool:
        """Return whether all other values of a small type are written differently."""
        value, owner = self.value, self.owner
        others: list[Any]
        if isinstance(value, bool):
            others = [not value]
        elif isinstance(value, Enum) and len(type(value)) <= _MOST_MEMBERS:
            others = [member for member in type(value) if member is not value]
        else:
            return False
        if getattr(owner, "__dict__", {}).get(self.name, self) is not value:
            return False
        return all(self._written_for(other) not in (None, self.shown) for other in others)


def shows(value: Any, written: Any) -> bool:  # noqa: C901, PLR0911 - one case for each type
    """Return whether each part of ``value`` is visible in the serializer's output.

    Parameters
    ----------
    value
        The value.
    written
        The plain data that a serializer wrote for it.
    """
    if isinstance(written, dict | list):
        return _parts_show(value, written)
    if isinstance(value, Enum) and written == value.name:
        return True
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, int | float | Decimal):
        return _number_shows(value, written)
    if isinstance(value, dt.timedelta):
        return type(written) in (int, float) and _comes_from(
            value, lambda: dt.timedelta(seconds=written), lambda: dt.timedelta(milliseconds=written)
        )
    if isinstance(value, dt.date | dt.time):
        return _moment_shows(value, written)
    if not isinstance(written, str):
        leaves = list(_leaves(value))
        return len(leaves) == 1 and leaves[0] is not value and _is_seen(leaves[0], written)
    if isinstance(value, str):
        return _text_shows(value, written)
    if isinstance(value, UUID):
        return value.hex in written.replace("-", "").lower()
    if isinstance(value, bytes):
        forms = (value.hex(), b64encode(value).decode(), urlsafe_b64encode(value).decode())
        return bool(value) and (written in forms or value.hex() in written.lower())
    if hasattr(value, "__fspath__"):
        return str(value) in written
    return _joined_shows(value, written)


def _text_shows(value: str, written: str) -> bool:
    """Return whether the output has no other letters or digits than those of a text."""
    before, found, after = written.partition(value)
    return bool(value and found) and not any(sign.isalnum() or sign in value for sign in before + after)


def _number_shows(value: Any, written: Any) -> bool:
    if isinstance(written, bool):
        return False
    with suppress(InvalidOperation, ValueError, OverflowError):
        exact = Decimal(value) if not isinstance(value, float) else Decimal(repr(value))
        if isinstance(written, int | float):
            return exact == Decimal(repr(written))
        if isinstance(written, str):
            found = _NUMBER.findall(_THOUSANDS.sub("", written))
            return len(found) == 1 and Decimal(found[0]) == exact
    return False


def _moment_shows(value: Any, written: Any) -> bool:  # noqa: PLR0911 - one case for each type
    if isinstance(written, bool):
        return False
    if isinstance(written, int | float):
        if isinstance(value, dt.datetime):
            zone = value.tzinfo
            return _comes_from(
                value,
                lambda: dt.datetime.fromtimestamp(written, zone),
                lambda: dt.datetime.fromtimestamp(written / 1000, zone),
            )
        return isinstance(value, dt.date) and value.toordinal() == written
    if not isinstance(written, str):
        return False
    if value.isoformat() in written:
        return own_text(value) is not None
    if not writes_as_its_base(type(value)):
        return False
    forms = [value]
    if getattr(value, "tzinfo", None) is not None:
        offset = value.utcoffset()
        if offset and value.strftime("%z") not in written.replace(":", ""):
            # Without an offset, the output can only be the moment in UTC.
            forms = [value.astimezone(dt.UTC)] if isinstance(value, dt.datetime) else []
    return any([_digits_show(form, written) for form in forms])  # noqa: C419 - a generator that is closed would lose an interrupt


def _comes_from(value: Any, *readings: Callable[[], Any]) -> bool:
    """Return whether one way to read a number restores the value."""
    for read in readings:
        try:
            if read() == value:
                return True
        except (ValueError, OverflowError, OSError) as error:
            raise_interrupt(error)
    return False


def _digits_show(value: Any, written: str) -> bool:
    wanted: list[tuple[int, int]] = []
    if isinstance(value, dt.date):
        wanted += [(value.year, 4), (value.day, 2)]
        names = (month_name[value.month], month_abbr[value.month])
        if not any(re.search(rf"\b{re.escape(name)}\b", written) for name in names):
            wanted.append((value.month, 2))
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        # Parts that are zero may be left out, because other values are written.
        wanted += [(part, 2) for part in (value.hour, value.minute, value.second) if part]
        wanted += [(value.microsecond, 6)] if value.microsecond else []
    runs = Counter(map(int, _RUN.findall(written)))
    if not Counter(part for part, _ in wanted) - runs:
        return True
    rest = "".join(_RUN.findall(written))
    if any(len(run) < 6 for run in _RUN.findall(written)):  # noqa: PLR2004 - a date without separators has at least six digits
        return False
    for part, width in sorted(wanted, key=lambda each: -each[1]):
        digits = f"{part:0{width}}"
        if digits not in rest:
            return False
        rest = rest.replace(digits, "", 1)
    return True


def _parts_show(value: Any, written: Any) -> bool:
    """Return whether each leaf of a value is visible in a leaf of the output, in the same order."""
    shown = list(_leaves(written))
    parts = list(_leaves(value))
    if not parts or len(parts) > len(shown) or len(shown) > _MOST_MEMBERS:
        return False
    rest = iter(shown)
    return all([any(_is_seen(part, leaf) for leaf in rest) for part in parts])  # noqa: C419 - a generator that is closed would lose an interrupt


def _is_seen(part: Any, leaf: Any) -> bool:
    return (type(part) is type(leaf) and part == leaf) or (
        not isinstance(leaf, dict | list) and shows(part, leaf)
    )


def _joined_shows(value: Any, written: str) -> bool:
    """Return whether a text consists of the parts of a value, with separators that no part contains."""
    parts = [str(part) for part in _leaves(value)]
    # A single part does not show which separator would stand between two.
    if not all(parts) or not parts or (len(parts) == 1 and not parts[0].isalnum()):
        return False
    if len(parts) == 1:
        return _text_shows(parts[0], written)
    end = 0
    between: list[str] = []
    for part in parts:
        start = written.find(part, end)
        if start < 0:
            return False
        between.append(written[end:start])
        end = start + len(part)
    return all(mark and not any(sign in part for part in parts for sign in mark) for mark in between[1:])


def _leaves(value: Any) -> Iterator[Any]:  # noqa: C901 - one case for each type
    """Yield the values without parts inside a value."""
    if callable(getattr(value.__class__, "get_secret_value", None)):
        yield value.get_secret_value()
        return
    fields = getattr(value.__class__, "model_fields", None) or getattr(
        value.__class__, "__dataclass_fields__", None
    )
    if isinstance(fields, Mapping):
        for name in fields:
            yield from _leaves(getattr(value, name, None))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            # A tuple is written as one key.
            yield from (name,) if isinstance(name, tuple) else _leaves(name)
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif hasattr(value, "__dict__") and not isinstance(value, str | int | float | Decimal | Enum):
        for item in vars(value).values():
            yield from _leaves(item)
    elif hasattr(value.__class__, "__slots__") and not isinstance(
        value, str | int | float | Decimal | Enum | UUID
    ):
        for name in value.__class__.__slots__:
            yield from _leaves(getattr(value, name, None))
    else:
        yield value
