"""Events and outcomes are values: they are equal if they have the same class and the same fields."""

from typing import Any

import pytest

from idemproof.spec.events import Claim, Claimed, Completed, Evict, Kept, NotHeld, Release, Released, Replay
from idemproof.spec.record import COMPLETED, Record

pytestmark = pytest.mark.once

RECORD = Record("key", COMPLETED, 60)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Release("me"), Release("me")),
        (Claim("me", 5, 60, "hash", "key"), Claim("me", 5, 60, "hash", "key")),
        (Released(), Released()),
        (Completed(RECORD), Completed(RECORD._replace())),
    ],
)
def test_the_same_is_equal_and_not_unequal(one: Any, other: Any) -> None:
    assert one == other
    assert not one != other  # noqa: SIM202 - both operators are defined
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Release("me"), Release("you")),
        (Released(), NotHeld()),
        (Released(), ()),
        (Kept(), Evict()),
        (Completed(RECORD), Replay(RECORD)),
        (Claimed(RECORD), Claimed(RECORD, RECORD)),
    ],
)
def test_another_kind_or_content_is_unequal_and_hashes_apart(one: Any, other: Any) -> None:
    assert one != other
    assert not one == other  # noqa: SIM201 - both operators are defined
    assert hash(one) != hash(other)
