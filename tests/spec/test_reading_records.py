"""A stored record is well-formed, or an error says why it is corrupt."""

from decimal import Decimal
from typing import Any

import pytest

from idemproof.errors import IdempotencyInvalidStatusError
from idemproof.spec.record import COMPLETED, Record, checked, same_record, same_version

pytestmark = pytest.mark.once

GOOD = Record("key", COMPLETED, 60, 5_000, "{}", "hash", "owner")


@pytest.mark.clause("REC-1", "REC-3")
@pytest.mark.parametrize("kind", [int, float, Decimal])
def test_whole_numbers_of_any_kind_are_read_as_integers(kind: Any) -> None:
    read = checked(GOOD._replace(expiry_timestamp=kind(60), in_progress_expiry_timestamp=kind(5_000)), "key")
    assert read == GOOD
    assert type(read.expiry_timestamp) is type(read.in_progress_expiry_timestamp) is int


@pytest.mark.clause("REC-7")
@pytest.mark.parametrize(
    ("field", "value", "reported"),
    [
        ("status", "PAUSED", "its status is 'PAUSED'"),
        ("expiry_timestamp", None, "the expiry is None, not a whole number"),
        ("expiry_timestamp", 1.5, "the expiry is 1.5, not a whole number"),
        ("expiry_timestamp", "60", "the expiry is '60', not a whole number"),
        ("in_progress_expiry_timestamp", True, "the lease is True, not a whole number"),
        ("in_progress_expiry_timestamp", Decimal("0.5"), "the lease is"),
        ("response_data", 5, "the response is of type int, not text"),
        ("payload_hash", b"hash", "the payload hash is of type bytes, not text"),
        ("owner", ["owner"], "the owner is of type list, not text"),
    ],
)
def test_what_is_wrong_is_named_with_the_key(field: str, value: Any, reported: str) -> None:
    with pytest.raises(IdempotencyInvalidStatusError) as raised:
        checked(GOOD._replace(**{field: value}), "key")
    assert reported in str(raised.value)
    assert "'key'" in str(raised.value)


def test_the_same_record_is_the_same_in_every_field() -> None:
    assert same_record(GOOD._replace(), GOOD)
    assert not same_record(GOOD, GOOD._replace(response_data="[]"))
    assert not same_record(None, GOOD)


@pytest.mark.clause("REC-4")
def test_an_owner_of_empty_text_is_no_owner_in_a_version() -> None:
    nobody, empty = GOOD._replace(owner=None), GOOD._replace(owner="")
    assert same_version(nobody, empty)
    assert same_version(empty, nobody)
    assert not same_version(GOOD, empty)
    assert not same_version(nobody, GOOD)
