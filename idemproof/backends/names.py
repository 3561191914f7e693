"""Checks of names and numbers that users set: tables, attributes, ports, partitions."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from ..spec.errors import IdempotencyPersistenceConfigError
from .public_methods import METHODS, REPLACED


class ChangeableNames(ABC):
    """Builds requests from names that may change between requests."""

    def change(self, name: str, value: Any) -> None:
        """Change the value of a field from the next request on.

        Raises
        ------
        IdempotencyPersistenceConfigError
            The value is invalid, as in the constructor. Nothing changed.
        """
        before = getattr(self, name)
        setattr(self, name, value)
        try:
            self._check()
        except IdempotencyPersistenceConfigError:
            setattr(self, name, before)
            raise

    @abstractmethod
    def _check(self) -> None:
        """Refuse invalid names, and update the values that depend on names."""


class NamesOnLayer:
    """Names that can be read and set on a layer. A new name is used from the next request on."""

    _names: ClassVar[frozenset[str]]
    """The attributes with these names."""
    _names_holder: ClassVar[str]
    """The attribute that holds the :class:`ChangeableNames`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in METHODS:
            vars(self)[REPLACED] = True
        if name in self._names:
            getattr(self, self._names_holder).change(name, value)
            value = getattr(getattr(self, self._names_holder), name)
        super().__setattr__(name, value)

    def _show_names(self) -> None:
        """Copy the names to the layer, once the object that holds them exists."""
        for name in self._names:
            if isinstance(inspect.getattr_static(type(self), name, None), property):
                raise IdempotencyPersistenceConfigError(
                    f"{name} is a property of {type(self).__name__}, which requests do not read. Set "
                    f"layer.{name} when it changes instead. Requests use the new value from then on."
                )
            super().__setattr__(name, getattr(getattr(self, self._names_holder), name))


def check_attributes(attributes: Mapping[str, Any]) -> None:
    """Refuse invalid names, and two attributes with the same name, because one would overwrite the other.

    A missing name passes; see :func:`missing`.
    """
    seen: dict[str, str] = {}
    for parameter, name in attributes.items():
        check_name(parameter, name)
        if name and name in seen:
            raise IdempotencyPersistenceConfigError(
                f"{seen[name]} and {parameter} are both {name!r}. Give each attribute a different name."
            )
        seen[name] = parameter


def check_name(parameter: str, name: Any) -> None:
    """Refuse a name that is not text. None and empty text pass as missing names."""
    if name is not None and not isinstance(name, str):
        raise IdempotencyPersistenceConfigError(f"{parameter} must be a name, not {name!r}.")


def missing(names: Mapping[str, Any]) -> str:
    """Return a text that lists the missing names, or '' if there are none.

    A missing name is an error at the first request and not before. So a module can be imported without its
    settings, and its functions can be called while idempotency is disabled.
    """
    return " and ".join(
        f"{parameter} is {name!r}" for parameter, name in names.items() if name is None or name == ""
    )


def whole(parameter: str, number: Any, least: int) -> int:
    """Return a whole number, also from a text of digits such as an environment variable.

    Raises
    ------
    IdempotencyPersistenceConfigError
        The value is not a whole number, or less than ``least``.
    """
    found = number
    if isinstance(number, str) and number.strip().isdecimal():
        found = int(number)
    if isinstance(found, bool) or not isinstance(found, int) or found < least:
        raise IdempotencyPersistenceConfigError(
            f"{parameter} must be a number, {least} or more, not {number!r}."
        )
    return found
