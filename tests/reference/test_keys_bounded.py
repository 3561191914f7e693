"""Bounds on the cost of deriving a key, and the effect of a hash secret."""

import base64
import gzip
import hmac
import json
import sys
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from bytecodes import Bytecodes
from derived_keys import REFUSED, assert_refused_both, derived, refusal
from idemproof import IdempotencyConfig
from idemproof.errors import IdempotencyConfigError, IdempotencyKeyError
from idemproof.reference.keys import KeyDerivation
from idemproof.reference.keys.refusals import Refused
from idemproof.reference.keys.survey import survey

MIB = 1024 * 1024
UNPACKED = "powertools_json(powertools_base64_gzip(body)).a"


def packed(size: int, fill: str = "x") -> str:
    return base64.b64encode(gzip.compress(json.dumps({"a": fill * size}).encode())).decode()


def peak_of(call: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def bomb() -> str:
    return packed(200 * MIB)


@pytest.mark.clause("KEY-15")
def test_a_gzip_bomb_is_refused_within_a_bound(bomb: str) -> None:
    found: list[str] = []
    assert peak_of(lambda: found.append(refusal({"body": bomb}, UNPACKED))) < 100 * MIB
    assert "max_unpacked_bytes=33,554,432" in found[0]
    assert_refused_both({"id": 1, "body": bomb}, {"id": 1, "body": bomb}, "id", UNPACKED)


@pytest.mark.clause("KEY-15")
def test_the_bound_is_of_all_that_an_expression_unpacks() -> None:
    bodies = {"r": [{"body": packed(MIB)} for _ in range(5)]}
    each = "r[*].powertools_base64_gzip(body)"
    assert derived(bodies, each, max_unpacked_bytes=4 * MIB) == REFUSED
    assert derived(bodies, each, max_unpacked_bytes=6 * MIB) != REFUSED
    assert derived(bodies, each, each, max_unpacked_bytes=6 * MIB) != REFUSED


def test_what_unpacks_to_five_megabytes_still_works() -> None:
    assert derived({"body": packed(5_000_000)}, UNPACKED) == derived("x" * 5_000_000)
    several = base64.b64encode(gzip.compress(b"a") + gzip.compress(b"b")).decode()
    assert derived({"body": several}, "powertools_base64_gzip(body)") == derived("ab")


def test_the_bound_is_exact() -> None:
    for size, most in ((1000, 1009), (1000, 1008)):
        result = derived({"body": packed(size)}, UNPACKED, max_unpacked_bytes=most)
        assert (result == REFUSED) is (most == 1008)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "1", None])
def test_the_bound_is_a_positive_integer(wrong: Any) -> None:
    with pytest.raises(IdempotencyConfigError, match="max_unpacked_bytes"):
        IdempotencyConfig(max_unpacked_bytes=wrong)


def steps_of(payload: Any) -> int:
    """Return how many functions a derivation calls, those of the interpreter included."""
    derivation = KeyDerivation(IdempotencyConfig(), "p")
    steps = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        derivation.derive(payload)
    except IdempotencyKeyError:
        pass
    finally:
        sys.setprofile(None)
    return steps


def deep(levels: int, leaf: Any) -> Any:
    for _ in range(levels):
        leaf = [1, {"a": leaf}]
    return leaf


