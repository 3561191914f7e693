"""Texts of records: one way to write them, every valid text is read, and none counts as an absent record."""

import json
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import pytest
import redis
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import DataRecord as OriginalRecord
from aws_lambda_powertools.utilities.idempotency.persistence.redis import (
    RedisCachePersistenceLayer as Original,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idemproof import Record, RedisCachePersistenceLayer
from idemproof.backends.redis_values import SWAP, RedisValues
from idemproof.errors import IdempotencyInvalidStatusError, IdempotencyPersistenceConsistencyError
from idemproof.spec.record import COMPLETED, INPROGRESS, same_version
from places import RedisPlace
from sides import KEY, Recording, Side

pytestmark = pytest.mark.once

FAR = 32_503_680_000
CLAIM = Record("key", INPROGRESS, FAR, FAR * 1000 - 1, None, "hash", "mine")
RESULT = Record("key", COMPLETED, FAR, None, '{"a": 1}', "hash", "mine")

RECORDS = st.builds(
    Record,
    st.just("key"),
    st.sampled_from([INPROGRESS, COMPLETED]),
    st.integers(0, 2**62),
    st.none() | st.integers(0, 2**62),
    *[st.none() | st.text(max_size=5)] * 2,
    st.none() | st.text(max_size=5),
)
many = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


IDS = ["bytes-older", "bytes", "decoded-older", "decoded"]


def never() -> None:
    raise AssertionError("the body ran")


class Older:
    """A client of a store that does not know the newer options of SET."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def execute_command(self, *words: Any, **options: Any) -> Any:
        raise redis.ResponseError("syntax error")


@pytest.fixture(params=product([False, True], [Older, lambda client: client]), ids=IDS)
def client(request: pytest.FixtureRequest, valkey_place: RedisPlace) -> Recording:
    """Return a client whose replies are bytes or text, of a store that knows newer options or does not."""
    decoded, age = request.param
    made = valkey_place.open(redis.Redis, decode_responses=decoded)
    made.script_load(SWAP)
    return Recording(age(made))


@pytest.fixture
def values() -> RedisValues:
    return RedisCachePersistenceLayer(client=Kept())._values  # type: ignore[no-any-return]


def put_behind(client: Recording, text: str | bytes) -> None:
    client.client.set("key", text)
    client.asked.clear()


# Writing.


class Kept:
    """A client that keeps the last text."""

    text = b""

    def execute_command(self, *words: Any) -> None: ...

    eval = evalsha = execute_command

    def set(self, name: str, value: str, **options: Any) -> bool:
        self.text = value.encode()
        return True

    def get(self, name: str) -> bytes:
        return self.text


def original_record(status: str, lease: int | None = None, **more: str) -> OriginalRecord:
    return OriginalRecord(
        idempotency_key="key",
        status=status,
        expiry_timestamp=FAR,
        in_progress_expiry_timestamp=lease,
        **more,
    )


originals = pytest.mark.filterwarnings("ignore:RedisCachePersistenceLayer will be removed")


@originals
@pytest.mark.parametrize("lease", [None, FAR * 1000])
@pytest.mark.parametrize("payload_hash", ["", "hash"])
def test_a_claims_text_is_the_originals(values: RedisValues, lease: int | None, payload_hash: str) -> None:
    kept = Kept()
    original = Original(client=kept)
    original.payload_validation_enabled = bool(payload_hash)
    original._put_record(original_record(INPROGRESS, lease, payload_hash=payload_hash))
    ours = Record("key", INPROGRESS, FAR, lease, None, payload_hash or None)
    assert values.encode(ours) == kept.text
    assert values.decode("key", kept.text) == ours


@originals
def test_a_results_text_is_the_originals(values: RedisValues) -> None:
    kept = Kept()
    Original(client=kept)._update_record(original_record(COMPLETED, response_data='{"é": 1}'))
    ours = Record("key", COMPLETED, FAR, None, '{"é": 1}')
    assert values.encode(ours) == kept.text
    assert values.decode("key", kept.text) == ours
    owned = ours._replace(owner="mine", payload_hash="hash")
    assert list(json.loads(values.encode(owned))) == ["data", "status", "expiration", "validation", "owner"]


@many
@given(record=RECORDS)
def test_a_text_is_json_and_read_as_what_was_written(values: RedisValues, record: Record) -> None:
    text = values.encode(record)
    assert text == json.dumps(json.loads(text)).encode()
    assert values.decode("key", text) == values.decode("key", text.decode()) == record
    assert values.encode(values.decode("key", text)) == text


def test_nothing_is_written_as_null(values: RedisValues) -> None:
    assert json.loads(values.encode(Record("key", COMPLETED, FAR))) == {
        "status": COMPLETED,
        "expiration": FAR,
    }


def test_names_are_quoted_too(valkey_client: redis.Redis, valkey_place: RedisPlace, side: Side) -> None:
    names = {
        "data_attr": 'da"ta',
        "status_attr": "stä\\tus",
        "expiry_attr": "\n",
        "in_progress_expiry_attr": "lease: 1, ",
        "validation_key_attr": "}",
        "owner_attr": "{",
    }
    layer = side.redis(valkey_client, **names)
    record = CLAIM._replace(response_data='"')
    assert side.swap(layer, "key", None, record) == record
    assert side.load(layer, "key") == record
    assert json.loads(valkey_client.get("key")) == {
        'da"ta': '"',
        "stä\\tus": INPROGRESS,
        "\n": FAR,
        "lease: 1, ": FAR * 1000 - 1,
        "}": "hash",
        "{": "mine",
    }
    assert side.swap(layer, "key", record, RESULT) == RESULT


# Replacing what other software wrote.


def spellings(record: Record) -> st.SearchStrategy[str]:
    """Draw texts that mean ``record``."""
    known = {
        "status": record.status,
        "expiration": record.expiry_timestamp,
        "in_progress_expiration": record.in_progress_expiry_timestamp,
        "data": record.response_data,
        "validation": record.payload_hash,
        "owner": record.owner,
    }

    def spell(order: list[str], nulls: bool, floats: bool, extra: Any, **layout: Any) -> str:
        fields = {name: known[name] for name in order if nulls or known[name] is not None}
        if floats:
            exact = {name: float(value) for name, value in fields.items() if isinstance(value, int)}
            fields |= {name: value for name, value in exact.items() if value == known[name]}
        return json.dumps(fields | extra, **layout)

    return st.builds(
        spell,
        st.permutations(list(known)),
        st.booleans(),
        st.booleans(),
        st.sampled_from([{}, {"somebody's own": [1, {"a": None}]}]),
        indent=st.sampled_from([None, 0, 4]),
        separators=st.sampled_from([(",", ":"), (" , ", " :  ")]),
        ensure_ascii=st.booleans(),
    )


@many
@given(data=st.data(), current=RECORDS, new=st.none() | RECORDS)
def test_a_record_in_any_spelling_is_replaced_in_two_scripts_at_most(
    client: Recording, side: Side, data: st.DataObject, current: Record, new: Record | None
) -> None:
    layer = side.redis(client)
    put_behind(client, data.draw(spellings(current)))
    assert side.swap(layer, "key", current, new) == new
    assert client.methods.count("evalsha") <= 2
    assert len(client.asked) <= 3  # before them, the option that compares texts
    assert side.load(layer, "key") == new


@many
@given(data=st.data(), current=RECORDS, expected=RECORDS, new=st.none() | RECORDS)
def test_a_record_in_any_spelling_is_kept_if_another_was_expected(
    client: Recording, side: Side, data: st.DataObject, current: Record, expected: Record, new: Record | None
) -> None:
    layer = side.redis(client)
    text = data.draw(spellings(current))
    put_behind(client, text)
    found = side.swap(layer, "key", expected, new)
    if same_version(current, expected):
        assert found == new
    else:
        assert found == current
        assert client.methods.count("evalsha") == 1
        assert client.client.get("key") in (text, text.encode())


class Rewriting(Recording):
    """A client where other software rewrites the record before each request."""

    texts: list[str]

    def __getattr__(self, name: str) -> Any:
        if name != "get" and self.texts:
            self.client.set("key", self.texts.pop())
        return super().__getattr__(name)


@pytest.mark.parametrize("times", [24, 2])
def test_a_record_that_is_rewritten_again_and_again_ends_the_request(
    client: Recording, side: Side, times: int
) -> None:
    fields = {
        "status": INPROGRESS,
        "expiration": FAR,
        "in_progress_expiration": FAR * 1000 - 1,
        "owner": "mine",
    }
    rewriting = Rewriting(client.client)
    rewriting.texts = []
    layer = side.redis(rewriting)
    rewriting.texts = [json.dumps(dict(order)) for order in permutations(fields.items())][:times]
    if times == 2:
        assert side.swap(layer, "key", CLAIM, RESULT) == RESULT
    else:
        with pytest.raises(IdempotencyPersistenceConsistencyError, match="'key'"):
            side.swap(layer, "key", CLAIM, RESULT)
        assert len(rewriting.asked) <= 4


def test_large_integers_keep_their_digits(client: Recording, side: Side) -> None:
    layer = side.redis(client)
    record = Record("key", INPROGRESS, 2**60 + 1, 2**63 - 1, owner="mine")
    assert side.swap(layer, "key", None, record) == record
    near = record._replace(in_progress_expiry_timestamp=2**63 - 2)
    assert side.swap(layer, "key", near, None) == record
    put_behind(client, json.dumps(json.loads(client.client.get("key")), indent=1))
    assert side.swap(layer, "key", near, None) == record
    moved = record._replace(expiry_timestamp=2**60 + 3, response_data=f"[{2**80 + 1}]")
    assert side.swap(layer, "key", record, moved) == moved
    assert side.load(layer, "key") == moved


# Corrupt values.

GOOD = {"status": COMPLETED, "expiration": FAR}
CORRUPT: dict[str, Callable[[Any], Any]] = {
    **{
        repr(text): lambda client, text=text: client.set(KEY, text)
        for text in (
            b"",
            b" ",
            b"42",
            b"0",
            b"1",
            b"null",
            b"true",
            b'"text"',
            b"[]",
            b'[["status", "COMPLETED"]]',
            b"{",
            b"{}",
            b"\xff",
            b'{"status": "\xff"}',
            b"\xff\xfe{\x00}\x00",
            b"\x80\x04N.",
            json.dumps(GOOD)[:-1].encode(),
            (json.dumps(GOOD) * 2).encode(),
        )
    },
    **{
        f"{name} {value!r}": lambda client, name=name, value=value: client.set(
            KEY, json.dumps(GOOD | {name: value})
        )
        for name, values in {
            "status": ["PAUSED", "EXPIRED", "", None, 1, [], {}],
            "expiration": [None, 1.5, str(FAR), "", True, [], float("nan"), float("inf")],
            "in_progress_expiration": [1.5, "1", False, {}, float("-inf")],
            "data": [1, 0, False, {}, [], 1.5],
            "validation": [1, []],
            "owner": [0, {"a": 1}],
        }.items()
        for value in values
    },
    "deep": lambda client: client.set(KEY, "[" * 100_000),
    "many digits": lambda client: client.set(KEY, '{"expiration": ' + "1" * 10_000 + "}"),
    "a list": lambda client: client.rpush(KEY, "a"),
    "a hash": lambda client: client.hset(KEY, "status", COMPLETED),
    "a set": lambda client: client.sadd(KEY, "a"),
}


@pytest.mark.clause("REC-7")
@pytest.mark.parametrize("corrupt", CORRUPT)
def test_a_corrupt_value_is_an_error_and_never_counts_as_absent(
    client: Recording, side: Side, corrupt: str
) -> None:
    CORRUPT[corrupt](client.client)
    before = client.client.dump(KEY)
    layer = side.redis(client)
    with pytest.raises(IdempotencyInvalidStatusError, match=KEY):
        side.function(layer, never)()
    current = RESULT._replace(idempotency_key=KEY)
    for expected, new in ((None, None), (current, None), (current, current)):
        try:
            found = side.swap(layer, KEY, expected, new)
        except IdempotencyInvalidStatusError:
            pass
        else:  # it is the specification that judges fields
            assert found not in (None, new)
    assert client.client.dump(KEY) == before
