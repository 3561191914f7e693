"""Find values that a model's dump loses, by comparing each field with its dump. No schema is read.

A field whose value is visible in its dump stays as dumped. For any other field, the dump gets a `Marker`,
which is refused only if it is selected.
"""

import dataclasses
import datetime as dt
import re
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from ...drivers.interrupts import raise_interrupt
from .encoding import encoder
from .proofs import Unproven, own_text, writes_as_its_base
from .refusals import KeptOut, Secret, SecretSet, Unselected, is_secret

_ABSENT: Any = object()
_EXACT = frozenset((str, int, bool, float))


def dumped_model(model: Any, dump: Any) -> Any:
    """Return the dump of a model, with a marker for each value that it does not distinguish from others.

    Parameters
    ----------
    model
        The model.
    dump
        The result of ``model.model_dump(mode="json")``.
    """
    fields = getattr(model.__class__, "model_fields", None)
    # Another library's object with this method: only its dump is known.
    return dump if not isinstance(fields, Mapping) else _compared_fields(model, fields, dump)


def own_dict(value: Any, dump: Any) -> Any:
    """Return the result of an object's ``dict`` method, with a marker for each field that it leaves out."""
    fields = getattr(value.__class__, "__fields__", None)
    if isinstance(fields, Mapping) and type(dump) is dict:
        return _compared_fields(value, fields, dump)
    return dump


def _compared_fields(model: Any, fields: Any, dump: Any) -> Any:  # noqa: C901, PLR0912 - one loop, for speed
    if getattr(model.__class__, "__pydantic_root_model__", False):
        return _compared(model.root, dump, model, "root")
    if type(dump) is not dict:
        held = {name: value for name in fields if (value := _held(model, name)) is not _ABSENT}
        return Unproven(tuple(held.values()), dump, model, "")
    by_alias = _is_dumped_by_alias(model)
    changed: dict[str, Any] = {}
    missing: list[tuple[str, Any]] = []
    for name in fields:
        value = _held(model, name)
        shown = _ABSENT if by_alias else dump.get(name, _ABSENT)
        kind = type(value)
        if value is _ABSENT or (kind is type(shown) and kind in _EXACT and value == shown):
            continue
        alias = name
        if shown is _ABSENT:
            alias = getattr(fields[name], "serialization_alias", None) or name
            shown = dump.get(alias, _ABSENT)
            if shown is _ABSENT:
                alias = name
                shown = dump.get(name, _ABSENT)
            elif alias != name and name not in dump:
                # An expression may use the field's name in the model.
                changed[name] = Unselected(value, None)
        if shown is _ABSENT:
            missing.append((name, value))
        elif (kept := _compared(value, shown, model, name)) is not shown:
            changed[alias] = kept
    others = dict(getattr(model, "model_extra", None) or {})
    for name, value in others.items():
        if name not in dump:
            missing.append((name, value))
        elif (kept := _compared(value, dump[name], model, name)) is not dump[name]:
            changed[name] = kept
    if hasattr(model.__class__, "__dataclass_fields__"):
        missing += [each for each in undeclared(model).items() if each[0] not in dump]
    for name, field in (getattr(model.__class__, "model_computed_fields", None) or {}).items():
        alias = (getattr(field, "alias", None) if by_alias else None) or name
        if alias in dump:
            kept = _compared(getattr(model, name), dump[alias], model, name)
            if kept is not dump[alias]:
                changed[alias] = kept
    if missing:
        changed |= _left_out(model, fields, missing, dump)
    return {**dump, **changed} if changed else dump


def undeclared(value: Any) -> dict[str, Any]:
    """Return what a dataclass holds in addition to its fields, by name.

    These are the attributes of a subclass that is not made a dataclass itself, and the extra fields that a
    dataclass of Pydantic allows.
    """
    kind = value.__class__
    config = getattr(kind, "__pydantic_config__", None)
    allows_extra = isinstance(config, Mapping) and config.get("extra") == "allow"
    if "__dataclass_fields__" in vars(kind) and not allows_extra:
        return {}
    found = {
        name: held
        for name, held in getattr(value, "__dict__", {}).items()
        # What is computed once is kept under the name of what computes it.
        if not hasattr(getattr(kind, name, None), "__get__")
    }
    slots = vars(kind).get("__slots__", ())
    for name in (slots,) if isinstance(slots, str) else slots:
        if hasattr(value, name):
            found[name] = getattr(value, name)
    declared = {field.name for field in dataclasses.fields(value)}
    return {name: held for name, held in found.items() if name not in declared and name[:1] != "_"}


