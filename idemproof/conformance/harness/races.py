"""Races, in which a few clients send requests at once, and their outcomes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ...spec.record import Record
from ..suite.trace import Line
from .linearizability import Operation, Request
from .recording import key_of

RETENTION_MS = 24 * 3_600_000


class Race(NamedTuple):
    """A race for one key, or of clients that use different keys.

    Parameters
    ----------
    current
        The stored record of the first client's first key at the beginning, or None.
    pass_ms
        The milliseconds that pass before the clients begin.
    clients
        The requests of each client, in their order.
    others
        The stored records of further keys at the beginning.
    """

    current: Record | None
    pass_ms: int
    clients: tuple[tuple[Request, ...], ...]
    others: tuple[Record, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all requests, the main one first."""
        return tuple(dict.fromkeys(key_of(request) for asked in self.clients for request in asked))

    def at_first(self, key: str) -> Record | None:
        """Return the stored record of ``key`` at the beginning."""
        if key == self.keys[0]:
            return self.current
        return next((each for each in self.others if each.idempotency_key == key), None)


class Fault(NamedTuple):
    """A fault in an outcome.

    Parameters
    ----------
    why
        A sentence about the layer.
    clauses
        The broken clauses, in addition to those that follow from the schedule.
    """

    why: str
    clauses: tuple[str, ...]


class Outcome(NamedTuple):
    """The outcome of one schedule.

    Parameters
    ----------
    race, operations, finals
        The race, each request with its answer, and the stored record of each key at the end.
    fault
        The fault, or None.
    lines
        The trace.
    usable
        False if clients of the layer hang, so that it cannot be used any more.
    """

    race: Race
    operations: tuple[Operation, ...]
    finals: Mapping[str, Record | None]
    fault: Fault | None
    lines: tuple[Line, ...]
    usable: bool = True

    @property
    def final(self) -> Record | None:
        """The stored record of the main key at the end."""
        return self.finals.get(self.race.keys[0])


Make = Callable[[str, int], Race]
"""Returns the race for a key, given the time at which its record is stored, in epoch milliseconds."""

Explain = Callable[[Outcome], Fault | None]
"""Returns the fault of an outcome that is not linearizable; or None, for the general description."""
