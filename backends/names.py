"""Names and numbers that a user gives to stores: of tables, attributes, ports, partitions."""

from collections.abc import Mapping
from typing import Any

from ..spec.errors import IdempotencyPersistenceConfigError


def check_names(names: Mapping[str, Any]) -> None:
    """Refuse what cannot name anything; ``names`` has each parameter's value."""
    for parameter, name in names.items():
        if not isinstance(name, str) or not name:
            raise IdempotencyPersistenceConfigError(f"{parameter} must be a name, not {name!r}.")


def check_attributes(attributes: Mapping[str, Any]) -> None:
    """Refuse no names, and two attributes of the same name: one would overwrite the other."""
    check_names(attributes)
    seen: dict[str, str] = {}
    for parameter, name in attributes.items():
        if name in seen:
            raise IdempotencyPersistenceConfigError(
                f"{seen[name]} and {parameter} are both {name!r}. Give each attribute a name of its own."
            )
        seen[name] = parameter


def check_whole(parameter: str, number: Any, least: int) -> None:
    """Refuse what is no whole number, or less than ``least``."""
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise IdempotencyPersistenceConfigError(
            f"{parameter} must be a number, {least} or more, not {number!r}."
        )
