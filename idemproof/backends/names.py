"""Names and numbers that a user gives to stores: of tables, attributes, ports, partitions."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from ..spec.errors import IdempotencyPersistenceConfigError
from .public_methods import METHODS, REPLACED


class ChangeableNames(ABC):
    """What makes requests of names that may change between them."""

    def change(self, name: str, value: Any) -> None:
        """Give a field another value, which counts from the next request on.

        Raises
        ------
        IdempotencyPersistenceConfigError
            As when the names are first given. Then nothing has changed.
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
        """Refuse names that cannot be; note what follows from them."""


class NamesOnLayer:
    """Names of a layer that can be read from it, and set: they count from the next request on."""

    _names: ClassVar[frozenset[str]]
    """Which these are."""
    _names_holder: ClassVar[str]
    """The layer's attribute that makes requests of them, and has a method ``change``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in METHODS:
            vars(self)[REPLACED] = True
        if name in self._names:
            getattr(self, self._names_holder).change(name, value)
            value = getattr(getattr(self, self._names_holder), name)
        super().__setattr__(name, value)

    def _show_names(self) -> None:
        """Let the names be read; once what holds them is made."""
        for name in self._names:
            if isinstance(inspect.getattr_static(type(self), name, None), property):
                raise IdempotencyPersistenceConfigError(
                    f"{name} is a property of {type(self).__name__}, which no request would ask. Assign "
                    f"layer.{name} when it changes: that counts from the next request on."
                )
            super().__setattr__(name, getattr(getattr(self, self._names_holder), name))


def check_attributes(attributes: Mapping[str, Any]) -> None:
    """Refuse what cannot name anything, and two attributes of the same name: one would overwrite the other.

    A name that is missing passes: see :func:`missing`.
    """
    seen: dict[str, str] = {}
    for parameter, name in attributes.items():
        check_name(parameter, name)
        if name and name in seen:
            raise IdempotencyPersistenceConfigError(
                f"{seen[name]} and {parameter} are both {name!r}. Give each attribute a name of its own."
            )
        seen[name] = parameter


def check_name(parameter: str, name: Any) -> None:
    """Refuse what is no text. None and empty text are no name yet."""
    if name is not None and not isinstance(name, str):
        raise IdempotencyPersistenceConfigError(f"{parameter} must be a name, not {name!r}.")


def missing(names: Mapping[str, Any]) -> str:
    """Return which names are missing, '' for none.

    That is an error when something is to be stored, not before: a module can be imported without its
    settings, and its functions called while idempotency is switched off.
    """
    return " and ".join(
        f"{parameter} is {name!r}" for parameter, name in names.items() if name is None or name == ""
    )


def whole(parameter: str, number: Any, least: int) -> int:
    """Return a number; a text of digits, as environment variables are, is one.

    Raises
    ------
    IdempotencyPersistenceConfigError
        It is no whole number, or less than ``least``.
    """
    found = number
    if isinstance(number, str) and number.strip().isdecimal():
        found = int(number)
    if isinstance(found, bool) or not isinstance(found, int) or found < least:
        raise IdempotencyPersistenceConfigError(
            f"{parameter} must be a number, {least} or more, not {number!r}."
        )
    return found