def _is_dumped_by_alias(model: Any) -> bool:
    kind = model.__class__
    config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None)
    return isinstance(config, Mapping) and bool(config.get("serialize_by_alias"))


def _held(model: Any, name: str) -> Any:
    return getattr(model, name, _ABSENT)


def _left_out(model: Any, fields: Any, missing: list[tuple[str, Any]], dump: Any) -> dict[str, Any]:
    """Return a marker for each field that is absent from its model's dump."""
    renamed = _renamed(model, fields, missing, dump)
    marked: dict[str, Any] = {}
    for name, value in missing:
        if name in renamed:
            marked[name] = Unselected(value, None)
        else:
            marker = (Unselected if _is_default(fields.get(name), value) else KeptOut)(value, None)
            marked[name] = marker
            # A model that is dumped by aliases is searched by aliases.
            alias = getattr(fields.get(name), "serialization_alias", None)
            if alias is not None and alias not in dump:
                marked[alias] = marker
    return marked


def _renamed(model: Any, fields: Any, missing: list[tuple[str, Any]], dump: Any) -> dict[str, str]:
    """Return the other names under which a serializer of the whole model writes missing fields."""
    unknown = {name: shown for name, shown in dump.items() if name not in fields}
    renamed: dict[str, str] = {}
    for name, value in missing:
        other = next(
            (other for other, shown in unknown.items() if _compared(value, shown, model, name) is shown), None
        )
        if other is not None:
            del unknown[other]
            renamed[name] = other
    # A serializer may sort values of one type, so swap them and check that each still has its own place.
    alike: dict[type, list[str]] = {}
    for name, value in missing:
        if name in renamed:
            alike.setdefault(type(value), []).append(name)
    others = {
        name: names[place - 1]
        for names in alike.values()
        if len(names) > 1
        for place, name in enumerate(names)
    }
    if not others:
        return renamed
    try:
        swapped = {name: _held(model, other) for name, other in others.items()}
        swapped_dump = model.model_copy(update=swapped).model_dump(mode="json")
        confirmed = all(swapped_dump[renamed[name]] == dump[renamed[other]] for name, other in others.items())
    except Exception as error:  # noqa: BLE001 - a failed dump proves nothing
        raise_interrupt(error)
        confirmed = False
    return renamed if confirmed else {}


def _is_default(field: Any, value: Any) -> bool:
    """Return whether the absence of a field can only mean this value."""
    default = getattr(field, "default", _ABSENT)
    if value is None:
        required = getattr(field, "is_required", None)
        return default is None or (callable(required) and required())
    return type(default) is type(value) and bool(default == value)


def _compared(value: Any, dump: Any, owner: Any, name: str) -> Any:  # noqa: PLR0911 - one case for each type
    """Return ``dump`` if no other value has the same dump, else a copy with markers, or a marker."""
    kind = type(value)
    if value is dump or (kind is type(dump) and kind in _EXACT and value == dump):
        return dump
    if is_secret(value):
        secret = value.get_secret_value()
        shown = type(secret) is type(dump) and secret == dump
        return dump if shown or (not secret and dump == "") else Secret(value, dump)
    if isinstance(value, Enum):
        inside = _compared(value.value, dump, owner, name)
        return inside if inside is dump or isinstance(inside, Secret) else Unproven(value, dump, owner, name)
    fields = _declared_fields(value)
    if fields is not None:
        return _compared_object(value, fields, dump, owner, name)
    if isinstance(value, list | tuple | deque):
        return _compared_sequence(value, dump, owner, name)
    if isinstance(value, set | frozenset):
        return _compared_set(value, dump, owner, name)
    if isinstance(value, Mapping):
        return _compared_mapping(value, dump, owner, name)
    return dump if _is_standard(value, dump) else Unproven(value, dump, owner, name)


def _declared_fields(value: Any) -> Any:
    kind = value.__class__
    for attribute in ("model_fields", "__dataclass_fields__", "__fields__"):
        fields = getattr(kind, attribute, None)
        if isinstance(fields, Mapping):
            return fields
    return None


def _compared_object(value: Any, fields: Any, dump: Any, owner: Any, name: str) -> Any:
    if getattr(value.__class__, "__pydantic_root_model__", False):
        return _compared(value.root, dump, value, "root")
    if type(dump) is dict:
        if any(field not in dump for field in fields):
            whole = _own_dump(value)
            if type(whole) is dict and whole.keys() - dump.keys():
                # The dump has only the fields of the field's declared class.
                dump = whole
        return _compared_fields(value, fields, dump)
    return Unproven(value, dump, owner, name)


