"""Copies of layers: each has names, locks and connections of its own."""

import copy
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from ..spec.errors import IdempotencyPersistenceConfigError
from .names import ChangeableNames


class Copied(ABC):
    """What a layer over a client is copied and pickled by.

    A client that the layer has made is not copied: the copy makes its own. What the user has brought is
    shared by copies, and keeps a layer from being pickled.
    """

    _made_anew: ClassVar[frozenset[str]]
    """The attributes that each copy gets its own of."""
    _brought: ClassVar[tuple[str, ...]]
    """The attributes that hold what the user has brought, if anything."""

    @abstractmethod
    def _begin(self) -> None:
        """Make what is made anew."""

    def __copy__(self) -> Self:
        return self._twin(self._kept())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        for thing in self._brought_things().values():
            memo[id(thing)] = thing
        return self._twin(copy.deepcopy(self._kept(), memo))

    def __getstate__(self) -> dict[str, Any]:
        if brought := self._brought_things():
            raise IdempotencyPersistenceConfigError(
                f"{type(self).__name__} cannot be pickled with the {' and '.join(brought)} that it was "
                "given: connections do not leave their process. Make a layer in each process, or give it "
                "what says where the store is."
            )
        return self._kept()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def _brought_things(self) -> dict[str, Any]:
        found = {
            name.removeprefix("_").removeprefix("brought_"): vars(self).get(name) for name in self._brought
        }
        return {name: thing for name, thing in found.items() if thing is not None}

    def _kept(self) -> dict[str, Any]:
        return {
            name: copy.copy(value) if isinstance(value, ChangeableNames) else value
            for name, value in vars(self).items()
            if name not in self._made_anew
        }

    def _twin(self, state: dict[str, Any]) -> Self:
        twin = object.__new__(type(self))
        twin.__setstate__(state)
        return twin
