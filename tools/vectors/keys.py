"""Key vectors: payloads whose keys and payload hashes ports to other languages are likely to get wrong."""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from idemproof.backends.warning import IdempotencyWarning
from idemproof.reference.config import IdempotencyConfig
from idemproof.reference.jmespath_functions import DEFAULT_OPTIONS
from idemproof.reference.keys import KeyDerivation, KeyEncoder, function_prefix
from idemproof.spec.errors import IdempotencyKeyError

_HOST = "AWS_LAMBDA_FUNCTION_NAME"
_EXACT = 2**53
"""Up to this number, a double represents all integers exactly."""


class KeyInput(NamedTuple):
    """The input of a key derivation; ``payload`` is the exact JSON text."""

    why: str
    payload: str
    expression: str | None = None
    validation: str | None = None
    hash_function: str = "md5"
    key_prefix: str | None = "p"
    function: str = "shop.pay"
    lambda_name: str | None = None
    service: str | None = None
    hash_secret: str | None = None


class KeyVector(NamedTuple):
    """The output of a key derivation: ``result`` is "key", "missing" or "failure"; the texts are hashed."""

    asked: KeyInput
    exact_numbers: bool
    result: str
    key_text: str | None
    key: str | None
    payload_text: str | None
    payload_hash: str | None


def key_vectors() -> list[KeyVector]:
    """Return the vectors."""
    return [_vector(asked) for asked in _INPUTS]


def _vector(asked: KeyInput) -> KeyVector:
    payload = json.loads(asked.payload)
    config = IdempotencyConfig(
        asked.expression or "",
        asked.validation or "",
        hash_function=asked.hash_function,
        hash_secret=asked.hash_secret,
    )
    exact = any(type(number) is float or abs(number) > _EXACT for number in _numbers(asked.payload))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IdempotencyWarning)
            key, payload_hash = KeyDerivation(config, _prefix(asked)).derive(payload)
    except IdempotencyKeyError:
        return KeyVector(asked, exact, "failure", None, None, None, None)
    if key is None:
        return KeyVector(asked, exact, "missing", None, None, None, None)
    key_text = _text(config.key_expression, payload)
    payload_text = None if payload_hash is None else _text(config.validation_expression, payload)
    return KeyVector(asked, exact, "key", key_text, key, payload_text, payload_hash)


def _text(expression: Any, payload: Any) -> str:
    selected = payload if expression is None else expression.search(payload, DEFAULT_OPTIONS)
    return KeyEncoder().encode(selected)


def _numbers(text: str) -> Iterator[int | float]:
    found: list[int | float] = []
    json.loads(
        text,
        parse_int=lambda digits: found.append(int(digits)),
        parse_float=lambda digits: found.append(float(digits)),
    )
    return iter(found)


def _prefix(asked: KeyInput) -> str:
    with _lambda_name(asked.lambda_name):
        return function_prefix(named_function(asked.function), asked.key_prefix, asked.service)


def named_function(name: str) -> Any:
    """Return a function with the given module and qualified name."""

    def function() -> None:
        """Do nothing."""

    function.__module__, _, function.__qualname__ = name.partition(".")
    return function


@contextmanager
def _lambda_name(name: str | None) -> Iterator[None]:
    original = os.environ.pop(_HOST, None)
    try:
        if name is not None:
            os.environ[_HOST] = name
        yield
    finally:
        os.environ.pop(_HOST, None)
        if original is not None:
            os.environ[_HOST] = original


def _packed(value: Any) -> str:
    return json.dumps({"body": json.dumps(value)})


_PEPPER = "\u043a\u043b\u044e\u0447"
"""The secret of the HMACs."""

_ORDER = '{"id": "o-1", "amount": 120, "lines": [{"sku": "s", "n": 2}], "note": null}'

