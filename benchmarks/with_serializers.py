"""Measure the in-process cost of a serializer for results that are dataclasses or Pydantic models."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from aws_lambda_powertools.utilities.idempotency.serialization.dataclass import (
    DataclassSerializer as OriginalDataclassSerializer,
)
from aws_lambda_powertools.utilities.idempotency.serialization.pydantic import (
    PydanticSerializer as OriginalPydanticSerializer,
)
from libraries import IDEMPROOF, POWERTOOLS, Context, InDictionary, powertools
from measuring import FIRST, REPLAY, Contestant, Scenario, Size, Step, by_steps, in_turn
from payloads import ORDER, Payload
from pydantic import BaseModel, field_validator
from stores import Places

import idemproof
from idemproof.serialization import DataclassSerializer, PydanticSerializer


@dataclass
class Line:
    """A line of a receipt."""

    sku: str
    quantity: int
    price: int


@dataclass
class Receipt:
    """A receipt whose types are all known."""

    order_id: str
    lines: list[Line]
    paid: bool
    note: str | None = None


class LineModel(BaseModel):
    """A line of a receipt."""

    sku: str
    quantity: int
    price: int


class ReceiptModel(BaseModel):
    """A receipt whose types are all known."""

    order_id: str
    total: Decimal
    day: date
    lines: list[LineModel]
    paid: bool
    note: str | None = None


class ComparedModel(ReceiptModel):
    """A receipt that has to be rebuilt and compared, because it has a validator."""

    @field_validator("note")
    @classmethod
    def stripped(cls, note: str | None) -> str | None:
        """Return the note without the space around it."""
        return note and note.strip()


def _receipt(order: Payload) -> Receipt:
    lines = [Line(**line) for line in order["items"]]
    return Receipt(order["order_id"], lines, paid=True)


def _model(kind: type[ReceiptModel]) -> Callable[[Payload], ReceiptModel]:
    def make(order: Payload) -> ReceiptModel:
        lines = [LineModel(**line) for line in order["items"]]
        day = date(2024, 2, 29)
        return kind(order_id=order["order_id"], total=Decimal("28.00"), day=day, lines=lines, paid=True)

    return make


def _contestant(
    name: str, library: Any, layer: Any, make: Callable[[Payload], Any], serializer: Any, *, original: bool
) -> Contestant:
    runs: list[Any] = []

    def work(payload: Payload) -> Any:
        runs.append(None)
        return make(payload)

    protected = library.idempotent_function(
        work,
        data_keyword_argument="payload",
        persistence_store=layer,
        config=library.IdempotencyConfig(lambda_context=Context()),
        output_serializer=serializer,
    )

    # Powertools leaves nested dataclasses as dicts, so only that is expected of it.
    right = None if original else make
    steps = [
        Step(FIRST, in_turn(protected), make, runs=True),
        Step(REPLAY, in_turn(protected), right, runs=False),
    ]
    return by_steps(name, steps, runs)


def _scenario(how: str, make: Callable[[Payload], Any], ours: Any, theirs: Any) -> Scenario:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:  # noqa: ARG001 - others need it
        layer = idemproof.InMemoryPersistenceLayer()
        return [
            _contestant(IDEMPROOF, idemproof, layer, make, ours, original=False),
            _contestant(POWERTOOLS, powertools, InDictionary(), make, theirs, original=True),
        ]

    return Scenario(f"memory, {how}", enter, POWERTOOLS, Size(25, 300), kind=ORDER, anew=True)


SCENARIOS = [
    _scenario("dataclass", _receipt, DataclassSerializer(Receipt), OriginalDataclassSerializer(Receipt)),
    _scenario(
        "Pydantic model",
        _model(ReceiptModel),
        PydanticSerializer(ReceiptModel),
        OriginalPydanticSerializer(ReceiptModel),
    ),
    _scenario(
        "Pydantic model that is compared",
        _model(ComparedModel),
        PydanticSerializer(ComparedModel),
        OriginalPydanticSerializer(ComparedModel),
    ),
]
