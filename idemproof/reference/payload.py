"""Convert payloads to the data that a layer's public methods get, as Powertools does."""

import dataclasses
from typing import Any

from ..spec.errors import IdempotencyPayloadError


def data_for_methods(payload: Any) -> Any:
    """Convert a payload to data as Powertools does.

    The conversions are those of `keys.opening.as_plain_data`, but a dataclass is converted at all levels, and
    no value in it is compared or refused.

    Parameters
    ----------
    payload
        The argument from which the key is derived.

    Raises
    ------
    IdempotencyPayloadError
        The payload's own conversion failed.
    """
    if type(payload) is dict or isinstance(payload, type):
        return payload
    try:
        if hasattr(payload, "__dataclass_fields__"):
            return dataclasses.asdict(payload)
        if callable(dump := getattr(payload, "model_dump", None)):
            return dump(mode="json")
        if callable(dump := getattr(payload, "dict", None)):
            return dump()
        return getattr(payload, "raw_event", payload)
    except Exception as error:
        raise IdempotencyPayloadError(
            f"No idempotency key can be derived: the payload, of type {type(payload).__qualname__}, could "
            f"not be converted to plain data ({type(error).__name__}). Pass a dict, or fix its conversion."
        ).because(error) from error
