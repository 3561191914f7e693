"""Keys, payload hashes and stored results are byte for byte those of Powertools for AWS Lambda."""

import base64
import contextlib
import copy
import datetime as dt
import enum
import json
import pathlib
import string
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest
from aws_lambda_powertools.shared.json_encoder import Encoder
from aws_lambda_powertools.utilities.data_classes import SQSEvent
from aws_lambda_powertools.utilities.idempotency import BasePersistenceLayer
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig as OriginalConfig
from aws_lambda_powertools.utilities.idempotency.base import _prepare_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idemproof.errors import IdempotencyKeyError
from idemproof.reference.config import IdempotencyConfig
from idemproof.reference.encoding import encode
from idemproof.reference.keys import KeyDerivation, function_prefix
from idemproof.reference.keys.opening import as_plain_data

pytestmark = pytest.mark.once

unhurried = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])


class OriginalLayer(BasePersistenceLayer):
    def _get_record(self, idempotency_key: Any) -> None: ...

    def _put_record(self, data_record: Any) -> None: ...

    def _update_record(self, data_record: Any) -> None: ...

    def _delete_record(self, data_record: Any) -> None: ...


class Colour(enum.Enum):
    RED = "r"
    NUMBER = 7
    PAIR = ("a", 1)
    NONE = None


class Word(enum.StrEnum):
    YES = "yes"
    NO = "nö"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2**70


class Price(Decimal, enum.Enum):
    CHEAP = "1.50"


class Half(float, enum.Enum):
    IT = 0.5


@dataclass
class Line:
    sku: str
    price: Any
    more: Any = field(default_factory=dict)


class Model(pydantic.BaseModel):
    name: str
    price: Decimal
    at: dt.datetime
    more: dict[str, Any] = {}


NAMES = st.sampled_from(["a", "b", "c", "order", "id", "ключ", "with space", ""]) | st.text(max_size=4)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**300), max_value=2**300),
    st.floats(),
    st.text(),
    st.text(alphabet=st.characters(min_codepoint=0xD7F0, max_codepoint=0x1F600), max_size=5),
    st.decimals(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.times(),
    st.uuids(),
    st.sampled_from([*Colour, *Word, *Level, *Price, *Half, pathlib.PurePosixPath("/a/b")]),
)
# One kind of key to a dict, so that most can be put in order.
KEYS = st.sampled_from(
    [NAMES, st.integers(), st.booleans() | st.integers() | st.floats(allow_nan=False), st.sampled_from(Word)]
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(NAMES, inner, max_size=4),
        KEYS.flatmap(lambda keys: st.dictionaries(keys, inner, max_size=3)),
        st.builds(Line, sku=st.text(), price=inner, more=inner),
        st.builds(
            Model,
            name=st.text(alphabet=string.printable),
            price=st.decimals(allow_nan=False, allow_infinity=False),
            at=st.datetimes(),
        ),
    )


PAYLOADS = st.recursive(SCALARS, containers, max_leaves=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)
EVENTS = st.fixed_dictionaries(
    {"body": JSON.map(json.dumps)}, optional={"a": PAYLOADS, "b": PAYLOADS, "order": PAYLOADS, "id": PAYLOADS}
)
EXPRESSIONS = st.sampled_from(
    [
        "",
        "a",
        "order.id",
        "body",
        "[a, b]",
        "[a.b, order.id, id]",
        "{x: a, y: order.id}",
        "powertools_json(body)",
        "powertools_json(body).[a, b]",
        "powertools_json(body).{a: a, b: b}",
        "a[0]",
        "a[*].id",
        "order.*",
        "a[]",
        "a || b",
        "a == b",
        "!a",
        "@",
        "`0`",
        "to_string(a)",
        "not_null(a, b, id)",
        '"with space"',
        "[a, [b, id]] | [1]",
    ]
)
FIELDS = st.sampled_from(["a", "b", "order", "id", "missing", "body", '"with space"'])
PATHS = st.lists(FIELDS, min_size=1, max_size=3).map(".".join)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda parts: f"{{{', '.join(f'n{number}: {part}' for number, part in enumerate(parts))}}}"
        ),
        st.tuples(inner, st.sampled_from(["||", "&&", "|", "=="]), inner).map(
            "({0[0]}) {0[1]} ({0[2]})".format
        ),
        st.tuples(
            inner,
            st.sampled_from(["powertools_json(body)", "powertools_json(powertools_base64(coded))", "@"]),
        ).map("{0[1]} | ({0[0]})".format),
        st.tuples(inner, st.sampled_from(["[0]", "[-1]", "[]", "[*]", ".*", "[1:]", "[?@]"])).map(
            "({0[0]}){0[1]}".format
        ),
        st.tuples(st.sampled_from(["to_string", "to_array", "not_null", "type", "!"]), inner).map(
            "{0[0]}({0[1]})".format
        ),
    )


GENERATED = st.recursive(PATHS, larger, max_leaves=6)
HASHES = st.sampled_from(["md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b", "blake2s"])
PREFIXES = st.none() | st.text(max_size=8)


def some_function() -> None:
    pass


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def the_originals(payload: Any, key_prefix: str | None, *arguments: Any, **keywords: Any) -> Any:
    layer = OriginalLayer()
    name = f"{some_function.__module__}.{some_function.__qualname__}"
    layer.configure(OriginalConfig(*arguments, **keywords), name, key_prefix)
    try:
        with quietly():
            data = copy.deepcopy(_prepare_data(payload))
            key = layer._get_hashed_idempotency_key(data)
            return key, (layer._get_hashed_payload(data) or None) if key else None
    except Exception as error:
        return error


