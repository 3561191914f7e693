"""Keys of generated models and dataclasses: equal only if the values are, and the same for equal values."""

import copy
import warnings
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from derived_keys import REFUSED, derived
from generated_types import classes, models, typed
from idemproof.reference.results.comparing import difference

_SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def assert_equal_only_if_the_values_are(one: Any, other: Any) -> None:
    differ = difference(one, other) is not None and one != other
    for key, check in (("", ""), ("[`1`, f0]", ""), ("`1`", "@")):
        first, second, again = (
            derived(value, key, check, warned="ignore") for value in (one, other, copy.deepcopy(one))
        )
        assert first == again
        assert (
            first != second or first == REFUSED or not differ or (key == "[`1`, f0]" and _alike(one, other))
        )


def _alike(one: Any, other: Any) -> bool:
    return difference(one.f0, other.f0) is None or one.f0 == other.f0


@pytest.mark.clause("KEY-1", "KEY-6")
@_SETTINGS
@given(st.data())
def test_keys_of_any_dataclass_are_equal_only_if_the_values_are(data: Any) -> None:
    fields = [data.draw(typed(unions=False, doubtful=False)) for _ in range(data.draw(st.integers(1, 3)))]
    _, values = data.draw(classes(fields))
    one = data.draw(values)
    other = copy.copy(one)
    changed = data.draw(st.integers(0, len(fields) - 1))
    setattr(other, f"f{changed}", data.draw(fields[changed][1]))
    assert_equal_only_if_the_values_are(one, other)


@pytest.mark.clause("KEY-1", "KEY-4", "KEY-6")
@_SETTINGS
@given(st.data())
def test_keys_of_any_model_are_equal_only_if_the_values_are(data: Any) -> None:
    fields = [data.draw(typed(unions=False, doubtful=False)) for _ in range(data.draw(st.integers(1, 3)))]
    changed = data.draw(st.integers(0, len(fields) - 1))
    try:
        made, values = models(fields)
        one = data.draw(values)
        other = made.model_validate({**vars(one), f"f{changed}": data.draw(fields[changed][1])})
        one = made.model_validate(vars(one))
    except (pydantic.ValidationError, pydantic.errors.PydanticUserError, TypeError):
        return  # Pydantic does not take it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_equal_only_if_the_values_are(one, other)
