"""Recognizes mocks of clients and layers."""

from typing import Any


def is_double(thing: Any) -> bool:
    """Return whether an object is a mock, which has every attribute and records each call."""
    return any(kind.__module__ in ("unittest.mock", "mock.mock") for kind in type(thing).__mro__)