def ours(payload: Any, key_prefix: str | None, *arguments: Any, **keywords: Any) -> Any:
    derivation = KeyDerivation(
        IdempotencyConfig(*arguments, **keywords), function_prefix(some_function, key_prefix)
    )
    with quietly():
        return derivation.derive(as_plain_data(payload))


def opened(value: Any) -> Any:
    """Return a value with its containers as lists and dicts, and its leaves as they are (KEY-6)."""
    if isinstance(value, Model):
        return value.model_dump(mode="json")
    if isinstance(value, Line):
        return {"sku": value.sku, "price": opened(value.price), "more": opened(value.more)}
    if isinstance(value, dict):
        return {name: opened(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [opened(item) for item in value]
    return value


DIFFERENCES: list[tuple[Any, ...]] = []


def assert_same(payload: Any, key_prefix: str | None, *arguments: Any, **keywords: Any) -> Any:
    expected = the_originals(payload, key_prefix, *arguments, **keywords)
    # Where the original fails there is nothing to be compatible with; ours may succeed or refuse.
    if not isinstance(expected, Exception):
        try:
            found = ours(payload, key_prefix, *arguments, **keywords)
        except IdempotencyKeyError:
            # The original found no key, in an object: it never evaluated what fails.
            assert isinstance(the_originals(opened(payload), key_prefix, *arguments, **keywords), Exception)
            return expected
        if found != expected:
            # The one difference: expressions see into objects and tuples.
            DIFFERENCES.append(arguments)
            key, payload_hash = the_originals(opened(payload), key_prefix, *arguments, **keywords)
            assert found[0] in (expected[0], key)
            assert found[1] in (expected[1], payload_hash)
            assert repr(opened(payload)) != repr(payload)
    return expected


@pytest.mark.clause("KEY-11")
@unhurried
@given(PAYLOADS, HASHES, PREFIXES)
def test_any_payload_has_the_originals_key(payload: Any, name: Any, key_prefix: Any) -> None:
    assert_same(payload, key_prefix, hash_function=name)


@pytest.mark.clause("KEY-6", "KEY-11")
@unhurried
@given(EVENTS, EXPRESSIONS, EXPRESSIONS, HASHES, PREFIXES)
def test_what_expressions_select_has_the_originals_key_and_hash(
    event: Any, key: Any, validation: Any, name: Any, key_prefix: Any
) -> None:
    assert_same(event, key_prefix, key, validation, hash_function=name)


@unhurried
@given(EVENTS, JSON, GENERATED, GENERATED, HASHES)
def test_what_generated_expressions_select_has_the_originals_key_and_hash(
    event: Any, coded: Any, key: str, validation: str, name: Any
) -> None:
    event["coded"] = base64.b64encode(json.dumps(coded).encode()).decode()
    assert_same(event, "p", key, validation, hash_function=name)


@pytest.mark.nightly
@pytest.mark.clause("KEY-6", "KEY-11")
@settings(unhurried, max_examples=50_000)
@given(EVENTS, JSON, GENERATED | EXPRESSIONS, GENERATED | EXPRESSIONS)
def test_of_fifty_thousand_pairs_only_those_differ_that_reach_into_objects(
    event: Any, coded: Any, key: str, validation: str
) -> None:
    event["coded"] = base64.b64encode(json.dumps(coded).encode()).decode()
    assert_same(event, "p", key, validation)


@unhurried
@given(EVENTS, EXPRESSIONS)
def test_options_without_functions_keep_the_originals_key(event: Any, expression: str) -> None:
    assert_same(event, "p", expression, jmespath_options={"dict_cls": dict})


@unhurried
@given(JSON)
def test_every_json_payload_is_comparable(payload: Any) -> None:
    """The original accepts them all, so the comparison is never empty."""
    assert not isinstance(assert_same(payload, None, "", "@"), Exception)


NAN_MODEL = Model(name="ü", price=Decimal("1.10"), at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC))
SPECIAL = [
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("-Infinity"),
    Decimal("1E+5"),
    Decimal(0),
    NAN_MODEL,
    {"model": NAN_MODEL, "line": Line("x", Decimal("2.50"))},
    Line("x", NAN_MODEL, {"d": dt.date(2026, 1, 1)}),
    [Price.CHEAP, Half.IT, Level.HIGH, Word.NO, Colour.RED, Colour.PAIR],
    {Word.NO: 1, Word.YES: 2},
    {0: "a", 2.5: "b", True: "c"},
    {None: 1},
    "\ud800 lone surrogate",
    10**400,
    SimpleNamespace(raw_event={"a": 1}),
    SimpleNamespace(dict=lambda: {"a": Decimal(1)}),
    SimpleNamespace(model_dump=lambda mode: {"mode": mode}),
    SQSEvent({"Records": [{"messageId": "1"}]}),
    make_dataclass("Empty", [])(),
    {"object": SimpleNamespace(json=True, model_dump=lambda mode: {"mode": mode})},
]


@pytest.mark.parametrize("payload", SPECIAL, ids=[str(number) for number in range(len(SPECIAL))])
def test_special_values_have_the_originals_key(payload: Any) -> None:
    assert not isinstance(assert_same(payload, None, "", "@", hash_function="sha256"), Exception)


@pytest.mark.parametrize("host", [None, "", "payments"])
def test_the_prefix_is_the_originals(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if host is None:
        monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    else:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", host)
    for key_prefix in (None, "", "mine"):
        assert not isinstance(assert_same({"a": 1}, key_prefix), Exception)


@unhurried
@given(PAYLOADS)
def test_results_are_stored_as_the_original_stores_them(result: Any) -> None:
    try:
        expected = json.dumps(result, cls=Encoder, sort_keys=True)
    except (TypeError, ValueError, AttributeError) as error:
        with pytest.raises(type(error)):
            encode(result)
    else:
        assert encode(result) == expected
