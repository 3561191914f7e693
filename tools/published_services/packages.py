"""The packages, with the versions that are judged, and how each protects an application by default."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Package(NamedTuple):
    """A published package with a middleware.

    Parameters
    ----------
    name, version
        The package on the index.
    store
        The store of the middleware in this trial.
    protect
        Adds the middleware to an application, as the package's own documentation shows it.
    seen
        A sentence about the set-up, or an empty text.
    """

    name: str
    version: str
    store: str
    protect: Callable[[Any], Any]
    seen: str = ""

    @property
    def requirement(self) -> str:
        """The pinned requirement for pip."""
        return f"{self.name}=={self.version}"


def _idemkit(application: Any) -> Any:
    from idemkit import IdempotencyMiddleware, InMemoryBackend  # noqa: PLC0415 - only this one is installed

    return IdempotencyMiddleware(application, backend=InMemoryBackend())


def _fastapi_idempotency(application: Any) -> Any:
    from fastapi_idempotency import IdempotencyMiddleware  # noqa: PLC0415 - same

    return IdempotencyMiddleware(application)


def _fastapi_idempotency_key(application: Any) -> Any:
    from fastapi_idempotency_key import IdempotencyMiddleware, MemoryBackend  # noqa: PLC0415 - same

    return IdempotencyMiddleware(application, backend=MemoryBackend())


def _asgi_idempotency_header(application: Any) -> Any:
    from idempotency_header_middleware import IdempotencyHeaderMiddleware  # noqa: PLC0415 - same
    from idempotency_header_middleware.backends import MemoryBackend  # noqa: PLC0415 - same

    return IdempotencyHeaderMiddleware(application, backend=MemoryBackend())


def _ichido(application: Any) -> Any:
    import fakeredis  # noqa: PLC0415 - same
    from ichido import IchidoMiddleware, RedisIdempotencyStore  # noqa: PLC0415 - same

    return IchidoMiddleware(application, store=RedisIdempotencyStore(fakeredis.FakeAsyncRedis()))


PACKAGES = (
    Package("idemkit", "1.0.2", "its store in memory", _idemkit),
    Package("fastapi-idempotency", "0.1.1", "its store in memory", _fastapi_idempotency),
    Package("fastapi-idempotency-key", "0.1.1", "its store in memory", _fastapi_idempotency_key),
    Package("asgi-idempotency-header", "0.2.0", "its store in memory", _asgi_idempotency_header),
    Package("ichido", "0.1.0", "a simulated Redis in the process", _ichido),
)


def named(name: str) -> Package:
    """Return the package of that name."""
    return next(each for each in PACKAGES if each.name == name)


def installed_in(folder: Path) -> None:
    """Find modules in ``folder`` from now on, after those of this environment."""
    sys.path.append(str(folder))
