"""Small HTTP services with one fault each, and correct ones: they test the judge of HTTP services."""

from . import claims, correct, headers, keys, outside, payloads, stores  # noqa: F401 - they register themselves
from .kinds import SERVICES, Kind

__all__ = ["SERVICES", "Kind"]
