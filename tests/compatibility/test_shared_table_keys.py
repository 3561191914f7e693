"""The decorators derive the same keys and payload hashes, wherever a function is defined."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.utilities import idempotency as original
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import idemproof

pytestmark = pytest.mark.once

PAYLOADS = st.fixed_dictionaries(
    {"id": st.none() | st.integers() | st.floats() | st.text()},
    optional={
        "amount": st.integers() | st.decimals(),
        "lines": st.lists(st.dictionaries(st.text(max_size=3), st.dates(), max_size=2), max_size=3),
        "body": st.sampled_from(["{}", '{"id": 1.0}', '{"id": "ü", "n": [1, null]}']),
    },
)
EXPRESSIONS = st.sampled_from(
    ["", "id", "[id, lines[0]]", "missing", "powertools_json(body).id", "powertools_json(body).[id, n]"]
)
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 1000)


class OriginalLayer(original.BasePersistenceLayer):
    def __init__(self) -> None:
        super().__init__()
        self.claims: list[tuple[str, str | None]] = []

    def _put_record(self, data_record: Any) -> None:
        self.claims.append((data_record.idempotency_key, data_record.payload_hash or None))

    def _get_record(self, idempotency_key: Any) -> None: ...

    def _update_record(self, data_record: Any) -> None: ...

    def _delete_record(self, data_record: Any) -> None: ...


class OurLayer(idemproof.InMemoryPersistenceLayer):
    def __init__(self) -> None:
        super().__init__()
        self.claims: list[tuple[str, str | None]] = []

    def _swap(self, key: str, expected: Any, new: Any, ttl_ms: int) -> Any:
        if new is not None and new.status == "INPROGRESS":
            self.claims.append((new.idempotency_key, new.payload_hash))
        return new


def handlers(decorate: Callable[[Any], Any]) -> Iterator[Callable[[Any], Any]]:
    """Return functions as they are protected as handlers: called with an event and a context."""

    @decorate
    def nested(event: Any, context: Any) -> None: ...

    yield lambda payload: nested(payload, CONTEXT)
    yield lambda payload: decorate(at_the_top)(payload, CONTEXT)
    yield lambda payload: decorate(lambda event, context: None)(payload, CONTEXT)


def functions(decorate: Callable[[Any], Any]) -> Iterator[Callable[[Any], Any]]:
    """Return functions as they are protected by one argument."""

    @decorate
    def nested(*, order: Any) -> None: ...

    class Shop:
        @decorate
        def sell(self, *, order: Any) -> None: ...

        @staticmethod
        @decorate
        def lend(order: Any) -> None: ...

    yield lambda payload: nested(order=payload)
    yield lambda payload: Shop().sell(order=payload)
    yield lambda payload: Shop.lend(order=payload)
    yield lambda payload: decorate(buy)(order=payload)


def at_the_top(event: Any, context: Any) -> None: ...


def buy(order: Any, unused: int = 1) -> None: ...


KINDS = {"idempotent": (handlers, {}), "idempotent_function": (functions, {"data_keyword_argument": "order"})}


def claims(package: Any, layer: Any, name: str, payload: Any, key_prefix: Any, config: Any) -> list[Any]:
    """Call every kind of function with ``payload``, and return what was claimed."""
    make, more = KINDS[name]

    def decorate(function: Any) -> Any:
        # A new layer each time: the original's serves one function.
        made = layer()
        made.claims = found
        settings = package.IdempotencyConfig(**config, lambda_context=CONTEXT)
        return getattr(package, name)(persistence_store=made, config=settings, key_prefix=key_prefix, **more)(
            function
        )

    found: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for call in make(decorate):
            call(payload)
    return found


@pytest.fixture(params=[None, "payments-prod"], ids=["outside of Lambda", "in Lambda"])
def _lambda_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    if request.param is not None:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", request.param)


@pytest.mark.usefixtures("_lambda_name")
@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    payload=PAYLOADS,
    key=EXPRESSIONS,
    validation=EXPRESSIONS,
    digest=st.sampled_from(["md5", "sha256", "blake2b"]),
    key_prefix=st.none() | st.just("orders"),
)
def test_decorated_functions_have_the_originals_keys_and_hashes(
    name: str, payload: Any, key: str, validation: str, digest: str, key_prefix: Any
) -> None:
    config = {
        "event_key_jmespath": key,
        "payload_validation_jmespath": validation,
        "hash_function": digest,
    }
    theirs: Any = None
    with contextlib.suppress(Exception):  # where the original fails there is nothing to compare
        theirs = claims(original, OriginalLayer, name, payload, key_prefix, config)
    if theirs is not None:
        assert claims(idemproof, OurLayer, name, payload, key_prefix, config) == theirs


@pytest.mark.usefixtures("_lambda_name")
@pytest.mark.parametrize("name", KINDS)
def test_prefixes_name_the_place_of_each_function(name: str) -> None:
    theirs = claims(original, OriginalLayer, name, {"id": 1}, None, {})
    assert len({key.partition("#")[0] for key, _ in theirs}) == len(theirs) >= 3
    assert claims(idemproof, OurLayer, name, {"id": 1}, None, {}) == theirs


@pytest.mark.parametrize("name", KINDS)
def test_a_key_prefix_keeps_the_keys_of_functions_that_were_elsewhere(name: str) -> None:
    for key, _ in claims(original, OriginalLayer, name, {"id": 1}, None, {}):
        moved = claims(idemproof, OurLayer, name, {"id": 1}, key.partition("#")[0], {})
        assert {new for new, _ in moved} == {key}
