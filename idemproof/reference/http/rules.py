"""The rules that count for the requests to one route: its own, and those of the middleware for the rest."""

from typing import TYPE_CHECKING

from .decisions import is_released
from .messages import Response
from .routes import Route

if TYPE_CHECKING:
    from .settings import Settings


class Rules:
    """The rules of one route, made once.

    Parameters
    ----------
    settings
        The settings of the middleware, which count for what the route leaves out.
    route
        The route.
    """

    __slots__ = (
        "_kept",
        "_released",
        "durations",
        "released_errors",
        "request_limit",
        "response_limit",
        "route",
        "waits_for_the_app",
    )

    def __init__(self, settings: "Settings", route: Route) -> None:
        profile = settings.profile
        self.route = route
        self.durations = route.durations
        self.request_limit = settings.request_limit if route.request_limit is None else route.request_limit
        self.response_limit = (
            settings.response_limit if route.response_limit is None else route.response_limit
        )
        self.waits_for_the_app = (route.complete_when or settings.complete_when) == "app"
        self.released_errors = settings.released_errors
        self._kept = profile.kept.difference(route.release).union(route.keep)
        self._released = profile.released.difference(route.keep).union(route.release)

    def is_released(self, response: Response) -> bool:
        """Return whether the key is released after this response, so that a repeat runs again."""
        return is_released(response, self._released, self._kept)
