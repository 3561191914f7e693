"""Payloads of all kinds at the decorators: the key of a call, and payloads without a key."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

import protection
from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent
from idemproof.backends.warning import IdempotencyWarning
from idemproof.errors import IdempotencyKeyError, IdempotencyValidationError
from protection import Counter, Protection


@dataclass
class Charge:
    id: str
    note: str = ""


class ChargeModel(pydantic.BaseModel):
    id: str
    note: str = ""


def of_event(id: str, note: str = "") -> SimpleNamespace:  # noqa: A002 - a field's name
    return SimpleNamespace(raw_event={"id": id, "note": note})


@pytest.mark.parametrize("make", [Charge, ChargeModel, of_event, lambda **fields: fields])
def test_payloads_of_all_kinds_are_searched_and_compared(
    protect: Protection, make: Callable[..., Any]
) -> None:
    function = Counter("paid")
    pay = protect(function, event_key_jmespath="id", payload_validation_jmespath="note")
    assert pay(make(id="a", note="x")) == pay(make(id="a", note="x")) == "paid"
    with pytest.raises(IdempotencyValidationError):
        pay(make(id="a", note="other"))
    assert function.runs == 1
    pay(make(id="b", note="other"))
    assert function.runs == 2


def test_without_a_key_a_call_runs_unprotected_with_a_warning(
    protect: Protection, layer: InMemoryPersistenceLayer
) -> None:
    function = Counter((1,))
    pay = protect(function, event_key_jmespath="id")
    caller = protection.__file__ if protect.asynchronous else __file__
    for number in (1, 2):
        with pytest.warns(IdempotencyWarning, match="runs without idempotency") as caught:
            assert pay({"other": 1}) == (1,)
        assert function.runs == number
        assert [warning.filename for warning in caught] == [caller]
    assert len(layer) == 0


@pytest.mark.parametrize(
    ("settings", "payload"),
    [
        ({"event_key_jmespath": "id", "raise_on_no_idempotency_key": True}, {"other": 1}),
        ({"event_key_jmespath": "powertools_json(body).id"}, {"body": "{not json"}),
        ({"payload_validation_jmespath": "powertools_json(body)"}, {"body": "{not json"}),
        ({}, {1: "a", "b": 2}),
        ({}, {"a": object()}),
    ],
)
def test_what_makes_no_key_is_a_key_error_and_nothing_runs(
    protect: Protection, layer: InMemoryPersistenceLayer, settings: dict[str, Any], payload: Any
) -> None:
    function = Counter("paid")
    with pytest.raises(IdempotencyKeyError):
        protect(function, **settings)(payload)
    assert (function.runs, len(layer)) == (0, 0)


def test_handlers_answer_repeats_of_an_event(layer: InMemoryPersistenceLayer) -> None:
    function = Counter({"statusCode": 200})

    @idempotent(
        persistence_store=layer, config=IdempotencyConfig(event_key_jmespath="powertools_json(body).id")
    )
    def handler(event: dict[str, Any], context: Any) -> Any:
        return function(event)

    for body in ('{"id": 1}', '{"id": 1, "retry": true}'):
        assert handler({"body": body}, None) == {"statusCode": 200}
    assert function.runs == 1
