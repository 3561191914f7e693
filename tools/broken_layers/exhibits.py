"""The registry of broken and correct layers."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from idemproof.conformance.suite.capabilities import Capabilities
from idemproof.conformance.suite.factories import Factory

ANYTHING = Capabilities()
"""The default claims of a layer."""

FENCED = Capabilities(fenced=True)
UNFENCED = Capabilities(fenced=False)
"""The claims of a layer by the four documented methods, in so many words: with owners, and without."""

FORKS = Capabilities(forks=True)
"""The claims of a layer that both a process and its forked child may use."""


class Sample(NamedTuple):
    """A broken or correct layer to test the suite with.

    Parameters
    ----------
    name
        The unique name, such as ``claims-without-looking``.
    make
        Returns a factory for one ``check``. The layers that the factory makes share a new store, if the store
        can be shared.
    violates
        The clauses that it breaks, each with the tier that must find it; empty if the layer is correct.
    sentence
        The fault of a broken layer, or the design of a correct one.
    seen_in
        The published software that has this fault, or None.
    capabilities
        What the layer claims.
    profile
        The fastest profile that finds the fault.
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
        """The tiers that must find something, each once."""
        return tuple(dict.fromkeys(self.violates.values()))


BROKEN: dict[str, Sample] = {}
"""Broken layers, each with one fault, by name."""

CORRECT: dict[str, Sample] = {}
"""Correct layers, each with a different design, by name."""


class Exhibit(Protocol):
    """The requirements on a class of layers to be registered."""

    __name__: str

    def factory(self) -> Factory:
        """Return a factory of layers of this class over one store."""


Kind = TypeVar("Kind", bound=Any)


def broken(
    *,
    seen_in: str | None = None,
    capabilities: Capabilities = ANYTHING,
    profile: str = "quick",
    **violates: str,
) -> Callable[[Kind], Kind]:
    """Register a class as a broken layer; its docstring states the fault.

    ``CAS_2="contract"`` states that it breaks CAS-2, and that the contract tier must find that.
    """
    by_clause = {name.replace("_", "-"): tier for name, tier in violates.items()}

    def register(kind: Kind) -> Kind:
        _register(BROKEN, kind, by_clause, seen_in, capabilities, profile)
        return kind

    return register


def correct(*, capabilities: Capabilities = ANYTHING) -> Callable[[Kind], Kind]:
    """Register a class as a correct layer; its docstring states the design."""

    def register(kind: Kind) -> Kind:
        _register(CORRECT, kind, {}, None, capabilities)
        return kind

    return register


def _register(
    registry: dict[str, Sample],
    kind: Any,
    violates: Mapping[str, str],
    seen_in: str | None,
    capabilities: Capabilities,
    profile: str = "quick",
) -> None:
    name = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z0-9])(?=[A-Z])", "-", kind.__name__).lower()
    sentence = (kind.__doc__ or "").strip().splitlines()[0]
    assert not any(name in each for each in (BROKEN, CORRECT)), f"two layers have the name {name}"
    registry[name] = Sample(name, kind.factory, violates, sentence, seen_in, capabilities, profile)
