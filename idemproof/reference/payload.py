"""From whatever a function is called with to the data that a layer's methods get, as from Powertools."""

import dataclasses
from typing import Any

from ..spec.errors import IdempotencyPayloadError


def data_for_methods(payload: Any) -> Any:
    """Return the data that a payload stands for, as Powertools does.

    The conversions are those of `keys.opening.as_plain_data`, but a dataclass is converted all the way down,
    and nothing in it is compared or refused.

    Parameters
    ----------
    payload
        The argument that the key is derived from.

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
            f"not be turned into plain data ({type(error).__name__}). Pass a dict, or correct its conversion."
        ).because(error) from error
