"""The registry of the zoo: what an sample is, and how one gets in."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from idemproof.conformance.suite.capabilities import Capabilities
from idemproof.conformance.suite.factories import Factory

ANYTHING = Capabilities()
"""What a layer is assumed to claim if it says nothing."""

UNFENCED = Capabilities(fenced=False)
"""What a layer claims that knows no owners."""


class Sample(NamedTuple):
    """A layer to be judged, broken or not.

    Parameters
    ----------
    name
        Its own, such as ``claims-without-looking``.
    make
        Gives a factory for one ``check``: the layers that it makes share a store of their own, if it is one
        that can be shared.
    violates
        The clauses that it breaks, each with the tier where that must be seen; empty if it is right.
    sentence
        What is wrong with it, or how it is made if it is right.
    seen_in
        The published software that has this fault, or None.
    capabilities
        What it claims.
    profile
        The quickest profile that finds it.
    """

    name: str
    make: Callable[[], Factory]
    violates: Mapping[str, str]
    sentence: str
    seen_in: str | None = None
    capabilities: Capabilities = ANYTHING
    profile: str = "quick"

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers where something must be seen, each once."""
        return tuple(dict.fromkeys(self.violates.values()))


BROKEN: dict[str, Sample] = {}
"""Layers that are wrong, each in one way, by name."""

CORRECT: dict[str, Sample] = {}
"""Layers that are right, each in its own way, by name."""


class Exhibit(Protocol):
    """What a class of layers needs for the zoo."""

    __name__: str

    def factory(self) -> Factory:
        """Return what makes layers of this class over one store."""


Kind = TypeVar("Kind", bound=Any)


def broken(
    *,
    seen_in: str | None = None,
    capabilities: Capabilities = ANYTHING,
    profile: str = "quick",
    **violates: str,
) -> Callable[[Kind], Kind]:
    """Register a class as a broken layer; its docstring says what is wrong.

    ``CAS_2="contract"`` says that it breaks CAS-2, and that the contract tier must see that.
    """
    by_clause = {name.replace("_", "-"): tier for name, tier in violates.items()}

    def register(kind: Kind) -> Kind:
        _admit(BROKEN, kind, by_clause, seen_in, capabilities, profile)
        return kind

    return register


def correct(*, capabilities: Capabilities = ANYTHING) -> Callable[[Kind], Kind]:
    """Register a class as a right layer; its docstring says how it is made."""

    def register(kind: Kind) -> Kind:
        _admit(CORRECT, kind, {}, None, capabilities)
        return kind

    return register


def _admit(
    house: dict[str, Sample],
    kind: Any,
    violates: Mapping[str, str],
    seen_in: str | None,
    capabilities: Capabilities,
    profile: str = "quick",
) -> None:
    name = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z0-9])(?=[A-Z])", "-", kind.__name__).lower()
    sentence = (kind.__doc__ or "").strip().splitlines()[0]
    assert not any(name in each for each in (BROKEN, CORRECT)), f"two samples are called {name}"
    house[name] = Sample(name, kind.factory, violates, sentence, seen_in, capabilities, profile)
