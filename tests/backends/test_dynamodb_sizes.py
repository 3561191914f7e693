"""Results over DynamoDB's 400 KB: the effect happens once, and every caller gets the right answer."""

from typing import Any

import pytest

from idemproof import Record
from idemproof.backends.dynamodb_requests import LARGEST_ITEM
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
    IdempotencyResultUnavailableError,
)
from idemproof.spec.record import COMPLETED, RESULT_UNAVAILABLE, same_version
from places import SORT_KEY, Table
from sides import KEY, Recording, Side

pytestmark = pytest.mark.once

FAR = 32_503_680_000
MOTOS_LARGEST_ITEM = 405_000
"""DynamoDB takes a little more."""


@pytest.fixture(params=["table", "moto_table"])
def any_table(request: pytest.FixtureRequest) -> Table:
    return request.getfixturevalue(request.param)


def result(text: str) -> Record:
    return Record("key", COMPLETED, FAR, None, text)


@pytest.mark.parametrize(
    ("text", "requests"),
    [("x" * (LARGEST_ITEM + 1), 0), ("x" * (LARGEST_ITEM - 10), 1), ("é" * (LARGEST_ITEM // 2), 1)],
    ids=["too many characters", "too much with the other attributes", "too many bytes"],
)
@pytest.mark.parametrize("current", [None, result("small")], ids=["first", "replacing"])
def test_a_record_that_is_too_large_is_refused_by_name(
    any_table: Table, side: Side, text: str, requests: int, current: Record | None
) -> None:
    client = Recording(any_table.client)
    layer = side.dynamodb(client, any_table.name)
    if current is not None:
        side.swap(layer, "key", None, current)
    client.asked.clear()
    with pytest.raises(IdempotencyRecordTooLargeError, match="'key'"):
        side.swap(layer, "key", current, result(text))
    assert len(client.asked) == requests
    assert side.load(layer, "key") == current


def test_a_record_just_below_the_limit_is_kept_whole(table: Table, side: Side) -> None:
    layer = side.dynamodb(table.client, table.name)
    record = result("x" * (MOTOS_LARGEST_ITEM - 400))
    assert side.swap(layer, "key", None, record) == record
    assert side.load(layer, "key") == record


@pytest.mark.parametrize(
    ("place", "length"),
    [
        ("table", LARGEST_ITEM),
        ("dynalite_table", LARGEST_ITEM - 20),  # moto does not count what an update adds
        ("moto_table", LARGEST_ITEM),
    ],
    ids=["here", "at the server", "here beside moto"],
)
def test_a_result_that_is_too_large_is_given_once_and_its_effect_never_repeated(
    request: pytest.FixtureRequest, side: Side, place: str, length: int
) -> None:
    any_table: Table = request.getfixturevalue(place)
    runs = []

    def body() -> str:
        runs.append("ran")
        return "x" * length

    call = side.function(side.dynamodb(any_table.client, any_table.name), body)
    with pytest.raises(IdempotencyPersistenceLayerError, match="too large") as first:
        call()
    assert first.value.result == "x" * length
    assert isinstance(first.value.__cause__, IdempotencyRecordTooLargeError)
    for _ in range(3):
        with pytest.raises(IdempotencyResultUnavailableError):
            call()
    assert runs == ["ran"]
    item: Any = any_table.item(KEY)
    assert (item["status"], item["data"]) == ({"S": COMPLETED}, {"S": RESULT_UNAVAILABLE})


@pytest.mark.parametrize("key", ["", "x" * 2049], ids=["empty", "too long"])
def test_a_key_that_dynamodb_refuses_is_an_error_before_anything_runs(
    table: Table, side: Side, key: str
) -> None:
    layer = side.dynamodb(table.client, table.name)
    with pytest.raises(IdempotencyPersistenceConfigError, match=r"key"):
        side.swap(layer, key, None, result("{}")._replace(idempotency_key=key))
    with pytest.raises(IdempotencyPersistenceConfigError, match=r"key"):
        side.load(layer, key)


@pytest.mark.parametrize("key", ["x" * 2048, "é" * 1024, "\0"], ids=["bytes", "characters", "NUL"])
def test_the_longest_and_the_oddest_keys_work(table: Table, side: Side, key: str) -> None:
    layer = side.dynamodb(table.client, table.name)
    record = result("{}")._replace(idempotency_key=key)
    assert side.swap(layer, key, None, record) == record
    assert side.load(layer, key) == record


@pytest.mark.parametrize("composite", [False, True], ids=["simple", "composite"])
@pytest.mark.parametrize("sign", ["x", "\N{EURO SIGN}"], ids=["ascii", "three bytes"])
def test_a_key_that_is_too_long_is_refused_before_anything_is_sent(
    table: Table, partition: Table, side: Side, composite: bool, sign: str
) -> None:
    client = Recording(table.client)
    options = {"sort_key_attr": SORT_KEY, "static_pk_value": partition.partition} if composite else {}
    layer = side.dynamodb(client, partition.name if composite else table.name, **options)
    most = 1024 if composite else 2048
    longest = sign * (most // len(sign.encode()))
    record = result("small")._replace(idempotency_key=longest)
    assert side.swap(layer, longest, None, record) == record
    found = side.load(layer, longest)
    assert found is not None
    assert same_version(found, record)
    client.asked.clear()
    with pytest.raises(
        IdempotencyPersistenceConfigError, match=f"bytes, but a key in .* may have at most {most}"
    ):
        side.load(layer, longest + sign)
    with pytest.raises(IdempotencyPersistenceConfigError, match="Nothing was sent"):
        side.swap(layer, longest + sign, None, record)
    assert client.asked == []
