"""Serializers of the user's own: their word counts, once it was tried."""

from typing import Any

from ..encoding import decode, encode


class ResultChangedError(ValueError):
    """A result would not come back as it was returned. The message names a path and types, and no value."""


def stored_by(serializer: Any, result: Any) -> tuple[str, Any]:
    """Store as the user's own serializer says, and read at once what it will have to read later."""
    data = serializer.to_dict(result)
    if data is None:
        raise ResultChangedError("to_dict of its serializer gave None, which would come back as None")
    text = encode(data)
    try:
        return text, serializer.from_dict(decode(text))
    except Exception as error:
        raise ResultChangedError(
            f"from_dict of its serializer cannot read what to_dict gave ({type(error).__name__})"
        ) from error
