"""Keys and payload hashes of two payloads, compared."""

import warnings
from typing import Any

from idemproof import IdempotencyConfig
from idemproof.backends.warning import IdempotencyWarning
from idemproof.errors import IdempotencyKeyError
from idemproof.reference.keys import KeyDerivation

REFUSED = "refused"


def derived(payload: Any, key: str = "", check: str = "", *, warned: str = "error", **settings: Any) -> Any:
    """Return the key and the payload hash, or `REFUSED`. A warning is a failure, unless it is ignored."""
    derivation = KeyDerivation(IdempotencyConfig(key, check, **settings), "p", "f")
    with warnings.catch_warnings():
        warnings.simplefilter(warned, IdempotencyWarning)  # type: ignore[arg-type]
        try:
            return derivation.derive(payload)
        except IdempotencyKeyError:
            return REFUSED


def refusal(payload: Any, key: str = "", check: str = "", **settings: Any) -> str:
    """Return the text of the refusal."""
    try:
        KeyDerivation(IdempotencyConfig(key, check, **settings), "p", "f").derive(payload)
    except IdempotencyKeyError as error:
        return str(error)
    raise AssertionError("it was not refused")


def assert_distinguished(one: Any, other: Any, key: str = "", check: str = "", **settings: Any) -> None:
    """Both have keys that differ, or the same key with other payload hashes."""
    first, second = (derived(payload, key, check, **settings) for payload in (one, other))
    assert REFUSED not in (first, second)
    assert first != second


def assert_refused_both(one: Any, other: Any, key: str = "", check: str = "", **settings: Any) -> None:
    assert derived(one, key, check, **settings) == derived(other, key, check, **settings) == REFUSED


def assert_safe(one: Any, other: Any, key: str = "", check: str = "", **settings: Any) -> None:
    """The two never meet: at most one of them has this key and payload hash."""
    first, second = (derived(payload, key, check, **settings) for payload in (one, other))
    assert first != second or first == REFUSED


def assert_same(one: Any, other: Any, key: str = "", check: str = "", **settings: Any) -> None:
    """Both name the same operation."""
    first, second = (derived(payload, key, check, **settings) for payload in (one, other))
    assert REFUSED not in (first, second)
    assert first == second
