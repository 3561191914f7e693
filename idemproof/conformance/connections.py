"""Connections of the application in a simulation. An attempt completes within their transactions (INV-11).

The exchanges of ``backends/within.py`` are the production code. Such a connection answers their statements as
PostgreSQL does or, for any other dialect, as MySQL and SQLite do: there a statement that fails leaves the
transaction open.
"""

from typing import TYPE_CHECKING, Any, Literal

from ..backends.within import MARK, POSTGRESQL, Client, Records
from ..drivers.exchanges import Exchange, perform
from ..spec.record import COMPLETED, Record

if TYPE_CHECKING:
    from .simulator import World

CONNECTION_LOST = "connection lost"
"""A fate of a statement: the database rolls back, and the client finds out."""


class DatabaseError(Exception):
    """What a simulated database raises."""

    def __init__(self, what: str, sqlstate: str | None = None) -> None:
        super().__init__(what)
        self.sqlstate = sqlstate


class SimulatedConnection(Client):
    """A connection, in a transaction that contains the effect of a body.

    ``state`` is what the client knows: the transaction is "open", has "failed", or is "over". ``is_lost`` is
    whether the database has rolled back and the client does not know, ``is_committed`` whether it was
    committed.

    Parameters
    ----------
    world
        Where the records are.
    owner
        The owner token of the attempt.
    """

    def __init__(self, world: "World", owner: str) -> None:
        super().__init__(None)
        self._world = world
        self.dialect = world.dialect
        self.owner = owner
        self.state: Literal["open", "failed", "over"] = "open"
        self.is_lost = self.is_committed = False
        self._fate = ""

    @property
    def records(self) -> Records:
        """Where the records are, as the connection finds them."""
        return Records(self.dialect, "records", str, str)

    @property
    def is_undone(self) -> bool:
        """Whether the transaction can commit no more, as far as the client knows, and has not committed."""
        return self.state != "open" and not self.is_committed

    def perform(self, exchange: Exchange, fate: str = "answered") -> Any:
        """Perform ``exchange``, whose first statement has this fate."""
        self._fate = fate
        return perform(exchange, self)

    def is_open(self) -> bool:
        """Return whether the client takes the transaction for open."""
        return self.state != "over"

    def require(self, *, savepoint: bool) -> None:
        """Return, because the transaction is open, and in no savepoint."""

    def rows(self, statement: str, given: dict[str, Any]) -> Any:
        """Execute a query, or the completion of PostgreSQL, or what makes a transaction fail there."""
        self._reach()
        if "UPDATE" in statement:
            if self._world.write(_completed(given)):
                return [(1,)]
        elif statement.startswith("SELECT status"):
            found = self._world.seen_by(self.owner)
            return [] if found is None else [tuple(found)[1:]]
        self._fail()
        raise DatabaseError(f'invalid input syntax for type integer: "{MARK}, because of its record"')

    def changed(self, statement: str, given: dict[str, Any]) -> int:  # noqa: ARG002 - there is only one
        """Execute the completion; return how many rows it has changed."""
        self._reach()
        return int(self._world.write(_completed(given)))

    def roll_back(self) -> None:
        """Roll back. A connection that fails meanwhile is rolled back by the database."""
        failed = self.is_lost or self._take_fate() != "answered"
        self._end()
        if failed:
            raise DatabaseError("the connection is lost")

    def commit(self, fate: str = "answered") -> None:
        """Commit, or roll back what cannot commit. A commit that is "delayed" may still arrive."""
        commits = self.state == "open" and not self.is_lost and fate != "refused"
        if commits and fate == "delayed":
            self._world.leave(self.owner)
        elif commits:
            self._world.commit(self.owner)
            self.is_committed = True
        else:
            self._world.roll_back(self.owner)
        self.state = "over"

    def lose(self) -> None:
        """Let the connection be lost. The client does not find out before it is used again."""
        self._world.roll_back(self.owner)
        self.is_lost = True

    def undo(self) -> None:
        """Roll back because an exception leaves the application's own ``with``."""
        self._end()

    def _reach(self) -> None:
        """Raise unless the next statement reaches the database and is executed."""
        fate = self._take_fate()
        if self.is_lost or fate == CONNECTION_LOST:
            self._end()
            raise DatabaseError("the connection is lost")
        if self.state == "failed":
            raise DatabaseError("current transaction is aborted", "25P02")
        if fate == "refused":
            self._fail()
            raise DatabaseError("the statement failed")

    def _take_fate(self) -> str:
        fate, self._fate = self._fate, "answered"
        return "answered" if fate.startswith("interrupted") else fate or "answered"

    def _fail(self) -> None:
        if self.dialect == POSTGRESQL:
            self._world.roll_back(self.owner)
            self.state = "failed"

    def _end(self) -> None:
        self._world.roll_back(self.owner)
        self.state = "over"


def _completed(given: dict[str, Any]) -> Record:
    key, expiry = given["key"], given["expiration"]
    return Record(key, COMPLETED, expiry, None, given["data"], given["validation"], given["owner"])
