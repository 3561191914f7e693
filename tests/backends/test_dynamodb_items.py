"""Items that other software has written or damaged give the right answer, and the body never runs."""

from typing import Any

import pytest

from idemproof import Record
from idemproof.errors import IdempotencyInvalidStatusError
from idemproof.spec.record import COMPLETED, INPROGRESS
from places import Table
from sides import KEY, Side

pytestmark = pytest.mark.once

FAR = 32_503_680_000

RESULT = {"status": {"S": COMPLETED}, "expiration": {"N": str(FAR)}, "data": {"S": '"stored"'}}
CLAIM = {
    "status": {"S": INPROGRESS},
    "expiration": {"N": str(FAR)},
    "in_progress_expiration": {"N": "1000"},
    "owner": {"S": "gone"},
}
NULL = {"NULL": True}


def never() -> None:
    raise AssertionError("the body ran")


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("status", None),
        ("status", NULL),
        ("status", {"S": "PAUSED"}),
        ("status", {"S": "EXPIRED"}),
        ("status", {"S": "completed"}),
        ("status", {"N": "1"}),
        ("status", {"L": []}),
        ("status", {"M": {}}),
        ("expiration", None),
        ("expiration", NULL),
        ("expiration", {"N": "1.5"}),
        ("expiration", {"S": str(FAR)}),
        ("expiration", {"B": b"1"}),
        ("expiration", {"BOOL": True}),
        ("expiration", {"NS": ["1"]}),
        ("in_progress_expiration", {"N": "1000.5"}),
        ("in_progress_expiration", {"N": "-0.001"}),
        ("in_progress_expiration", {"S": "1000"}),
        ("in_progress_expiration", {"S": ""}),
        ("in_progress_expiration", {"B": b"1000"}),
        ("in_progress_expiration", {"BOOL": False}),
        ("data", {"N": "1"}),
        ("data", {"B": b"1"}),
        ("data", {"BOOL": False}),
        ("data", {"M": {"a": {"N": "1"}}}),
        ("data", {"L": []}),
        ("validation", {"N": "1"}),
        ("validation", {"SS": ["hash"]}),
        ("owner", {"N": "0"}),
        ("owner", {"B": b"mine"}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("current", [RESULT, CLAIM], ids=["result", "claim"])
def test_a_corrupt_item_is_an_error_and_stays_unchanged(
    moto_table: Table, side: Side, current: dict[str, Any], attribute: str, value: Any
) -> None:
    broken = {name: old for name, old in current.items() if name != attribute}
    moto_table.write(KEY, broken if value is None else broken | {attribute: value})
    before = moto_table.item(KEY)
    with pytest.raises(IdempotencyInvalidStatusError, match=KEY):
        side.function(side.dynamodb(moto_table.client), never)()
    assert moto_table.item(KEY) == before


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("in_progress_expiration", NULL),
        ("in_progress_expiration", {"N": "1"}),  # the original leaves it there
        ("validation", NULL),
        ("owner", NULL),
        ("owner", {"S": ""}),
        ("expiration", {"N": f"{FAR}.0"}),
        ("expiration", {"N": "3E10"}),
        ("somebody's own", {"BOOL": True}),
    ],
    ids=repr,
)
def test_an_item_in_another_spelling_is_replayed(
    table: Table, side: Side, attribute: str, value: dict[str, Any]
) -> None:
    table.write(KEY, RESULT | {attribute: value})
    assert side.function(side.dynamodb(table.client, table.name), never)() == "stored"


@pytest.mark.parametrize("data", [None, NULL], ids=["absent", "NULL"])
def test_a_result_without_data_is_replayed_as_none(table: Table, side: Side, data: Any) -> None:
    table.write(KEY, {name: value for name, value in RESULT.items() if name != "data"})
    if data is not None:
        table.write(KEY, RESULT | {"data": data})
    assert side.function(side.dynamodb(table.client, table.name), never)() is None


@pytest.mark.parametrize("lease", [None, NULL, {"N": "1000"}, {"N": "1E3"}, {"N": "1000.0"}], ids=repr)
@pytest.mark.parametrize("owner", [None, NULL, {"S": ""}, {"S": "gone"}], ids=repr)
@pytest.mark.parametrize("new", ["replaced", "deleted"])
def test_what_is_over_is_replaced_however_it_spells_absence_and_numbers(
    table: Table, side: Side, lease: Any, owner: Any, new: str
) -> None:
    item = {"status": {"S": INPROGRESS}, "expiration": {"N": "1.0"}}
    more = {"in_progress_expiration": lease, "owner": owner}
    table.write(KEY, item | {name: value for name, value in more.items() if value is not None})
    layer = side.dynamodb(table.client, table.name)
    current = side.load(layer, KEY)
    claim = Record(KEY, INPROGRESS, FAR, owner="mine") if new == "replaced" else None
    assert side.swap(layer, KEY, current, claim) == claim
    assert side.load(layer, KEY) == claim