def _own_dump(value: Any) -> Any:
    """Return the dump of a field's value by its own class, not by the field's declared class."""
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    if callable(dump := getattr(value, "dict", None)):
        return dump()
    return _jsonable(value)


def _jsonable(value: Any) -> Any:
    """Return the standard form of a value, as Pydantic writes it by default."""
    from pydantic_core import to_jsonable_python  # noqa: PLC0415 - only needed for Pydantic models

    return to_jsonable_python(value)


def _compared_sequence(value: Any, dump: Any, owner: Any, name: str) -> Any:
    if type(dump) is not list or len(dump) != len(value):
        return Unproven(value, dump, owner, name)
    named = hasattr(value.__class__, "_fields")
    kinds = list(map(type, value))
    if not named and kinds == list(map(type, dump)) and _EXACT.issuperset(kinds) and list(value) == dump:
        return dump
    compared = [_compared(item, shown, owner, name) for item, shown in zip(value, dump, strict=True)]
    # An expression may name the fields of a named tuple.
    return value._make(compared) if named else compared


def _compared_set(value: Any, dump: Any, owner: Any, name: str) -> Any:
    if type(dump) is not list or len(dump) != len(value):
        return Unproven(value, dump, owner, name)
    compared = [_compared(item, shown, owner, name) for item, shown in zip(value, dump, strict=True)]
    if _holds_secret(compared):
        return SecretSet(list(value), dump)
    try:
        # The order of a set differs between processes.
        return sorted(compared, key=encoder.encode)
    except TypeError:
        return Unproven(value, dump, owner, name)


def _holds_secret(compared: Any) -> bool:
    if isinstance(compared, dict):
        return any(map(_holds_secret, compared.values()))
    return isinstance(compared, Secret) or (isinstance(compared, list) and any(map(_holds_secret, compared)))


def _compared_mapping(value: Any, dump: Any, owner: Any, name: str) -> Any:
    if any(map(is_secret, value)):
        return SecretSet([list(pair) for pair in value.items()], dump)
    if type(dump) is dict and len(dump) < len(value):
        # A field of a typed dict leaves out keys that its type does not name.
        dump = _jsonable(value)
    if type(dump) is not dict or len(dump) != len(value):
        return Unproven(value, dump, owner, name)
    result: dict[str, Any] = {}
    for (key, item), (shown_key, shown) in zip(value.items(), dump.items(), strict=True):
        if key != shown_key and not _is_standard_key(key, shown_key):
            return Unproven(value, dump, owner, name)
        result[shown_key] = _compared(item, shown, owner, name)
    return result


def _is_standard_key(key: Any, shown: str) -> bool:
    if is_secret(key):
        return False
    if isinstance(key, tuple):
        # Joined by commas: each part is visible unless it contains a comma.
        parts = shown.split(",")
        return len(parts) == len(key) and all(map(_is_standard_key, key, parts))
    try:
        return list(_jsonable({key: None})) == [shown]
    except Exception as error:  # noqa: BLE001 - the key has no standard form
        raise_interrupt(error)
        return False


def _is_standard(value: Any, dump: Any) -> bool:  # noqa: C901, PLR0911 - one case for each type
    """Return whether ``dump`` is the standard form of a value without parts."""
    if isinstance(value, str):
        return type(dump) is str and str.__eq__(value, dump)
    if isinstance(value, bool):
        return dump is value
    if isinstance(value, float):
        return type(dump) is float and (value == dump or (value != value and dump != dump))  # noqa: PLR0124 - NaN
    if isinstance(value, int):
        return type(dump) is int and value == dump
    if isinstance(value, Decimal | UUID):
        return type(dump) is str and dump == own_text(value)
    if value is None or type(dump) is not str:
        return False
    if isinstance(value, re.Pattern):
        # The dump leaves out the flags.
        return bool(dump == value.pattern and value == re.compile(value.pattern))
    if isinstance(value, dt.date | dt.time):
        if value.isoformat().replace("+00:00", "Z") == dump:
            return own_text(value) is not None
        if not writes_as_its_base(type(value)):
            # A derived class may hold more than the dump shows.
            return False
    try:
        return bool(_jsonable(value) == dump)
    except Exception as error:  # noqa: BLE001 - same
        raise_interrupt(error)
        return False
