"""Proving a persistence layer: ``check(factory)``, and a class of tests to inherit from."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .commands.layer import CommandError, CommandLayer
    from .suite.capabilities import Capabilities
    from .suite.factories import FactoryError
    from .suite.inherit import PersistenceLayerConformance
    from .suite.profiles import Profile
    from .suite.report import Report
    from .suite.runner import check

__all__ = [
    "Capabilities",
    "CommandError",
    "CommandLayer",
    "FactoryError",
    "PersistenceLayerConformance",
    "Profile",
    "Report",
    "check",
]

_HOMES = {
    "Capabilities": "suite.capabilities",
    "CommandError": "commands.layer",
    "CommandLayer": "commands.layer",
    "FactoryError": "suite.factories",
    "PersistenceLayerConformance": "suite.inherit",
    "Profile": "suite.profiles",
    "Report": "suite.report",
    "check": "suite.runner",
}

if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - the suite loads when it is used

        try:
            return getattr(import_module(f".{_HOMES[name]}", __name__), name)
        except ModuleNotFoundError as missing:
            package = "pytest" if missing.name == "pytest" else '"idemproof[conformance]"'
            raise ModuleNotFoundError(
                f"{name} needs {missing.name}, which is not installed: pip install {package}",
                name=missing.name,
            ) from missing
