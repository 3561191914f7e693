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
    "other": ("another payload: other_json or other_body", lambda target: target.other),
    "other_query": ("another query: other_query", lambda target: target.other_query),
    "json": ("a JSON object as payload: json", lambda target: isinstance(target.request.json, dict)),
    "integer": ("a payload with a whole number", lambda target: integer_of(target.request.json)),
    "second": ("a second client: tenants.second", lambda target: target.second),
    "rotated": ("a renewed credential: tenants.rotated", lambda target: target.rotated),
    "invalid": ("an invalid credential: tenants.invalid", lambda target: target.invalid),
    "second_service": ("a second service: second_service", lambda target: target.second_service),
    "counter": ("a way to count effects: effects", lambda target: target.effects),
    "window": ("how long answers are kept: window_seconds", lambda target: target.window_seconds),
    "restart": ("a command to restart it: process.restart", lambda target: target.process.restart),
    "terminate": ("a command to terminate it: process.terminate", lambda target: target.process.terminate),
    "kill": ("a command to kill it: process.kill", lambda target: target.process.kill),
}
"""What a check may need: how a sentence calls it, and whether the target has it."""


def integer_of(json: object) -> str | None:
    """Return the name of the first whole number in a JSON object, or None."""
    if not isinstance(json, dict):
        return None
    return next(
        (name for name, value in json.items() if isinstance(value, int) and not isinstance(value, bool)), None
    )


def require_needs(check: HttpCheck, target: Target) -> None:
    """Raise :class:`NotOffered` unless the target has what the check needs."""
    for need in check.needs:
        if need in NEEDS:
            named, has = NEEDS[need]
            if not has(target):
                raise NotOffered(f"the target does not describe {named}")
        elif need not in target.requests:
            raise NotOffered(f"the target does not describe such a request: requests.{need}")


def check(
    tier: str, *clauses: str, needs: tuple[str, ...] = ()
) -> Callable[[Callable[["HttpCase"], None]], Callable[["HttpCase"], None]]:
    """Register a function as a check. Its name and the first line of its docstring describe the check."""

    def register(run: Callable[["HttpCase"], None]) -> Callable[["HttpCase"], None]:
        asks = (run.__doc__ or "").strip().splitlines()[0]
        CHECKS.append(HttpCheck(run.__name__.replace("_", "-"), tier, clauses, asks, run, needs))
        return run

    return register