SHAPES: dict[str, Callable[[int, Any], Any]] = {
    "wide": lambda size, leaf: [[{"a": n, "b": [n]} for n in range(size)], leaf],
    "deep": lambda size, leaf: deep(size // 20, leaf),
    "strings": lambda size, leaf: ["x"] * size + [leaf],
}


@pytest.mark.clause("KEY-15")
@pytest.mark.parametrize(
    "leaf", [object(), {1}, b"x", 10**5000, {(1, 2): 3}, Decimal(1), 5], ids=lambda leaf: type(leaf).__name__
)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_work_grows_with_size_and_depth_no_faster_than_they_do(shape: Any, leaf: Any) -> None:
    small, large = steps_of(shape(1000, leaf)), steps_of(shape(4000, leaf))
    assert large <= 4.5 * small


def test_what_is_shared_or_contains_itself_many_times_is_looked_at_once() -> None:
    cycle: list[Any] = []
    cycle += [cycle, cycle, {1}]
    assert "set" in refusal(cycle)
    cycle[2] = 0
    assert "contains itself" in refusal(cycle)
    shared: Any = [{1}]
    for _ in range(40):
        shared = [shared, shared]
    assert "set" in refusal(shared)


def test_a_bad_leaf_has_its_path_at_any_depth() -> None:
    payload = {"orders": [{"lines": [{"sku": 1}, {"sku": object()}]}, [[]]], "x": [1, (2, {"y": {3}})]}
    assert "$.orders[0].lines[1].sku" in refusal({**payload, "x": 1})
    assert "$.x[1][1].y" in refusal({**payload, "orders": 1})


@pytest.mark.clause("KEY-12")
@pytest.mark.parametrize("name", ["md5", "sha256", "blake2b"])
def test_a_hash_secret_makes_hmacs_of_keys_and_payload_hashes(name: str) -> None:
    found = derived({"id": 1, "a": [2]}, "id", "a", hash_function=name, hash_secret="pepper")
    expected = [hmac.new(b"pepper", text, name).hexdigest() for text in (b"1", b"[2]")]
    assert found == (f"p#{expected[0]}", expected[1])
    assert derived(1, hash_secret=b"pepper") == derived(1, hash_secret="pepper") != derived(1)


@pytest.mark.parametrize("wrong", ["", b"", 5, ["s3cret"], bytearray(b"s3cret")])
def test_a_hash_secret_is_text_or_bytes_and_never_shown(wrong: Any) -> None:
    with pytest.raises(
        IdempotencyConfigError, match="hash_secret must be non-empty text or bytes"
    ) as refused:
        IdempotencyConfig(hash_secret=wrong)
    assert "s3cret" not in str(refused.value)
    config = IdempotencyConfig(hash_secret="s3cret")
    assert "s3cret" not in repr(config) + repr(vars(config))


class Unfolding:
    """Unfolds into another object of its kind without end."""

    def dict(self) -> Any:
        return {"next": [Unfolding()]}


@pytest.mark.parametrize("key", ["", "[@ == `1`]", "to_string(@)", "[*]"])
def test_what_unfolds_for_ever_is_refused(key: str) -> None:
    assert derived([Unfolding()], key) == REFUSED


def bytecodes_of(payload: Any) -> int:
    """Return how many instructions of the interpreter a refusal takes."""
    derivation = KeyDerivation(IdempotencyConfig(), "p")
    with pytest.raises(IdempotencyKeyError), Bytecodes() as counted:
        derivation.derive(payload)
    return counted.total


BAD: dict[str, Callable[[], Any]] = {
    "object": object,
    "class": lambda: int,
    "set": lambda: {1},
    "bytes": lambda: b"x",
    "complex": lambda: 1j,
    "long-number": lambda: 10**5000,
    "key-of-tuple": lambda: {(1, 2): 3},
    "key-of-bytes": lambda: {b"a": 1},
    "key-of-object": lambda: {object(): 1},
    "keys-of-two-kinds": lambda: {1: 2, "a": 3},
    "long-key": lambda: {10**5000: 1},
}
WIDE: dict[str, Callable[[int], list[Any]]] = {
    "rows": lambda size: [{"id": n, "tags": ["a", n], "price": n / 2} for n in range(size)],
    "numbers": lambda size: list(range(size)),
    "texts": lambda size: [str(n) for n in range(size)],
    "lists": lambda size: [[n] for n in range(size)],
    "dicts": lambda size: [{"a": n} for n in range(size)],
    "empty-lists": lambda size: [[] for _ in range(size)],
    "empty-dicts": lambda size: [{} for _ in range(size)],
    "deep": lambda size: [deep(10, n) for n in range(size // 10)],
}


@pytest.mark.clause("KEY-15")
@pytest.mark.parametrize("where", [0, 0.5, 1], ids=["start", "middle", "end"])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("wide", WIDE.values(), ids=WIDE)
def test_what_the_interpreter_does_to_find_a_bad_leaf_hardly_grows_with_the_payload(
    wide: Any, bad: Any, where: float
) -> None:
    """What remains is the encoder's own work: the payload is written once, and most of it proven once."""
    size = 3000
    payload = wide(size)
    payload.insert(int(len(payload) * where), bad())
    assert bytecodes_of(payload) < MOST * size


MOST = 8
"""Instructions for each item. A call of a function for each takes some thirty."""


@pytest.mark.parametrize("empty", [list, dict, tuple])
@pytest.mark.parametrize("error", [TypeError(), ValueError(), None], ids=repr)
def test_what_is_empty_is_not_written_again_to_find_a_bad_leaf(empty: Any, error: Exception | None) -> None:
    payload = [empty() for _ in range(300)]
    payload[150] = [object()]
    written: list[Any] = []

    def refuse(value: Any) -> Any:
        raise Refused(f"is a {type(value).__name__}", "")

    with pytest.raises(Refused) as caught:
        survey(payload, refuse, lambda _value: False, written.append, refused=error)
    assert (caught.value.path, written) == ("$[150][0]", [])


def test_a_number_that_is_too_long_as_a_name_is_named() -> None:
    assert "has a key of type int, too long to be encoded" in refusal({"x": [{10**5000: 1}]})
