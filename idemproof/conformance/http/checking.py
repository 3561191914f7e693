"""The definition of a check of an HTTP service, and what it needs of the target."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..suite.checks import NotOffered
from .target import Target

if TYPE_CHECKING:
    from .case import HttpCase


class HttpCheck(NamedTuple):
    """One check of an HTTP service.

    Parameters
    ----------
    name, tier, clauses, asks
        As in :class:`~idemproof.conformance.suite.checks.Check`.
    run
        Runs the check; raises :class:`~idemproof.conformance.suite.checks.Broken`.
    needs
        The parts of the target without which it is not offered; see :data:`NEEDS`.
    seen_in
        Always None: what published middlewares do is in their reports.
    """

    name: str
    tier: str
    clauses: tuple[str, ...]
    asks: str
    run: Callable[["HttpCase"], None]
    needs: tuple[str, ...]
    seen_in: str | None = None


CHECKS: list[HttpCheck] = []
"""All checks, in the order of their definition. Importing :mod:`.checks` fills it."""

NEEDS: dict[str, tuple[str, Callable[[Target], object]]] = {
    "other": ("other_json", lambda target: target.other),
    "other_query": ("other_query", lambda target: target.other_query),
    "json": ("json", lambda target: isinstance(target.request.json, dict)),
    "integer": ("json with a whole number", lambda target: integer_of(target.request.json)),
    "second": ("tenants.second", lambda target: target.second),
    "rotated": ("tenants.rotated", lambda target: target.rotated),
    "invalid": ("tenants.invalid", lambda target: target.invalid),
    "second_service": ("second_service", lambda target: target.second_service),
    "window": ("window_seconds", lambda target: target.window_seconds),
    "restart": ("process.restart", lambda target: target.process.restart),
    "terminate": ("process.terminate", lambda target: target.process.terminate),
    "kill": ("process.kill", lambda target: target.process.kill),
}
"""What a check may need: the setting of the target, and whether the target has it."""


def integer_of(json: object) -> str | None:
    """Return the name of the first whole number in a JSON object, or None."""
    if not isinstance(json, dict):
        return None
    return next(
        (name for name, value in json.items() if isinstance(value, int) and not isinstance(value, bool)), None
    )


def missing_settings(check: HttpCheck, target: Target) -> list[str]:
    """Return the settings that the target lacks for a check."""
    missing = []
    for need in check.needs:
        setting, has = NEEDS.get(
            need, (f"requests.{need}", lambda target, name=need: name in target.requests)
        )
        if not has(target):
            missing.append(setting)
    return missing


def require_settings(check: HttpCheck, target: Target) -> None:
    """Raise :class:`NotOffered` unless the target has what the check needs."""
    if missing_settings(check, target):
        raise NotOffered("the target does not describe what they need")


def check(
    tier: str, *clauses: str, needs: tuple[str, ...] = ()
) -> Callable[[Callable[["HttpCase"], None]], Callable[["HttpCase"], None]]:
    """Register a function as a check. Its name and the first line of its docstring describe the check."""

    def register(run: Callable[["HttpCase"], None]) -> Callable[["HttpCase"], None]:
        asks = (run.__doc__ or "").strip().splitlines()[0]
        CHECKS.append(HttpCheck(run.__name__.replace("_", "-"), tier, clauses, asks, run, needs))
        return run

    return register
