"""Whether what a serializer of one's own wrote tells a value from all others."""

import datetime as dt
import re
from calendar import month_abbr, month_name
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any
from uuid import UUID

from ...drivers.interrupts import raise_interrupt
from .refusals import Marker, Refused, kind_of

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_RUN = re.compile(r"\d+")
_THOUSANDS = re.compile(r"(?<=\d)[,'_ \u00a0](?=\d{3}\b)")
_MOST_MEMBERS = 64


class Unproven(Marker):
    """What a serializer wrote in a form of its own. Judged when it is selected.

    Parameters
    ----------
    value
        The value itself.
    shown
        What the serializer wrote.
    owner, name
        The model, and its field that holds the value.
    """

    __slots__ = ("name", "owner")

    def __init__(self, value: Any, shown: Any, owner: Any, name: str) -> None:
        super().__init__(value, shown)
        self.owner = owner
        self.name = name

    def resolve(self) -> Any:
        """Return what the serializer wrote, if it tells the value from all others."""
        if shows(self.value, self.shown) or self._comes_back() or self._differs_for_others():
            return self.shown
        raise Refused(
            f"is written by a serializer of its model ({kind_of(self.owner)}) in a form that may not tell it "
            "from other values",
            "Select other fields, or name the operation with key=callable, or let the serializer write all "
            "of the value",
        )

    def _comes_back(self) -> bool:
        """Return whether the model reads the very value out of what was written."""
        kind = self.owner.__class__
        held = getattr(self.owner, "__dict__", None)
        if not self.name or held is None or not callable(read := getattr(kind, "model_validate", None)):
            return False
        field = getattr(kind, "model_fields", {}).get(self.name)
        if field is None or held.get(self.name) is not self.value:
            return False
        for given in (self.name, getattr(field, "validation_alias", None) or self.name):
            others = {name: value for name, value in held.items() if name != self.name}
            try:
                back = getattr(read({**others, given: self.shown}), self.name)
                if type(back) is type(self.value) and back == self.value:
                    return True
            except Exception as error:  # noqa: BLE001 - what cannot be read does not come back
                raise_interrupt(error)
        return False

    def _differs_for_others(self) -> bool:
        """Return whether all other values of a small type are written otherwise."""
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
        try:
            copies = (owner.model_copy(update={self.name: other}) for other in others)
            return all(copy.model_dump(mode="json").get(self.name) != self.shown for copy in copies)
        except Exception as error:  # noqa: BLE001 - what cannot be written proves nothing
            raise_interrupt(error)
            return False


def shows(value: Any, written: Any) -> bool:  # noqa: C901, PLR0911 - one case a kind
    """Return whether each part of ``value`` is seen in what was written.

    Parameters
    ----------
    value
        The value.
    written
        Plain data that a serializer wrote for it.
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
        return not isinstance(written, bool | str) and value.total_seconds() == written
    if isinstance(value, dt.date | dt.time):
        return _moment_shows(value, written)
    if not isinstance(written, str):
        return False
    if isinstance(value, str):
        return bool(value) and value in written
    if isinstance(value, UUID):
        return value.hex in written.replace("-", "").lower()
    if isinstance(value, bytes):
        return bool(value) and value.hex() in written.lower()
    if hasattr(value, "__fspath__"):
        return str(value) in written
    return _joined_shows(value, written)


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


def _moment_shows(value: Any, written: Any) -> bool:  # noqa: PLR0911 - one case a kind
    if isinstance(written, bool):
        return False
    if isinstance(written, int | float):
        try:
            if isinstance(value, dt.datetime):
                return value.timestamp() in (written, written / 1000)
            return isinstance(value, dt.date) and value.toordinal() == written
        except (ValueError, OverflowError, OSError) as error:
            raise_interrupt(error)
            return False
    if not isinstance(written, str):
        return False
    if value.isoformat() in written:
        return True
    forms = [value]
    if getattr(value, "tzinfo", None) is not None:
        offset = value.utcoffset()
        if offset and value.strftime("%z") not in written.replace(":", ""):
            # Without its offset it can only be the moment in UTC.
            forms = [value.astimezone(dt.UTC)] if isinstance(value, dt.datetime) else []
    return any([_digits_show(form, written) for form in forms])  # noqa: C419 - in a closed generator, an interrupt is lost


def _digits_show(value: Any, written: str) -> bool:
    wanted: list[tuple[int, int]] = []
    if isinstance(value, dt.date):
        wanted += [(value.year, 4), (value.day, 2)]
        names = (month_name[value.month], month_abbr[value.month])
        if not any(re.search(rf"\b{re.escape(name)}\b", written) for name in names):
            wanted.append((value.month, 2))
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        # What is zero may be left out: it is not, where it is something else.
        wanted += [(part, 2) for part in (value.hour, value.minute, value.second) if part]
        wanted += [(value.microsecond, 6)] if value.microsecond else []
    runs = Counter(map(int, _RUN.findall(written)))
    if not Counter(part for part, _ in wanted) - runs:
        return True
    rest = "".join(_RUN.findall(written))
    if any(len(run) < 6 for run in _RUN.findall(written)):  # noqa: PLR2004 - no date is written without marks in less
        return False
    for part, width in sorted(wanted, key=lambda each: -each[1]):
        digits = f"{part:0{width}}"
        if digits not in rest:
            return False
        rest = rest.replace(digits, "", 1)
    return True


def _parts_show(value: Any, written: Any) -> bool:
    """Return whether each leaf of a value is seen in a leaf of what was written, no two in the same."""
    shown = list(_leaves(written))
    parts = list(_leaves(value))
    if not parts or len(parts) > len(shown) or len(shown) > _MOST_MEMBERS:
        return False
    for part in parts:
        for place, leaf in enumerate(shown):
            if (type(part) is type(leaf) and part == leaf) or (
                not isinstance(leaf, dict | list) and shows(part, leaf)
            ):
                del shown[place]
                break
        else:
            return False
    return True


def _joined_shows(value: Any, written: str) -> bool:
    """Return whether a text is the parts of a value, with marks between them that no part contains."""
    parts = [str(part) for part in _leaves(value)]
    if not parts or not all(parts):
        return False
    end = 0
    between: list[str] = []
    for part in parts:
        start = written.find(part, end)
        if start < 0:
            return False
        between.append(written[end:start])
        end = start + len(part)
    return all(mark and not any(sign in part for part in parts for sign in mark) for mark in between[1:])


def _leaves(value: Any) -> Iterator[Any]:  # noqa: C901 - one case a kind
    """Give the values inside of others that have no parts."""
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
            yield from _leaves(name)
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
