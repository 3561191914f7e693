"""Writes the table of the protocol as a TLA+ module, with each row's condition and step."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from idemproof.spec import transition as rules
from idemproof.spec.events import Event, Outcome
from idemproof.spec.record import Record, execution_of
from idemproof.spec.transition import Row

from .expressions import Operator, applied
from .translate import WIDTH, Translator, camel, wrapped

MODULE = "IdemproofTable"
ARGUMENTS = {0: "record", 1: "event", 2: "now"}
SPECIFIED = rules.TABLE
TAKEN = re.compile(r'row = "(?P<row>.+)" -> row # (?P<end>None)$')
_KINDS: tuple[Any, ...] = (Record, *get_args(Event), *get_args(Outcome))

_HEAD = f"""\
---------------------------- MODULE {MODULE} ----------------------------
(* The table of the protocol: what an event does to the record of one key, and what the caller gets. The   *)
(* rows are those of idemproof/spec/transition.py; tools/regenerate.py translates them from their Python   *)
(* source and writes this file. A record, an event and an outcome have the fields that they have there.    *)
(* Deadlines and "now" are in milliseconds, expiries in seconds.                                           *)
EXTENDS Integers

CONSTANTS
    None,            \\* no record, no lease, no response, no payload hash, no owner
    ExecutionOf(_)   \\* the durable execution that an owner token names, or None (DUR-1)
"""
_ALWAYS = " == TRUE"
_MAX = "Max(one, other) == IF one > other THEN one ELSE other"
_DECIDED = """\
Decided(row, next) == [row |-> row, after |-> next[1], outcome |-> next[2]]"""


def table_module(table: Sequence[Row] = SPECIFIED) -> str:
    """Return the text of the module.

    Parameters
    ----------
    table
        The rows; those of the specification by default. If a fault is injected, the operators of the
        specification keep their names, and a changed condition or step gets a name of its own.
    """
    given: dict[Any, Operator] = {execution_of: Operator("ExecutionOf", (0,), "")}
    translator = Translator(given, [kind.__name__ for kind in _KINDS])
    for row in SPECIFIED:  # first, so that their names do not depend on which function uses which
        translator.operator(row.guard, _named("When", row.guard))
        translator.operator(row.step, _named("Then", row.step))
    for row in table:
        for role, function in (("InjectedWhen", row.guard), ("InjectedThen", row.step)):
            translator.operator(function, role)
    kinds = list(dict.fromkeys(row.event for row in table))
    decisions = [_decision(kind, [row for row in table if row.event is kind], translator) for kind in kinds]
    parts = [
        _HEAD.rstrip(),
        _section("Values"),
        "\n".join(f"{name} == {text}" for name, text in sorted(translator.texts.items())),
        "\n\n".join(map(_constructor, _KINDS)),
        _MAX,
        _section("Conditions and steps"),
        *(each.text for each in translator.operators.values() if not each.text.endswith(_ALWAYS)),
        _section("The table: the first row of the event's kind whose condition holds decides (ROW-0)"),
        _DECIDED,
        *decisions,
        _dispatch(kinds),
        _taken(table),
        "=" * 78,
    ]
    return "\n\n".join(parts) + "\n"


def rows_taken(text: str, counts: Mapping[tuple[int, ...], int]) -> dict[str, int]:
    """Return how often each row of the module has decided.

    Parameters
    ----------
    text
        The text of the module.
    counts
        TLC's counts of its expressions, by their first and last line and column.
    """
    taken = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = TAKEN.search(line)
        if match is not None:  # columns begin with 1
            taken[match["row"]] = counts.get((number, match.start("end") + 1, number, match.end("end")), 0)
    return taken


def _named(role: str, function: Callable[..., Any]) -> str:
    return f"{role}{camel(getattr(function, '__name__', ''))}"


def _decision(kind: type, rows: Sequence[Row], translator: Translator) -> str:
    return "\n".join([f"Decide{kind.__name__}(record, event, now) ==", *_rows(kind, rows, translator)])


def _rows(kind: type, rows: Sequence[Row], translator: Translator) -> Iterator[str]:
    opening = ""
    for row in rows:
        guard, step = translator.operator(row.guard), translator.operator(row.step)
        decided = f'Decided("{row.clause}", {applied(step, ARGUMENTS)})'
        if guard.text.endswith(_ALWAYS):
            yield f"    {opening}{decided}"
            return
        yield f"    {opening}IF {applied(guard, ARGUMENTS)}"
        yield f"    THEN {decided}"
        opening = "ELSE "
    yield f'    ELSE Decided("no row of {kind.__name__}", <<record, None>>)'


def _dispatch(kinds: Sequence[type]) -> str:
    lines = [f'event.kind = "{kind.__name__}" -> Decide{kind.__name__}(record, event, now)' for kind in kinds]
    return "\n".join(
        [
            "Decide(record, event, now) ==",
            f"    CASE {lines[0]}",
            *(f"      [] {line}" for line in lines[1:]),
        ]
    )


def _taken(table: Sequence[Row]) -> str:
    lines = [f'row = "{row.clause}" -> row # None' for row in table]
    return "\n".join(
        [
            "\\* Always true. TLC's coverage of these lines shows how often each row has decided.",
            "IsRow(row) ==",
            f"    CASE {lines[0]}",
            *(f"      [] {line}" for line in lines[1:]),
        ]
    )


def _constructor(kind: Any) -> str:
    """Return the operator that makes a record, an event or an outcome."""
    name, fields = kind.__name__, list(kind._fields)
    values = [f"{field} |-> {field}" for field in fields]
    if kind is not Record:
        values = [f'kind |-> "{name}"', *values]
    head = f"{name}({', '.join(fields)})" if fields else name
    line = f"{head} == [{', '.join(values)}]"
    if len(line) <= WIDTH:
        return line
    separator = ",\n     "
    return f"{wrapped(f'{head} ==')}\n    [{separator.join(values)}]"


def _section(title: str) -> str:
    return f"{'-' * 78}\n(* {title} *)"
