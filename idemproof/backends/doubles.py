"""What stands in for a client or a layer in tests."""

from typing import Any


def is_double(thing: Any) -> bool:
    """Return whether a thing is a mock: it has whatever it is asked for, and notes each call."""
    return any(kind.__module__ in ("unittest.mock", "mock.mock") for kind in type(thing).__mro__)
