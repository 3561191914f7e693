"""Interrupts calls that are full of models' own code at every point in turn; prints what went wrong as JSON.

A separate program, like the other sweep. Here functions of the models are points too: their exceptions pass
through handlers that treat an exception as an answer and continue.
"""

import datetime as dt
import functools
import json
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pydantic
from interrupt_sweep import Strike, of_library

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, SQLitePersistenceLayer, idempotent_function
from idemproof.serialization import DataclassSerializer, PydanticSerializer
from idemproof.spec.record import COMPLETED


class TimeLimit(TimeoutError):  # noqa: N818 - as those of job queues
    """The error that a signal's handler raises, which often is an OSError."""


class Money(pydantic.BaseModel):
    amount: int
    currency: str

    @pydantic.field_validator("currency", mode="before")
    @classmethod
    def _read(cls, currency: str) -> str:
        return currency.upper()


class Card(pydantic.BaseModel):
    number: str
    paid_at: dt.datetime | str

    @pydantic.model_validator(mode="after")
    def _checked(self) -> "Card":
        assert self.number
        return self


class Order(pydantic.BaseModel):
    """A payload."""

    at: dt.datetime
    urgent: bool
    tags: set[str]
    price: Money

    @pydantic.field_serializer("urgent")
    def _in_words(self, urgent: bool) -> str:
        return "now" if urgent else "later"

    @pydantic.field_serializer("at")
    def _by_date(self, at: dt.datetime) -> str:
        return at.isoformat(" ")


class Receipt(pydantic.BaseModel):
    """A result."""

    # No member has its own serializer, because Pydantic tries the next member after any exception.
    what: Money | Card
    at: dt.datetime | str
    note: str = "Paid"

    @pydantic.field_serializer("note")
    def _shown(self, note: str) -> str:
        return note.lower()

    @pydantic.field_validator("note", mode="before")
    @classmethod
    def _read(cls, note: str) -> str:
        return note.capitalize()


@dataclass
class Line:
    """A part of a result with a ``__post_init__``."""

    cents: int

    def __post_init__(self) -> None:
        if not isinstance(self.cents, int):
            raise TypeError(self.cents)


@dataclass
class Bill:
    """A result that pydantic does not store."""

    what: Line | Money | dict[str, int] | None
    due: dt.date | dt.datetime | str


MOMENT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def an_order() -> Order:
    return Order(at=MOMENT, urgent=True, tags={"a", "b"}, price=Money(amount=3, currency="EUR"))


CALLS: dict[str, tuple[Callable[[], Any], Any, Any]] = {
    "a model": (
        an_order,
        PydanticSerializer(Receipt),
        Receipt(what=Money(amount=1, currency="EUR"), at=MOMENT),
    ),
    "a dataclass": (
        an_order,
        DataclassSerializer(Bill),
        Bill(Money(amount=1, currency="EUR"), MOMENT.date()),
    ),
    "plain data": (lambda: 1, None, {"ok": 1}),
}
"""Payload, serializer, result."""


class Overriding(InMemoryPersistenceLayer):
    """A layer whose public methods are overridden, so that they are called."""

    def save_inprogress(self, data: Any, remaining_time_in_millis: int | None = None) -> None:
        super().save_inprogress(data=data, remaining_time_in_millis=remaining_time_in_millis)


class InFile(SQLitePersistenceLayer):
    """A layer that checks its file, and handles a failed check."""

    def __init__(self) -> None:
        super().__init__(Path(FOLDER.name, uuid.uuid4().hex), durable=False)
        KEPT.append(self)


FOLDER = tempfile.TemporaryDirectory()
KEPT: list[InFile] = []
"""Prevents finalizers during other calls, because Python drops an interrupt in a finalizer."""


def statuses(layer: Any) -> list[str]:
    """Return the statuses of the stored records."""
    if isinstance(layer, InFile):
        return [
            row[0]
            for row in layer._retry_while_busy(lambda db: db.execute("SELECT status FROM records").fetchall())
        ]
    return [record.status for record in layer._records.values()]


class AtEvents(Strike):
    """Strikes in the library and in the models' own functions."""

    start = staticmethod(sys.setprofile)

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_return") and _counts(frame):
            self.now(frame, sys.setprofile)


def _counts(frame: FrameType) -> bool:
    code = frame.f_code
    return of_library(code) or (code.co_filename == __file__ and code.co_name.startswith("_"))


def call_once(kind: Any, payload: Any, serializer: Any, result: Any, strike: Strike) -> str | None:
    """Call once with an interrupt at one point, and again without; return the fault, if any."""
    layer = kind()
    order = payload()
    effects: list[Any] = []

    def work(data: Any) -> Any:
        effects.append(data)
        return result

    protected = idempotent_function(
        work,
        data_keyword_argument="data",
        persistence_store=layer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=30, interrupts=(TimeLimit,)),
        output_serializer=serializer,
    )
    outcome: Any = None
    try:
        strike.start(strike)
        outcome = protected(data=order)
        strike.start(None)
    except Exception as error:
        outcome = error
    finally:
        strike.start(None)
    if strike.struck is None:
        return None
    if outcome is not strike.interrupt:
        return f"the caller got {outcome!r}"
    if not effects:
        return None if protected(data=payload()) == result else "the key is not free"
    if statuses(layer) != [COMPLETED]:
        return f"the effect happened, and {statuses(layer)} stand"
    if protected(data=payload()) != result or len(effects) != 1:
        return "the repeat is not answered with the result"
    return None


def sweep(call: Callable[[Strike], str | None]) -> dict[str, Any]:
    """Strike at one point after the other until there are no more."""
    wrong, number = [], 0
    while True:
        number += 1
        strike = AtEvents(number, TimeLimit)
        what = call(strike)
        if strike.struck is None:
            return {"points": number - 1, "wrong": wrong}
        if what is not None:
            wrong.append([Path(strike.struck[0]).name, strike.struck[1], what])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = {}
    for kind, name in (
        (InMemoryPersistenceLayer, "a model"),
        (InMemoryPersistenceLayer, "a dataclass"),
        (Overriding, "a model"),
        (InFile, "plain data"),
    ):
        call = functools.partial(call_once, kind, *CALLS[name])
        call(AtEvents(sys.maxsize, TimeLimit))  # imports come first
        found[f"{kind.__name__}, {name}"] = sweep(call)
    sys.stdout.write(json.dumps(found))
