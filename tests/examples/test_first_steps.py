"""The first steps, taken: each example does its work once, and repeats get the same answer."""

import uuid
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest

Load = Callable[[str], ModuleType]
Event = Callable[[str], Any]

pytestmark = pytest.mark.usefixtures("aws", "clock")


def test_an_event_delivered_twice_sells_one_seat(load: Load, event: Event, context: object) -> None:
    example = load("first_steps/getting_started.py")
    delivered = event("first_steps/getting_started.json")
    first = example.handler(delivered, context)
    assert example.handler(delivered, context) == first
    assert first["seat"] == "F7"
    assert example.sold == ["F7"]


def test_any_other_event_is_another_sale(load: Load, event: Event, context: object) -> None:
    example = load("first_steps/getting_started.py")
    delivered = event("first_steps/getting_started.json")
    first = example.handler(delivered, context)
    other = example.handler(delivered | {"customer": "noor@example.com"}, context)
    assert other["ticket"] != first["ticket"]
    assert example.sold == ["F7", "F7"]


def test_a_parcel_that_is_listed_twice_gets_one_label(load: Load, event: Event, context: object) -> None:
    example = load("first_steps/dataclass_argument.py")
    first, other, again = example.handler(event("first_steps/dataclass_argument.json"), context)["labels"]
    assert again == first
    assert other["label"] != first["label"]
    assert example.printed == ["PX-1001", "PX-1002"]


def test_a_dataclass_names_its_operation_by_the_selected_field(
    load: Load, event: Event, context: object
) -> None:
    example = load("first_steps/dataclass_argument.py")
    parcel = example.Parcel(**event("first_steps/dataclass_argument.json")["parcels"][0])
    example.config.register_lambda_context(context)
    first = example.print_label(parcel=parcel)
    assert example.print_label(parcel=example.Parcel(parcel.number, "A. Okafor, 3rd floor", 751)) == first
    assert example.printed == ["PX-1001"]


def test_a_month_is_billed_once_whatever_the_note(load: Load, event: Event, context: object) -> None:
    example = load("first_steps/pydantic_argument.py")
    bill = event("first_steps/pydantic_argument.json")
    first = example.handler(bill, context)
    assert example.handler(bill | {"note": "sent by hand"}, context) == first
    assert example.handler(bill | {"month": "2025-07"}, context) != first
    assert example.charged == [Decimal("12.90"), Decimal("12.90")]


@pytest.mark.parametrize("how", ["deduced", "explicit"])
def test_a_repeat_gets_a_pydantic_model(how: str, load: Load, event: Event, context: object) -> None:
    example = load(f"first_steps/pydantic_{how}_output.py")
    wanted = event(f"first_steps/pydantic_{how}_output.json")
    answer = example.handler(wanted, context)
    assert answer["amount"] == "250.00"
    assert example.handler(wanted, context) == answer
    receipt = example.transfer(wanted=example.Transfer.model_validate(wanted))
    assert receipt == example.Receipt(number=answer["receipt"], amount=Decimal("250.00"))
    assert example.moved == [Decimal("250.00")]


@pytest.mark.parametrize("how", ["deduced", "explicit"])
def test_a_repeat_gets_a_dataclass(how: str, load: Load, event: Event, context: object) -> None:
    example = load(f"first_steps/dataclass_{how}_output.py")
    wish = event(f"first_steps/dataclass_{how}_output.json")
    answer = example.handler(wish, context)
    assert answer["doors"] == "20:15"
    assert example.handler(wish, context) == answer
    begins = datetime.fromisoformat(wish["begins"])
    ticket = example.sell(wish=example.Wish(wish["order"], begins, wish["seats"]))
    assert ticket == example.Ticket(answer["ticket"], begins, ["F7", "F8"])
    assert example.sold == ["F7", "F8"]


def test_a_repeat_gets_an_object_of_ones_own_class(load: Load, event: Event, context: object) -> None:
    example = load("first_steps/custom_output.py")
    parcel = event("first_steps/custom_output.json")
    answer = example.handler(parcel, context)
    assert example.handler(parcel, context) == answer
    label = example.print_label(parcel=parcel)
    assert isinstance(label, example.Label)
    assert isinstance(label.tracking, uuid.UUID)
    assert label.lines == ("S. Lindqvist", "Uppsala")
    assert label.text() == answer["label"]
    assert example.printed == ["PX-2040"]
