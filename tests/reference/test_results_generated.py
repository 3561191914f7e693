"""Generated models, types and values: each call gets the same result, or an error."""

import warnings
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generated_types import classes, models, typed
from idemproof.serialization import DataclassSerializer, PydanticSerializer
from replays import CARRIED, REFUSED, SAME, judged

_SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.clause("RES-1", "RES-2", "RES-3")
@_SETTINGS
@given(st.data())
def test_any_dataclass_comes_back_or_is_reported(data: Any) -> None:
    fields = [data.draw(typed()) for _ in range(data.draw(st.integers(1, 3)))]
    made, values = data.draw(classes(fields))
    result = data.draw(values)
    assert judged(DataclassSerializer(made), lambda: result) in (SAME, CARRIED, REFUSED)


@pytest.mark.clause("RES-1")
@_SETTINGS
@given(st.data())
def test_what_its_annotations_describe_comes_back(data: Any) -> None:
    fields = [data.draw(typed(unions=False, doubtful=False)) for _ in range(data.draw(st.integers(1, 3)))]
    made, values = data.draw(classes(fields))
    result = data.draw(values)
    assert judged(DataclassSerializer(made), lambda: result) == SAME


@pytest.mark.clause("RES-1", "RES-2", "RES-3")
@_SETTINGS
@given(st.data())
def test_any_model_comes_back_or_is_reported(data: Any) -> None:
    fields = [data.draw(typed()) for _ in range(data.draw(st.integers(1, 3)))]
    try:
        made, values = models(fields)
        result = data.draw(values)
    except (pydantic.ValidationError, pydantic.errors.PydanticUserError, TypeError):
        return  # Pydantic does not take it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert judged(PydanticSerializer(made), lambda: result) in (SAME, CARRIED, REFUSED)


@pytest.mark.clause("RES-2")
@_SETTINGS
@given(st.data())
def test_a_value_of_any_other_type_comes_back_or_is_reported(data: Any) -> None:
    hint, _ = data.draw(typed())
    _, values = data.draw(typed())
    made, _ = data.draw(classes([(hint, st.none())]))
    result = made(data.draw(values))
    assert judged(DataclassSerializer(made), lambda: result) in (SAME, CARRIED, REFUSED)
