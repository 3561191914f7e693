"""Custom serializers: their result is trusted after one trial rebuild."""

from typing import Any

from ..encoding import decode, encode


class ResultChangedError(ValueError):
    """A replay would differ from the result. The message names a path and types, and no value."""


def stored_by(serializer: Any, result: Any) -> tuple[str, Any]:
    """Store with a custom serializer, and read immediately what it will have to read later."""
    data = serializer.to_dict(result)
    if data is None:
        raise ResultChangedError("to_dict of its serializer returned None, which would replay as None")
    text = encode(data)
    try:
        return text, serializer.from_dict(decode(text))
    except Exception as error:
        raise ResultChangedError(
            f"from_dict of its serializer cannot read what to_dict returned ({type(error).__name__})"
        ) from error
