"""Correct layers over stores, each with a different design. No check may report any of them as broken."""

from idemproof.conformance.suite.capabilities import Capabilities
from idemproof.spec.record import Record, same_version

from .exhibits import correct
from .over_redis import ONE_PROCESS, Values, decoded, encoded
from .over_sqlite import Table, write


@correct(capabilities=Capabilities(durable=True))
class ByConditionalUpdates(Table):
    """A SQLite table; the condition of each statement contains the expected version."""


@correct(capabilities=Capabilities(durable=True))
class ByATransaction(Table):
    """A SQLite table; it reads, compares and writes in one exclusive transaction."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:  # noqa: ARG002
        with self.connection() as db:
            db.execute("BEGIN IMMEDIATE")
            current = self.read(db, key)
            if same_version(current, expected):
                write(db, key, new)
                current = new
            db.execute("COMMIT")
            return current


@correct(capabilities=ONE_PROCESS)
class ByAScript(Values):
    """Redis; a script compares and replaces."""


@correct(capabilities=ONE_PROCESS)
class ByWatching(Values):
    """Redis; it watches the key, reads, and replaces in a transaction that fails if the key has changed."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        from redis import WatchError  # noqa: PLC0415 - only this layer needs it

        while True:  # a retry means that another caller has succeeded, so the system makes progress
            with self.client.pipeline() as pipe:
                pipe.watch(key)
                current = decoded(key, pipe.get(key))
                if not same_version(current, expected):
                    return current
                pipe.multi()
                if new is None:
                    pipe.delete(key)
                else:
                    pipe.set(key, encoded(new), px=ttl_ms)
                try:
                    pipe.execute()
                except WatchError:
                    continue
                return new
