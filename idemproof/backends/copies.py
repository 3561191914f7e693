"""Copies of layers: each has its own names, locks and connections."""

import copy
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from ..spec.errors import IdempotencyPersistenceConfigError
from .names import ChangeableNames


class Copied(ABC):
    """Copying and pickling of a layer that uses a client.

    A client that the layer has made is not copied: the copy makes its own. Copies share the objects that the
    user has supplied, and a layer with such objects cannot be pickled.
    """

    _recreated: ClassVar[frozenset[str]]
    """The attributes that each copy creates again."""
    _supplied: ClassVar[tuple[str, ...]]
    """The attributes that hold objects supplied by the user, or None."""

    @abstractmethod
    def _initialize(self) -> None:
        """Create the attributes in ``_recreated``."""

    def __copy__(self) -> Self:
        return self._twin(self._kept())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        for value in self._supplied_objects().values():
            memo[id(value)] = value
        return self._twin(copy.deepcopy(self._kept(), memo))

    def __getstate__(self) -> dict[str, Any]:
        if supplied := self._supplied_objects():
            raise IdempotencyPersistenceConfigError(
                f"{type(self).__name__} cannot be pickled with the {' and '.join(supplied)} that it was "
                "given, because connections cannot leave their process. Make a layer in each process, or "
                "give the layer the address of the store instead."
            )
        return self._kept()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._initialize()

    def _supplied_objects(self) -> dict[str, Any]:
        found = {
            name.removeprefix("_").removeprefix("supplied_"): vars(self).get(name) for name in self._supplied
        }
        return {name: value for name, value in found.items() if value is not None}

    def _kept(self) -> dict[str, Any]:
        return {
            name: copy.copy(value) if isinstance(value, ChangeableNames) else value
            for name, value in vars(self).items()
            if name not in self._recreated
        }

    def _twin(self, state: dict[str, Any]) -> Self:
        twin = object.__new__(type(self))
        twin.__setstate__(state)
        return twin
