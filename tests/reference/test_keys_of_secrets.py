"""With a hash secret, secrets at any place distinguish keys, and no path leads into them."""

import collections
import datetime as dt
import enum
from dataclasses import dataclass
from typing import Any, NamedTuple

import pydantic
import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Secret,
    SecretBytes,
    SecretStr,
)

from derived_keys import (
    assert_distinguished,
    assert_same,
    refusal,
)


@dataclass
class Paid:
    card: Any


class Holder(BaseModel):
    card: SecretStr


class Frozen(Holder):
    model_config = ConfigDict(frozen=True)


class Cards(enum.Enum):
    ONE = SecretStr("4929")
    TWO = SecretStr("5404")


class Pair(NamedTuple):
    card: SecretStr
    n: int = 1


ONE, TWO = SecretStr("4929"), SecretStr("5404")
PLACES: list[tuple[Any, Any, Any]] = [
    (SecretBytes, SecretBytes(b"\xff"), SecretBytes(b"\xfe")),
    (SecretStr | SecretBytes, ONE, SecretBytes(b"4929")),
    (SecretStr | int, ONE, 4929),
    (SecretStr, ONE, SecretStr("**********")),
    (Secret[bytes], Secret[bytes](b"1"), Secret[bytes](b"2")),
    (Secret[set[int]], Secret[set[int]]({1}), Secret[set[int]]({2})),
    (Secret[dt.date], Secret[dt.date](dt.date(2026, 1, 1)), Secret[dt.date](dt.date(2026, 1, 2))),
    (Secret[Holder], Secret[Holder](Holder(card=ONE)), Secret[Holder](Holder(card=TWO))),
    (set[SecretStr], {ONE, SecretStr("1")}, {TWO, SecretStr("1")}),
    (frozenset[SecretBytes], frozenset({SecretBytes(b"1")}), frozenset({SecretBytes(b"2")})),
    (set[Frozen], {Frozen(card=ONE)}, {Frozen(card=TWO)}),
    (list[set[SecretStr]], [{ONE}], [{TWO}]),
    (dict[SecretStr, int], {ONE: 1, TWO: 2}, {ONE: 2, TWO: 1}),
    (dict[SecretStr, SecretStr], {ONE: TWO}, {TWO: ONE}),
    (collections.deque[SecretStr], collections.deque([ONE]), collections.deque([TWO])),
    (Holder | int, Holder(card=ONE), Holder(card=TWO)),
    (list[Holder], [Holder(card=ONE)], [Holder(card=TWO)]),
    (Any, Paid(ONE), Paid(TWO)),
    (Any, {ONE}, {TWO}),
    (Pair, Pair(ONE), Pair(TWO)),
    (Cards, Cards.ONE, Cards.TWO),
]


@pytest.mark.clause("KEY-2", "KEY-12")
@pytest.mark.parametrize(("annotation", "one", "other"), PLACES, ids=[str(each[0]) for each in PLACES])
def test_with_a_hash_secret_secrets_are_distinguished_in_every_place(
    annotation: Any, one: Any, other: Any
) -> None:
    booking = pydantic.create_model("Booking", room=(int, 7), card=(annotation, ...))
    first, second = booking(card=one), booking(card=other)
    for key, check in (("", ""), ("[card]", ""), ("room", "card"), ("room", "@")):
        assert_distinguished(first, second, key, check, hash_secret="pepper")
        assert_same(first, booking(card=one), key, check, hash_secret="pepper")
    assert_distinguished([first], [second], hash_secret="pepper")
    if one != 4929:
        assert "4929" not in refusal(first)
        assert "hash_secret" in refusal(first)


@pytest.mark.clause("KEY-2", "KEY-12")
def test_with_a_hash_secret_no_secret_is_reported_from_one() -> None:
    booking = pydantic.create_model("Booking", card=(SecretStr | None, ...), room=(int, 7))
    assert_distinguished(booking(card=ONE), booking(card=None), hash_secret="pepper")
    assert_distinguished(booking(card=SecretStr("")), booking(card=None), hash_secret="pepper")


@pytest.mark.clause("KEY-2", "KEY-12")
def test_with_a_hash_secret_secrets_outside_of_models_are_distinguished() -> None:
    for make in (Paid, lambda card: {"card": card}, lambda card: {"card": [{"x": (card,)}]}):
        assert_distinguished(make(ONE), make(TWO), hash_secret="pepper")
        assert_distinguished(make(ONE), make(TWO), "[card]", hash_secret="pepper")
        assert_distinguished(make(Cards.ONE), make(Cards.TWO), hash_secret="pepper")
    # The way out of the refusal works.
    assert "Convert it to plain JSON data" in refusal({"cards": {ONE}}, hash_secret="pepper")
    assert_distinguished({"cards": [ONE]}, {"cards": [TWO]}, hash_secret="pepper")


@pytest.mark.parametrize("key", ["card.x", "card[0]", "card.*", "length(card)"])
def test_a_path_into_a_secret_is_refused_with_a_way_out_that_works(key: str) -> None:
    for payload in ({"card": ONE}, Holder(card=ONE)):
        for settings in ({}, {"hash_secret": "pepper"}):
            said = refusal(payload, key, **settings)
            assert "inside a secret" in said
            assert "Select the secret itself" in said
            assert "4929" not in said


def test_the_order_of_a_set_of_secrets_does_not_matter() -> None:
    booking = pydantic.create_model("Booking", cards=(set[SecretStr], ...))
    texts = [str(number) for number in range(50)]
    one, other = (booking(cards=set(map(SecretStr, each))) for each in (texts, reversed(texts)))
    assert_same(one, other, hash_secret="pepper")
