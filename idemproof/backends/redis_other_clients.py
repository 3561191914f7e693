"""Adapters for clients of Redis and Valkey that differ from redis-py: GLIDE, and those with three methods."""

import inspect
import os
import warnings
from typing import Any

from ..drivers.exchanges import Ask, Exchange
from ..drivers.forksafe import refuse_inherited, was_forked_unnoticed
from ..spec.errors import IdempotencyPersistenceConsistencyError
from ..spec.record import INPROGRESS, Record, ceil_seconds, same_version
from .redis_values import RedisValues
from .warning import IdempotencyWarning

_ATTEMPTS = 3

_LOCK_SECONDS = 10
"""How many seconds a takeover locks the key against other takeovers. Powertools uses the same lock."""


class Glide:
    """Gives a Valkey GLIDE client, blocking or async, the methods of redis-py.

    Parameters
    ----------
    client
        Any client with ``custom_command``.
    """

    def __init__(self, client: Any) -> None:
        self._ask = client.custom_command
        self._process = os.getpid()
        # Blocking clients reconnect after a fork of which Python notifies them. Async ones cannot.
        self._knows_forks = not inspect.iscoroutinefunction(self._ask)

    def get(self, key: str) -> Any:
        """Send GET."""
        return self._command(["GET", key])

    def execute_command(self, *words: str | bytes, **_options: Any) -> Any:
        """Send any command. GLIDE needs no options to parse the reply."""
        return self._command(list(words))

    def evalsha(self, *words: Any) -> Any:
        """Send EVALSHA."""
        return self._script("EVALSHA", *words)

    def eval(self, *words: Any) -> Any:
        """Send EVAL."""
        return self._script("EVAL", *words)

    def _script(self, command: str, script: str, keys: int, *words: str | bytes) -> Any:
        return self._command([command, script, str(keys), *words])

    def _command(self, words: list[str | bytes]) -> Any:
        if not self._knows_forks or was_forked_unnoticed():
            key = words[1 if words[0] in ("GET", "SET") else 3]
            refuse_inherited("the GLIDE client", self._process, str(key), "Make a client in each process.")
        return self._ask(words)


class ThreeMethods:
    """Builds requests for a client that has only ``get``, ``set`` and ``delete``.

    Claims are atomic. Takeovers, completions and releases read before they write, so they overwrite a write
    that happens in between: they are not fenced. Only one caller at a time takes over. It holds the lock that
    Powertools uses too, and does not release it, because others may have read before it wrote.

    Parameters
    ----------
    values
        Encodes and decodes records.
    """

    def __init__(self, values: RedisValues) -> None:
        self._values = values

    def load(self, key: str) -> Exchange:
        """Read the stored record of ``key``."""
        reply = yield Ask("get", (key,))
        return self._values.decode(key, reply) if reply else None

    def swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Exchange:
        """Replace ``expected`` with ``new``, or delete it."""
        if expected is None and new is not None:
            return (yield from self._claim(key, new, ttl_ms))
        locked = True
        if new is not None and expected is not None and new.status == INPROGRESS:
            locked = expected.owner == new.owner or (yield from self._lock(key, new.owner))
        found: Record | None = yield from self.load(key)
        if not locked or not same_version(found, expected):
            return found
        if new is not None:
            yield self._set(key, new, ttl_ms)
        elif found is not None:
            yield Ask("delete", (key,))
        return new

    def _lock(self, key: str, owner: str | None) -> Exchange:
        """Return whether ``owner`` has the lock, even if the reply to its first request was lost."""
        lock = f"{key}:lock"
        token = owner or "True"
        if (yield Ask("set", (), {"name": lock, "value": token, "ex": _LOCK_SECONDS, "nx": True})):
            return True
        return owner is not None and (yield Ask("get", (lock,))) in (owner, owner.encode())

    def _claim(self, key: str, new: Record, ttl_ms: int) -> Exchange:
        for _ in range(_ATTEMPTS):
            if (yield self._set(key, new, ttl_ms, nx=True)):
                return new
            found = yield from self.load(key)
            if found is not None:
                return found
        raise IdempotencyPersistenceConsistencyError(
            f"The store refused a claim on {key!r} {_ATTEMPTS} times, but returned no record that explains "
            "it. Retry."
        )

    def _set(self, key: str, new: Record, ttl_ms: int, **options: Any) -> Ask:
        text = self._values.encode(new).decode("ascii")
        return Ask("set", (), {"name": key, "value": text, "ex": ceil_seconds(ttl_ms), **options})


def warn_of_three_methods(client: Any) -> None:
    """Warn, once for each client, that its records are not fenced."""
    warnings.warn(
        f"{type(client).__name__} has only get, set and delete. It works, but takeovers, completions and "
        "releases are not fenced: a call that outlives its lease may overwrite the record of another. Use a "
        "client of redis, valkey or Valkey GLIDE.",
        IdempotencyWarning,
        stacklevel=2,
    )
