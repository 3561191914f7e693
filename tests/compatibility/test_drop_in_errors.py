"""The errors that users of Powertools catch: the same ``except`` clause catches ours."""

import datetime as dt
from typing import Any

import pytest
from aws_lambda_powertools.utilities.idempotency import exceptions as original_errors

import idemproof.errors
from both_sides import CONTEXT, OURS

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("client")]


def call(side: Any, event: Any, body: Any = None, table: str = "orders", **config: Any) -> Any:
    runs = []

    def handler(event: Any, context: Any) -> Any:
        runs.append(event)
        return body

    protected = side.idempotent(
        persistence_store=side.DynamoDB(table), config=side.Config(**config), key_prefix="pay"
    )(handler)
    try:
        protected(event, CONTEXT)
    except Exception as error:
        error.runs = len(runs)  # type: ignore[attr-defined]  # for the tests below
        raise
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "result",
    [{"tags": {"a"}}, {"on": dt.date(2024, 1, 1)}, {"raw": b"x"}, {("a", "b"): 1}],
    ids=repr,
)
def test_a_result_that_is_no_json_is_an_error_of_the_layer(side: Any, result: Any) -> None:
    with pytest.raises(side.errors.IdempotencyPersistenceLayerError) as raised:
        call(side, {"id": 1}, result)
    assert isinstance(raised.value.args[1], TypeError)
    assert raised.value.runs == 1
    if side is OURS:
        assert raised.value.result is result
        with pytest.raises(side.errors.IdempotencyResultUnavailableError) as again:
            call(side, {"id": 1}, result)
        assert again.value.runs == 0


@pytest.mark.parametrize(
    ("event", "config"),
    [
        ({"no": "body"}, {"event_key_jmespath": "powertools_json(body).id"}),
        ({"body": "{"}, {"event_key_jmespath": "powertools_json(body).id"}),
        ({"body": 5}, {"event_key_jmespath": "powertools_base64(body)"}),
        ({"id": {1, 2}}, {}),
        ({"id": b"raw"}, {"event_key_jmespath": "id"}),
        ({"id": 1, "amount": {1}}, {"event_key_jmespath": "id", "payload_validation_jmespath": "amount"}),
        (
            {"id": 1},
            {"event_key_jmespath": "id", "payload_validation_jmespath": "powertools_json(amount)"},
        ),
    ],
    ids=repr,
)
def test_a_payload_that_cannot_be_read_is_an_error_of_the_layer(side: Any, event: Any, config: Any) -> None:
    with pytest.raises(side.errors.IdempotencyPersistenceLayerError) as raised:
        call(side, event, "never", **config)
    assert raised.value.runs == 0
    assert isinstance(raised.value.args[1], Exception)
    if side is OURS:
        assert isinstance(raised.value, idemproof.errors.IdempotencyKeyError)


def test_a_key_that_is_missing_is_an_error_of_keys_alone(side: Any) -> None:
    with pytest.raises(side.errors.IdempotencyKeyError) as raised:
        call(side, {}, event_key_jmespath="id", raise_on_no_idempotency_key=True)
    assert not isinstance(raised.value, side.errors.IdempotencyPersistenceLayerError)
    assert raised.value.runs == 0


def test_a_table_that_does_not_exist_is_an_error_of_the_layer_with_its_cause(side: Any) -> None:
    with pytest.raises(side.errors.IdempotencyPersistenceLayerError) as raised:
        call(side, {"id": 1}, table="nowhere")
    assert type(raised.value.args[1]).__name__ == "ResourceNotFoundException"
    assert raised.value.__cause__ is raised.value.args[1]
    assert "ResourceNotFoundException" in str(raised.value)
    assert raised.value.runs == 0


def test_one_attribute_for_two_keys_is_a_value_error(side: Any) -> None:
    with pytest.raises(ValueError, match="key_attr"):
        side.DynamoDB("orders", key_attr="id", sort_key_attr="id")


def test_a_switch_that_is_no_truth_is_a_value_error(side: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "perhaps")
    with pytest.raises(ValueError, match="perhaps"):
        call(side, {"id": 1})


EACH = sorted(
    name
    for name, kind in vars(original_errors).items()
    if isinstance(kind, type) and issubclass(kind, Exception)
)


@pytest.mark.parametrize("name", EACH)
def test_each_error_of_the_original_is_here_with_its_bases(name: str) -> None:
    theirs, ours = getattr(original_errors, name), getattr(idemproof.errors, name)
    for base in theirs.__mro__:
        named = getattr(idemproof.errors, base.__name__, base)
        assert issubclass(ours, named)
    one, other = theirs("What happened", "why", 5), ours("What happened", "why", 5)
    assert (other.message, other.details, str(other), other.args) == (
        *(one.message, one.details, str(one), one.args),
    )


def test_all_errors_of_ours_are_caught_by_the_common_base() -> None:
    for name in idemproof.errors.__all__:
        assert issubclass(getattr(idemproof.errors, name), idemproof.errors.BaseError)
