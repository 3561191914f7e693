"""Checks of a key that comes with another request."""

import json
from typing import Any

from ...suite.consequences import TWICE, WRONG
from ..case import HttpCase
from ..checking import check, integer_of
from ..topics import ONCE, PAYLOAD
from ..wire import Answer, Request

_BIG = 9_007_199_254_740_992
"""2 to the power of 53: above it, a number as in JavaScript cannot tell whole numbers apart."""
_SIMILAR: tuple[tuple[Any, Any], ...] = (
    ("text", "TEXT"),
    ("text", "text "),
    ("caf\u00e9", "cafe\u0301"),
    (5, "5"),
    (True, 1),
    (None, "null"),
)
"""Pairs of values that a careless comparison treats as equal."""


@check("payloads", *PAYLOAD, needs=("other",))
def another_payload_is_refused(case: HttpCase) -> None:
    """A key with another payload is refused, and the second payload has no effect."""
    key = case.make.new_key()
    request = case.request(key)
    first = case.first(request)
    _judge_other(case, first, case.request(key, template=case.target.other), "another payload")
    case.require_repeat(first, case.until_decided(request), "A request was repeated after another payload")


@check("payloads", *ONCE, needs=("json",))
def equal_json_is_not_run_again(case: HttpCase) -> None:
    """Equal JSON that is written otherwise gets the first answer or a refusal, and runs nothing."""
    key = case.make.new_key()
    request = case.request(key)
    case.first(request)
    data = json.loads(request.body)
    for text in _written_otherwise(data):
        answer = case.send(case.request(key, body=text.encode()))
        case.require_once("Equal JSON was sent, written otherwise")
        if not (answer.succeeded or answer.refused):
            case.note(f"Equal JSON that is written otherwise gets {case.outcome(answer)}.")


@check("payloads", *PAYLOAD, needs=("json", "integer"))
def large_numbers_differ(case: HttpCase) -> None:
    """Payloads that differ in the last digit of a large number are two payloads."""
    name = integer_of(case.target.request.json)
    key = case.make.new_key()
    one = case.request(key, json={**case.target.request.json, name: _BIG})
    first = case.send(one)
    if not first.succeeded:
        return  # the service accepts no such number
    other = case.request(key, json={**case.target.request.json, name: _BIG + 1})
    _judge_other(case, first, other, "another large number")


@check("payloads", *PAYLOAD, needs=("json",))
def payloads_are_compared_to_their_end(case: HttpCase) -> None:
    """Long payloads that differ in their last character are two payloads."""
    key = case.make.new_key()
    for length in (2_000, 70_000):
        case.begin()
        key = case.make.new_key()
        one, other = (
            case.request(key, json={**case.target.request.json, "idemproof": "x" * length + end})
            for end in "ab"
        )
        first = case.send(one)
        if first.succeeded:  # otherwise the service accepts no other names, or nothing so long
            _judge_other(case, first, other, "another long payload")


@check("payloads", *PAYLOAD, needs=("json",))
def texts_are_compared_exactly(case: HttpCase) -> None:
    """Payloads that differ in case, in spaces, in the form of a letter or in a type are two payloads."""
    for before, after in _SIMILAR:
        case.begin()
        key = case.make.new_key()
        one, other = (
            case.request(key, json={**case.target.request.json, "idemproof": value})
            for value in (before, after)
        )
        first = case.send(one)
        if first.succeeded:
            _judge_other(case, first, other, f"{after!r} instead of {before!r}")


@check("payloads", *PAYLOAD, needs=("json", "other"))
def duplicate_names_are_not_merged(case: HttpCase) -> None:
    """Payloads that differ in the first of two equal JSON names have no second effect."""
    key = case.make.new_key()
    mine = json.loads(case.request(key).body)
    theirs = json.loads(case.request(key, template=case.target.other).body)
    name = next((each for each in mine if each in theirs and mine[each] != theirs[each]), None)
    if name is None:
        return
    rest = json.dumps(mine)[1:]
    one = case.request(key, body=f"{{{json.dumps(name)}:{json.dumps(theirs[name])},{rest}".encode())
    first = case.send(one)
    if not first.succeeded:
        return
    second = case.send(case.request(key))
    case.require_once("Two payloads differ in the first of two equal names")
    if second.succeeded:
        case.note(
            f"Two payloads that differ in the first of two equal names, {name!r}, share a key. If the "
            "application "
            "reads the first one, a caller gets the answer to another payload."
        )


@check("payloads", *PAYLOAD)
def another_path_gets_no_stored_answer(case: HttpCase) -> None:
    """A key on another path is another key or is refused; it never gets the stored answer."""
    key = case.make.new_key()
    first = case.first(case.request(key))
    own = case.target.request.path.partition("?")
    path = case.target.other_path or f"{own[0].rstrip('/')}/idemproof-check"
    _judge_elsewhere(case, first, case.request(key, path=path), "on another path")


@check("payloads", *PAYLOAD, needs=("other_query",))
def another_query_gets_no_stored_answer(case: HttpCase) -> None:
    """A key with another query is another key or is refused; it never gets the stored answer."""
    key = case.make.new_key()
    first = case.first(case.request(key))
    path = f"{case.target.request.path.partition('?')[0]}?{case.target.other_query}"
    _judge_elsewhere(case, first, case.request(key, path=path), "with another query")


@check("payloads", *PAYLOAD)
def another_method_gets_no_stored_answer(case: HttpCase) -> None:
    """A key with another method is another key or is refused; it never gets the stored answer."""
    used = case.target.request.method
    method = case.target.other_method or ("PATCH" if used != "PATCH" else "POST")
    key = case.make.new_key()
    first = case.first(case.request(key))
    _judge_elsewhere(case, first, case.request(key, method=method), f"with {method}")


def _judge_other(case: HttpCase, first: Answer, other: Request, what: str) -> None:
    """Send another payload under a key; break the clause if it gets the stored answer, or runs."""
    second = case.send(other)
    if not second.succeeded:
        case.require_once(f"A key was used with {what}")
        return
    number = case.effects()
    if number is not None and number > 1:
        case.fail(
            f"A key was used with {what}, and the effect happened {number} times: a client that changes a "
            "detail "
            "in its retry repeats the effect.",
            TWICE,
        )
    case.fail(f"A key was used with {what}, and got {_whose(case, first, second)}.", WRONG)


def _whose(case: HttpCase, first: Answer, second: Answer) -> str:
    same = second.body == first.body
    return "the stored answer to the first one" if same else f"{case.outcome(second)} instead of a refusal"


def _judge_elsewhere(case: HttpCase, first: Answer, other: Request, where: str) -> None:
    """Send a key elsewhere; break the clause if it gets the stored answer of the first request."""
    second = case.send(other)
    if case.is_replay(first, second, is_counted=False):
        case.fail(f"A key was used {where}, and got the stored answer of the first request.", WRONG)


def _written_otherwise(data: dict[str, Any]) -> list[str]:
    """Return other texts of the same JSON object: spaces, another order, escaped letters."""
    backwards = dict(reversed(data.items()))
    spaced = json.dumps(data, indent=2)
    escaped = json.dumps(data, separators=(",", ":"))
    first = next(iter(data), "")
    if first and first[0].isalpha():
        escaped = escaped.replace(f'"{first}":', f'"\\u{ord(first[0]):04x}{first[1:]}":', 1)
    return [spaced, json.dumps(backwards, separators=(",", ":")), escaped]
