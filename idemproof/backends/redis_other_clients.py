"""Clients of Redis and Valkey beside redis-py's protocol: GLIDE's, and those with three methods alone."""

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

_LOOKS = 3

_LOCK_SECONDS = 10
"""How long a takeover keeps others from one, as in Powertools, whose lock this is."""


class Glide:
    """A client of Valkey GLIDE's, blocking or async, asked as one of redis-py's is.

    Parameters
    ----------
    client
        Any client with ``custom_command``.
    """

    def __init__(self, client: Any) -> None:
        self._ask = client.custom_command
        self._process = os.getpid()
        # It renews itself where Python tells it of a fork. The async ones cannot.
        self._knows_forks = not inspect.iscoroutinefunction(self._ask)

    def get(self, key: str) -> Any:
        """Ask for GET."""
        return self._command(["GET", key])

    def execute_command(self, *words: str | bytes, **_options: Any) -> Any:
        """Ask for any command. GLIDE needs no word on how to read the reply."""
        return self._command(list(words))

    def evalsha(self, *words: Any) -> Any:
        """Ask for EVALSHA."""
        return self._script("EVALSHA", *words)

    def eval(self, *words: Any) -> Any:
        """Ask for EVAL."""
        return self._script("EVAL", *words)

    def _script(self, command: str, script: str, keys: int, *words: str | bytes) -> Any:
        return self._command([command, script, str(keys), *words])

    def _command(self, words: list[str | bytes]) -> Any:
        if not self._knows_forks or was_forked_unnoticed():
            key = words[1 if words[0] in ("GET", "SET") else 3]
            refuse_inherited("the GLIDE client", self._process, str(key), "Make a client in each process.")
        return self._ask(words)


class ThreeMethods:
    """What is asked of a client that has ``get``, ``set`` and ``delete`` alone.

    Claims are atomic. Takeovers, completions and releases look first and write then, so another's write in
    between is lost: they are not fenced. One caller at a time takes over: it has the lock that Powertools
    uses too, and does not give it back, since others may have looked before it wrote.

    Parameters
    ----------
    values
        How records are written.
    """

    def __init__(self, values: RedisValues) -> None:
        self._values = values

    def load(self, key: str) -> Exchange:
        """Read what stands for ``key``."""
        reply = yield Ask("get", (key,))
        return self._values.decode(key, reply) if reply else None

    def swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Exchange:
        """Put ``new`` where ``expected`` stands, or delete it."""
        if expected is None and new is not None:
            return (yield from self._claim(key, new, keep_ms))
        locked = True
        if new is not None and expected is not None and new.status == INPROGRESS:
            locked = expected.owner == new.owner or (yield from self._lock(key, new.owner))
        found: Record | None = yield from self.load(key)
        if not locked or not same_version(found, expected):
            return found
        if new is not None:
            yield self._set(key, new, keep_ms)
        elif found is not None:
            yield Ask("delete", (key,))
        return new

    def _lock(self, key: str, owner: str | None) -> Exchange:
        """Return whether ``owner`` may take over, also if the reply to its first request was lost."""
        lock = f"{key}:lock"
        token = owner or "True"
        if (yield Ask("set", (), {"name": lock, "value": token, "ex": _LOCK_SECONDS, "nx": True})):
            return True
        return owner is not None and (yield Ask("get", (lock,))) in (owner, owner.encode())

    def _claim(self, key: str, new: Record, keep_ms: int) -> Exchange:
        for _ in range(_LOOKS):
            if (yield self._set(key, new, keep_ms, nx=True)):
                return new
            found = yield from self.load(key)
            if found is not None:
                return found
        raise IdempotencyPersistenceConsistencyError(
            f"The store neither takes nor has a record of {key!r}, asked {_LOOKS} times. Retry."
        )

    def _set(self, key: str, new: Record, keep_ms: int, **options: Any) -> Ask:
        text = self._values.encode(new).decode("ascii")
        return Ask("set", (), {"name": key, "value": text, "ex": ceil_seconds(keep_ms), **options})


def warn_of_three_methods(client: Any) -> None:
    """Say, once for each client, what it cannot do."""
    warnings.warn(
        f"{type(client).__name__} has get, set and delete alone. It works, but takeovers, completions and "
        "releases are not fenced: a call that outlives its lease may overwrite another's record. Give a "
        "client of redis, valkey or Valkey GLIDE.",
        IdempotencyWarning,
        stacklevel=2,
    )
