"""The lines between Idemproof and a command. ``spec/vectors/lines.schema.json`` describes them as a schema.

A record has the form that it has in the test vectors, without its key.
"""

import json
from typing import Any, Literal, NamedTuple, NoReturn

from ...spec.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
)
from ...spec.record import COMPLETED, INPROGRESS, Record
from ..suite.capabilities import Capabilities, is_whole

VERSION = 1
"""The version of the lines, which a command says in its first line."""

LARGEST = 2**53 - 1
"""The largest integer in a line: many languages read numbers as doubles."""

CLAIMS = ("fenced", "durable", "threads", "processes", "largest_response")
"""What a command may claim in its first line."""

ERRORS: dict[str, type[IdempotencyPersistenceLayerError]] = {
    "transient": IdempotencyPersistenceConnectionError,
    "final": IdempotencyPersistenceLayerError,
    "too_large": IdempotencyRecordTooLargeError,
    "config": IdempotencyPersistenceConfigError,
}
"""What is raised for each kind of error."""

_NUMBERS = ("expiry", "lease")
_TEXTS = ("response", "payload_hash", "owner")
_FIELDS = ("status", *_NUMBERS, *_TEXTS)
_SHOWN = 80


class InvalidLineError(ValueError):
    """A line is not what the protocol of lines allows; the message says why, as a predicate."""


class Hello(NamedTuple):
    """The first line of a command.

    Parameters
    ----------
    layer
        The name of the layer.
    steps
        Whether it announces each step before it takes it.
    claims
        What the layer claims, by the names of :class:`~idemproof.conformance.Capabilities`.
    """

    layer: str
    steps: bool
    claims: dict[str, bool | int]


class Reply(NamedTuple):
    """A line about one request.

    Parameters
    ----------
    number
        The ``id`` of the request.
    kind
        ``record`` and ``error`` end the request; ``step`` waits for permission.
    value
        A :class:`Record` without its key, or None; an exception; or the description of the step.
    """

    number: int
    kind: Literal["record", "error", "step"]
    value: Any


def line_of(message: dict[str, Any]) -> bytes:
    """Return a message as a line. It is ASCII, so no reader can split it at a line separator of Unicode."""
    return json.dumps(message).encode() + b"\n"


def fields_of(record: Record | None) -> dict[str, Any] | None:
    """Return a record as an object, with null for empty text (REC-4).

    Raises
    ------
    IdempotencyPersistenceLayerError
        A deadline is beyond 2^53 - 1.
    """
    if record is None:
        return None
    _, status, expiry, lease, *texts = record
    for number in (expiry, lease or 0):
        if number > LARGEST:
            raise IdempotencyPersistenceLayerError(
                f"The record of {record.idempotency_key!r} was not stored: its deadline {number} is beyond "
                f"{LARGEST}, the largest integer that a command is sent."
            )
    return dict(zip(_FIELDS, (status, expiry, lease, *(text or None for text in texts)), strict=True))


def hello_of(line: bytes) -> Hello:
    """Return the first line of a command, or raise :class:`InvalidLineError`."""
    found = _object(line)
    version = found.get("idemproof")
    if version != VERSION or not is_whole(version):
        _refuse(f'its first line must say {{"idemproof": {VERSION}, …}}, but is {_short(found)}')
    _require_members(found, {"idemproof", "layer"}, {"steps", "claims"})
    name, steps, claims = found["layer"], found.get("steps", False), found.get("claims", {})
    if not (isinstance(name, str) and name and isinstance(steps, bool) and isinstance(claims, dict)):
        _refuse(f'"layer" must be a name, "steps" true or false, "claims" an object, in {_short(found)}')
    unknown = [claim for claim in claims if claim not in CLAIMS]
    if unknown:
        _refuse(f"it claims {unknown[0]!r}; a command may claim {', '.join(CLAIMS)}")
    try:
        Capabilities(**claims)
    except ValueError as wrong:
        _refuse(f"its first line is invalid: {wrong}".rstrip("."))
    return Hello(name, steps, claims)


def reply_of(line: bytes) -> Reply:
    """Return a later line of a command, or raise :class:`InvalidLineError`."""
    found = _object(line)
    kinds = [kind for kind in ("record", "error", "step") if kind in found]
    if len(kinds) != 1 or not is_whole(found.get("id")):
        _refuse(f'a line must have a whole "id", and "record", "error" or "step", but one is {_short(found)}')
    kind: Any = kinds[0]
    _require_members(found, {"id", kind}, set())
    read = {"record": _record, "error": _error, "step": _step}
    return Reply(found["id"], kind, read[kind](found[kind]))


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        _refuse(f"each line must be a JSON object, but one is {_short(line.decode(errors='replace'))}")
    if not isinstance(found, dict):
        _refuse(f"each line must be a JSON object, but one is {_short(found)}")
    return found


def _record(found: Any) -> Record | None:
    if found is None:
        return None
    if not isinstance(found, dict):
        _refuse(f"a record must be an object or null, not {_short(found)}")
    _require_members(found, set(_FIELDS), set())
    if found["status"] not in (INPROGRESS, COMPLETED):
        _refuse(f"a record has the status {_short(found['status'])}")
    for name in _NUMBERS:
        number = found[name]
        if not (name == "lease" and number is None) and not (is_whole(number) and 0 <= number <= LARGEST):
            _refuse(f"the {name} of a record is {_short(number)}, not an integer from 0 to 2^53 - 1")
    for name in _TEXTS:
        if found[name] is not None and not (isinstance(found[name], str) and found[name]):
            _refuse(f"the {name} of a record is {_short(found[name])}, which is neither text nor null")
    return Record("", *(found[name] for name in _FIELDS))


def _error(found: Any) -> Exception:
    if not isinstance(found, dict):
        _refuse(f"an error must be an object, not {_short(found)}")
    _require_members(found, {"kind", "message"}, set())
    kind, message = found["kind"], found["message"]
    if kind not in [*ERRORS] or not isinstance(message, str):
        _refuse(
            f"an error must have a message, and a kind of {', '.join(ERRORS)}, but one is {_short(found)}"
        )
    return ERRORS[kind](message)


def _step(found: Any) -> str:
    if not isinstance(found, str) or not found:
        _refuse(f"a step must be text that describes it, not {_short(found)}")
    return found


def _require_members(found: dict[str, Any], required: set[str], optional: set[str]) -> None:
    for name in sorted(required - found.keys()):
        _refuse(f'"{name}" is missing in {_short(found)}')
    for name in found.keys() - required - optional:
        _refuse(f'"{name}" is not a member that the lines know, in {_short(found)}')


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def _refuse(why: str) -> NoReturn:
    raise InvalidLineError(why)