_INPUTS = (
    # The shape of the text.
    KeyInput("An object: a space after colons and commas.", _ORDER),
    KeyInput(
        "White space in the payload does not matter.", ' {"b" :\\n[1 ,2] , "a":{ } } '.replace("\\n", "\n")
    ),
    KeyInput("Keys are sorted, at every depth.", '{"b": {"d": 1, "c": 2}, "a": [{"z": 1, "y": 2}]}'),
    KeyInput(
        "Keys are sorted by code points, not by letters.", '{"b": 1, "B": 2, "_": 3, "1": 4, "10": 5, "": 6}'
    ),
    KeyInput(
        "Keys are sorted by code points, not by UTF-16 units: U+FF61 comes before U+1F600.",
        '{"\\ud83d\\ude00": 1, "\\uff61": 2}',
    ),
    KeyInput("The order of a list matters.", '[3, 1, 2, "b", "a"]'),
    KeyInput("Empty containers inside others.", '{"a": {}, "b": [], "c": [[], {}]}'),
    KeyInput("Deep nesting.", '{"a": [[[[[{"b": {"c": [{"d": null}]}}]]]]]}'),
    KeyInput("If a name is repeated, the last value is used.", '{"a": 1, "b": 2, "a": 3}'),
    KeyInput("Text alone.", '"order"'),
    KeyInput("True alone, which is a key.", "true"),
    KeyInput("False alone, which is a key.", "false"),
    KeyInput("null, true and false inside a list.", "[null, true, false]"),
    # Text.
    KeyInput("Text beyond ASCII is escaped, in lower case.", '{"\\u00fc": "\\u043a\\u043b\\u044e\\u0447"}'),
    KeyInput("A composed letter.", '"\\u00e9"'),
    KeyInput("The same letter with a combining mark is different text: nothing is normalised.", '"e\\u0301"'),
    KeyInput("Beyond the basic plane: escaped as a surrogate pair.", '"\\ud83d\\ude00"'),
    KeyInput("A lone surrogate is kept.", '"\\ud800"'),
    KeyInput("Short escapes.", '"\\"\\\\\\b\\f\\n\\r\\t"'),
    KeyInput("Other control characters, including U+007F, are escaped by number.", '"\\u0000\\u001f\\u007f"'),
    KeyInput("The line separators U+2028 and U+2029, and U+0080.", '"\\u2028\\u2029\\u0080"'),
    KeyInput("A slash is not escaped, and neither are HTML characters.", '"a\\/b </script> & \'"'),
    # Numbers.
    KeyInput("Zero is a key.", "0"),
    KeyInput("A negative integer.", "-7"),
    KeyInput("The integer -0 is 0.", "-0"),
    KeyInput(
        "The last integer that every double holds, and the next.", "[9007199254740992, 9007199254740993]"
    ),
    KeyInput("An integer of forty digits.", "1234567890123456789012345678901234567890"),
    KeyInput("1.0 is not 1.", "[1.0, 1]"),
    KeyInput("The float -0.0 keeps its sign.", "[-0.0, 0.0]"),
    KeyInput("A float has the shortest digits that identify it.", "[0.1, 0.30000000000000004, 2.50, 100.0]"),
    KeyInput(
        "From 1e16 on a float has an exponent.", "[1e15, 999999999999999.9, 1e16, 123456789012345680.0]"
    ),
    KeyInput("Large exponents: a sign, and at least two digits.", "[1e21, 1E+22, 1.5e300]"),
    KeyInput(
        "Below 0.0001 a float has an exponent of at least two digits.", "[0.0001, 0.00001, 1e-7, 1.5e-10]"
    ),
    KeyInput(
        "The largest and the smallest double.", "[1.7976931348623157e308, 5e-324, 2.2250738585072014e-308]"
    ),
    KeyInput("A number and text with the same digits differ.", '{"n": 1, "t": "1"}'),
    # Payloads without a key.
    KeyInput("null is not a key.", "null"),
    KeyInput("Empty text is not a key.", '""'),
    KeyInput("An empty object is not a key.", "{}"),
    KeyInput("An empty list is not a key.", "[]"),
    KeyInput("An object that contains only null is not a key.", '{"a": null, "b": null}'),
    KeyInput("A list that contains only null is not a key.", "[null, null]"),
    KeyInput("A list that contains empty text is a key.", '[null, ""]'),
    KeyInput("A path without a match gives no key.", _ORDER, "customer.id"),
    KeyInput("Several paths without a match give no key.", _ORDER, "[customer, date]"),
    # Expressions.
    KeyInput("A path.", _ORDER, "id"),
    KeyInput("Several paths: a list.", _ORDER, "[id, amount]"),
    KeyInput("Several paths, one without a match: null takes its place.", _ORDER, "[id, customer]"),
    KeyInput("Several paths with names: an object, and its names are sorted.", _ORDER, "{n: id, a: amount}"),
    KeyInput("A projection.", _ORDER, "lines[*].sku"),
    KeyInput("A name beyond ASCII.", '{"\\u043a": 1}', '"\u043a"'),
    KeyInput("JSON inside text.", _packed({"id": "o-1", "n": 1.0}), "powertools_json(body)"),
    KeyInput("A path into JSON inside text.", _packed({"id": "o-1"}), "powertools_json(body).[id, user]"),
    KeyInput("base64 gives text.", '{"data": "w7xiZXI="}', "powertools_base64(data)"),
    KeyInput(
        "JSON inside base64.",
        '{"data": "eyJpZCI6ICJvLTEifQ=="}',
        "powertools_json(powertools_base64(data)).id",
    ),
    KeyInput(
        "powertools_json of a value that is not text cannot be evaluated.",
        '{"body": 1}',
        "powertools_json(body)",
    ),
    KeyInput(
        "powertools_json of text that is not JSON cannot be evaluated.",
        '{"body": "{"}',
        "powertools_json(body)",
    ),
    # The payload hash.
    KeyInput("A payload hash of the value that the second expression selects.", _ORDER, "id", "amount"),
    KeyInput("A payload hash of the whole payload.", _ORDER, None, "@"),
    KeyInput(
        "If the second expression has no match, the payload hash is the hash of null.",
        _ORDER,
        "id",
        "customer",
    ),
    KeyInput("Without a key there is no payload hash.", _ORDER, "customer", "amount"),
    # Hash functions and prefixes.
    *(
        KeyInput(f"The hash function {name}, of the key and of the payload.", _ORDER, "id", "@", name)
        for name in ("sha1", "sha256", "sha512", "sha3_256", "blake2b", "blake2s")
    ),
    KeyInput("Without a prefix: test-func, and the name of the function.", "1", key_prefix=None),
    KeyInput("In AWS Lambda: the name of the Lambda function.", "1", key_prefix=None, lambda_name="payments"),
    KeyInput("An empty name of a Lambda function is used as it is.", "1", key_prefix=None, lambda_name=""),
    KeyInput("An empty prefix is treated as absent.", "1", key_prefix="", lambda_name="payments"),
    KeyInput("A prefix replaces the names.", "1", key_prefix="\u043a#", lambda_name="payments"),
    KeyInput("A method of a class.", "1", key_prefix=None, function="shop.Till.<locals>.pay"),
    KeyInput(
        "A service: its name, without that of a Lambda function.", "1", key_prefix=None, service="orders"
    ),
    KeyInput(
        "A service in AWS Lambda: both names.",
        "1",
        key_prefix=None,
        service="orders",
        lambda_name="payments",
    ),
    KeyInput("A prefix also replaces the name of a service.", "1", service="orders"),
    # Hash secrets.
    KeyInput(
        "An HMAC of the key and of the payload, with a secret in UTF-8.",
        _ORDER,
        "id",
        "@",
        hash_secret=_PEPPER,
    ),
    KeyInput(
        "An HMAC with another hash function.",
        _ORDER,
        "id",
        "@",
        "sha256",
        hash_secret=_PEPPER,
    ),
)
