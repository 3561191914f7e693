"""Pydantic models: the forms in which they are stored, and how they are read."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..encoding import encode

Dump = Callable[[Any], Any]


def is_model(kind: Any) -> bool:
    """Return whether a class is a Pydantic model, or goes by its methods."""
    return callable(getattr(kind, "model_dump", None)) and callable(getattr(kind, "model_validate", None))


def _dump(model: Any, **options: Any) -> Any:
    # A value of another type than its field's is found by comparing: no warning is needed.
    if hasattr(type(model), "__pydantic_serializer__"):
        options["warnings"] = False
    return model.model_dump(mode="json", **options)


_AS_JSON = "idemproof:json"


def _dump_as_json(model: Any) -> list[Any]:
    # A list, so that software which does not know it takes it for no model's data.
    return [_AS_JSON, _dump(model, round_trip=True, by_alias=False)]


FORMS: tuple[Dump, ...] = (
    _dump,
    functools.partial(_dump, round_trip=True),
    functools.partial(_dump, round_trip=True, by_alias=False),
    functools.partial(_dump, round_trip=True, by_alias=True),
    _dump_as_json,
)
"""What makes data of a model. Other software that shares the store writes the first form.

The second leaves out what the model computes, and writes JSON texts as texts. The third has the fields' own
names, the fourth their aliases. The last is marked, and is read as JSON text: Pydantic then knows that a UUID
or a date had to be written as text, and finds it in a union with ``str``.
"""


def model_reader(model: Any) -> Callable[[Any], Any]:
    """Return what validates a model's stored data.

    Parameters
    ----------
    model
        A class with a ``model_validate`` method.
    """
    # Not even a strict model gets more than JSON can tell: its dates are stored as text.
    options = {"strict": False}
    if "by_name" in inspect.signature(model.model_validate).parameters:
        # The third form has the fields' own names, whatever aliases they are validated by.
        options |= {"by_alias": True, "by_name": True}

    def read(data: Any) -> Any:
        if type(data) is list and len(data) == _MARKED and data[0] == _AS_JSON:
            return model.model_validate_json(encode(data[1]), **options)
        return model.model_validate(data, **options)

    return read


_MARKED = 2
