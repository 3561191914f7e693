"""What a service of this package is, and the registers of all of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from idemproof.conformance.suite.consequences import Consequence

from .foundation import Service


class Kind(NamedTuple):
    """A service of this package.

    Parameters
    ----------
    name
        Its name, such as ``no-scope``.
    make
        Makes the ASGI application, with the file for its answers or None.
    consequence
        What its fault leads to; None if it is correct.
    tier
        The tier that detects the fault, or None.
    settings
        What the target says in addition, or instead.
    is_process
        Whether it must run as a process, because its fault shows when that ends.
    """

    name: str
    make: Callable[[Path | None], Any]
    consequence: Consequence | None = None
    tier: str | None = None
    settings: Mapping[str, Any] = MappingProxyType({})
    is_process: bool = False


SERVICES: dict[str, Kind] = {}
"""All services, by name."""


def broken(
    consequence: Consequence, tier: str, *, is_process: bool = False, **settings: Any
) -> Callable[[type[Service]], type[Service]]:
    """Register a service with one fault."""

    def register(service: type[Service]) -> type[Service]:
        name = _name_of(service)
        SERVICES[name] = Kind(name, service, consequence, tier, settings, is_process)
        return service

    return register


def correct(*, is_process: bool = False, **settings: Any) -> Callable[[type[Service]], type[Service]]:
    """Register a service without a fault."""

    def register(service: type[Service]) -> type[Service]:
        name = _name_of(service)
        SERVICES[name] = Kind(name, service, None, None, settings, is_process)
        return service

    return register


def _name_of(service: type[Service]) -> str:
    name = "".join(f"-{each.lower()}" if each.isupper() else each for each in service.__name__)
    return name.lstrip("-")
