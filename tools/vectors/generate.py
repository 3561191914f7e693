"""Generates the portable test vectors.

They are for ports of the protocol to other languages. Every run generates the same vectors, because they do
not depend on time, chance or the machine. ``spec/vectors/README.md`` describes the format.
"""

import json
from pathlib import Path
from typing import Any

from idemproof.spec.events import (
    RUN,
    Abandon,
    Claim,
    Complete,
    CompleteWithin,
    Event,
    Outcome,
    Release,
    Renew,
)
from idemproof.spec.record import Record

from .flags import KEY_FLAGS, TRANSITION_FLAGS, flags_of_key, flags_of_reading, flags_of_trace
from .keys import key_vectors
from .readings import KEY, readings
from .transition import cases

PROTOCOL = "2.0"
"""The version of ``protocol.md`` that the vectors belong to."""

_EXPORTED = ("transition.json", "keys.json", "schema.json", "lines.schema.json")
_WIDTH = 180
_FIELDS = {
    "idempotency_key": "key",
    "expiry_timestamp": "expiry",
    "in_progress_expiry_timestamp": "lease",
    "response_data": "response",
}
"""The names of record fields in the vectors, where they differ."""


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - they come from the code
    """Return the text of each generated file by name."""
    transition = {
        "protocol": PROTOCOL,
        "flags": TRANSITION_FLAGS,
        "cases": _transition_cases(),
        "readings": _readings(),
    }
    keys = {"protocol": PROTOCOL, "flags": KEY_FLAGS, "cases": _key_cases()}
    return {
        "transition.json": _rendered(transition),
        "keys.json": _rendered(keys),
        "package.json": json.dumps(_package(), indent=2) + "\n",
    }


def _package() -> dict[str, Any]:
    """Return the description of the folder for npm. Its version is that of the protocol."""
    return {
        "name": "idemproof-vectors",
        "version": f"{PROTOCOL}.0",
        "description": f"Test vectors of the idempotency protocol of Idemproof, version {PROTOCOL}",
        "license": "Apache-2.0",
        "type": "module",
        "exports": {f"./{name}": f"./{name}" for name in _EXPORTED},
        "files": [*_EXPORTED, "run.mjs"],
        "scripts": {"test": "node run.mjs"},
        "engines": {"node": ">=20"},
    }


def _transition_cases() -> list[dict[str, Any]]:
    numbers: dict[str, int] = {}
    rendered = []
    for case in cases():
        row = case.trace[-1].row
        numbers[row] = numbers.get(row, 0) + 1
        steps = [
            {
                "now": move.now,
                "event": _event(move.event),
                "row": move.row,
                "record": _record(move.after),
                "outcome": _outcome(move.outcome),
            }
            for move in case.trace
        ]
        clauses = sorted(set(case.situation.clauses), key=case.situation.clauses.index)
        rendered.append(
            {
                "id": f"{row.lower()}.{numbers[row]}",
                "clauses": clauses,
                "flags": flags_of_trace(steps),
                "why": case.situation.words,
                "steps": steps,
            }
        )
    return rendered


def _event(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": type(event).__name__}
    if isinstance(event, Claim | Complete | CompleteWithin | Release | Abandon | Renew):
        fields["owner"] = event.owner
    if isinstance(event, Claim | Renew):
        fields["lease"] = event.lease
    if isinstance(event, Claim | Complete | CompleteWithin):
        fields |= {"expiry": event.expiry, "payload_hash": event.payload_hash}
    if isinstance(event, Claim) and event.policy != RUN:
        fields["policy"] = event.policy
    if isinstance(event, Complete | CompleteWithin):
        fields["response"] = event.response
    return fields


def _record(record: Record | None, *, whole: bool = False) -> dict[str, Any] | None:
    if record is None:
        return None
    # A case is about one key, so its records need not repeat it.
    left_out = () if whole else ("idempotency_key",)
    fields = record._asdict()
    return {_FIELDS.get(name, name): fields[name] for name in fields if name not in left_out}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": type(outcome).__name__}
    for name, value in outcome._asdict().items():
        if value is not False:  # most claims do not ask
            fields[name] = value if isinstance(value, int) else _record(value)
    return fields


def _readings() -> list[dict[str, Any]]:
    rendered = []
    for number, reading in enumerate(readings(), 1):
        stored = {_FIELDS.get(name, name): value for name, value in reading.stored.items()}
        rendered.append(
            {
                "id": f"reading.{number}",
                "clauses": reading.clauses,
                "flags": flags_of_reading(stored),
                "why": reading.why,
                "asked": KEY,
                "stored": stored,
                "record": _record(reading.record, whole=True),
            }
        )
    return rendered


def _key_cases() -> list[dict[str, Any]]:
    rendered = []
    for number, vector in enumerate(key_vectors(), 1):
        asked, exact_numbers, *derived = vector
        fields = asked._asdict()
        rendered.append(
            {
                "id": f"key.{number}",
                "flags": flags_of_key(fields, exact_numbers=exact_numbers),
                "why": fields.pop("why"),
            }
            | fields
            | dict(zip(vector._fields[2:], derived, strict=True))
        )
    return rendered


def _rendered(document: dict[str, Any]) -> str:
    """Return ASCII JSON text, with each container on one line if it fits."""
    return _spread(document, "") + "\n"


def _spread(value: Any, indent: str, before: int = 0) -> str:
    line = json.dumps(value)
    if not isinstance(value, dict | list | tuple) or len(indent) + before + len(line) < _WIDTH:
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        names = [(f"{json.dumps(name)}: ", child) for name, child in value.items()]
        first, last = "{", "}"
    else:
        names = [("", child) for child in value]
        first, last = "[", "]"
    lines = [f"{inner}{name}{_spread(child, inner, len(name))}" for name, child in names]
    return "\n".join((first, ",\n".join(lines), indent + last))
