"""The stored forms of Pydantic models, and how they are validated on replay."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..encoding import encode

Dump = Callable[[Any], Any]


def is_model(kind: Any) -> bool:
    """Return whether a class is a Pydantic model, or has its methods."""
    return callable(getattr(kind, "model_dump", None)) and callable(getattr(kind, "model_validate", None))


def _dump(model: Any, **options: Any) -> Any:
    # The comparison finds a value whose type is not its field's: no warning is needed.
    if hasattr(type(model), "__pydantic_serializer__"):
        options["warnings"] = False
    return model.model_dump(mode="json", **options)


_AS_JSON = "idemproof:json"


def _dump_as_json(model: Any) -> list[Any]:
    # A list, so that software that does not know this form does not read it as a model's data.
    return [_AS_JSON, _dump(model, round_trip=True, by_alias=False)]


FORMS: tuple[Dump, ...] = (
    _dump,
    functools.partial(_dump, round_trip=True),
    functools.partial(_dump, round_trip=True, by_alias=False),
    functools.partial(_dump, round_trip=True, by_alias=True),
    _dump_as_json,
)
"""The functions that dump a model, one for each stored form.

Powertools, which may share the store, writes the first form. The second leaves out computed fields, and
writes JSON texts as texts. The third uses field names, the fourth aliases. The last is marked, and is read
as JSON text: Pydantic then knows that a UUID or a date had to be written as text, and finds it in a union
with ``str``.
"""


def model_reader(model: Any) -> Callable[[Any], Any]:
    """Return the function that validates a model's stored data.

    Parameters
    ----------
    model
        A class with a ``model_validate`` method.
    """
    # Strict validation would refuse dates, which JSON can only store as text.
    options = {"strict": False}
    if "by_name" in inspect.signature(model.model_validate).parameters:
        # The third form uses field names, whatever their validation aliases.
        options |= {"by_alias": True, "by_name": True}

    def read(data: Any) -> Any:
        if type(data) is list and len(data) == _MARKED and data[0] == _AS_JSON:
            return model.model_validate_json(encode(data[1]), **options)
        return model.model_validate(data, **options)

    return read


_MARKED = 2
