"""The attempt of a body, in tests of bodies that complete within transactions."""

from typing import Any

from idemproof import current_attempt


def attempt() -> Any:
    """Return the attempt whose body runs here."""
    found = current_attempt()
    assert found is not None
    return found


def complete(result: Any, within: Any, **options: Any) -> Any:
    """Complete the attempt whose body runs here, and return the result."""
    return attempt().complete(result, within=within, **options)


class BodyError(Exception):
    """What a body raises."""
