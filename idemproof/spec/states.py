"""The states of several clients of one key: how time changes them, and which body must not begin in them.

Times are the remaining seconds, so that the number of states is finite. For the same reason there are only
two kinds of owners: the owner of the stored record, and all others.
"""

from functools import cache
from typing import NamedTuple

from .happenings import Began, Ended, Happening
from .invariants import broken_by_history
from .record import COMPLETED, DURABLE, Record, execution_of

IDLE, CLAIMING, GRANTED, RUNNING, COMPLETING, RELEASING, GONE = (
    "idle",
    "claiming",
    "granted",
    "running",
    "completing",
    "releasing",
    "gone",
)

ASKING, ACTED, ABANDONING = "asking", "acted", "abandoning"
"""Further phases under the policies refuse and ask: ``acted`` is running, after the effect."""

WRITTEN, LEFT, COMMITTED = "written", "left", "committed"
"""Further phases of a completion within a transaction: open, open after the body has ended, committed."""

RAN = (RUNNING, ACTED, COMPLETING, WRITTEN, LEFT)
"""The phases of an attempt that has begun its body, and of which nothing is stored yet."""

ME, HELD, GONE_OWNER = "me", "held", "gone"
"""Owner tokens: of a client that does not own the record, of the client that does, of ended attempts."""

_EXECUTION = f"{DURABLE}execution/"
"""The prefix of the tokens of invocations of the durable execution."""


class Client(NamedTuple):
    """One client, or an ended attempt with a delayed request (``gone``).

    Parameters
    ----------
    phase
        What the client is doing.
    payload_hash
        The payload hash of its current attempt; empty for none.
    lease
        Remaining seconds of its lease.
    expiry
        Remaining seconds until the result expires that it is storing.
    owns
        Whether its attempt owns the stored record.
    late
        A delayed request of its attempt, (kind, lease, expiry); empty if there is none.
    durable
        Whether its attempts are invocations of the durable execution.
    asks
        Whether its attempt has to ask whether the operation has happened.
    within
        Whether its attempt has completed within a transaction that did not commit.
    """

    phase: str = IDLE
    payload_hash: str = ""
    lease: int = 0
    expiry: int = 0
    owns: bool = False
    late: tuple[str, int, int] | tuple[()] = ()
    durable: bool = False
    asks: bool = False
    within: bool = False


class State(NamedTuple):
    """The stored record, the clients, and for how many seconds no body may begin.

    Parameters
    ----------
    record
        The stored record, with its deadlines as remaining times.
    clients
        The clients, sorted, because equal clients are interchangeable.
    crashed
        Remaining seconds of the lease of a run that will never end.
    stored
        Remaining seconds of a stored result.
    suspended, done
        The same for the durable execution, whose own invocations they do not block.
    effect
        Remaining seconds for which an effect that has happened must not happen again.
    """

    record: Record | None
    clients: tuple[Client, ...]
    crashed: int = 0
    stored: int = 0
    suspended: int = 0
    done: int = 0
    effect: int = 0


def remembering(state: State, *, acts: bool = False) -> State:
    """Return ``state``, in which an effect counts until the record of it expires."""
    record, effect = state.record, state.effect
    if record is None or not (effect or acts):
        return state
    expiry = record.expiry_timestamp
    return state._replace(effect=expiry if record.status == COMPLETED else max(effect, expiry))


def renamed(record: Record | None, name: str) -> Record | None:
    """Return ``record`` with another owner. The result has the same name as its owner."""
    if record is None:
        return None
    owner = owner_named(name, durable=execution_of(record.owner) is not None)
    return record._replace(owner=owner, response_data=record.response_data and owner)


def tick(state: State) -> State:
    """Return the state one second later."""
    record = state.record
    if record is not None:
        lease = record.in_progress_expiry_timestamp
        record = record._replace(
            expiry_timestamp=_less(record.expiry_timestamp),
            in_progress_expiry_timestamp=lease and lease - 1000,
        )
    return State(record, tuple(map(_older, state.clients)), *map(_less, state[2:]))


def canonical(state: State) -> State:
    """Return the same state for all states that differ only in the order of equal clients."""
    clients = tuple(sorted(client for client in state.clients if client.phase != GONE or client.late))
    record = state.record
    held = record is not None and record.owner in (HELD, _EXECUTION + HELD)
    if held and not any(client.owns for client in clients):
        record = renamed(record, GONE_OWNER)
    return state._replace(record=record, clients=clients)


def _less(seconds: int) -> int:
    return seconds - 1 if seconds else 0


@cache
def _older(client: Client) -> Client:
    late = client.late and (client.late[0], _less(client.late[1]), _less(client.late[2]))
    return client._replace(lease=_less(client.lease), expiry=_less(client.expiry), late=late)


def broken_by_beginning(state: State, place: int) -> tuple[str, ...]:
    """Return the invariants that the client at ``place`` breaks by beginning its body now."""
    me = state.clients[place]
    others = frozenset(
        (other.phase != COMPLETING, other.lease, other.durable)
        for other in state.clients
        if other.phase in RAN
    )
    return _broken_by_beginning(owner_named("me", durable=me.durable), me.lease, others, *state[2:6])


@cache
def _broken_by_beginning(
    name: str,
    lease: int,
    others: frozenset[tuple[bool, int, bool]],
    crashed: int,
    stored: int,
    suspended: int,
    done: int,
) -> tuple[str, ...]:
    me = Began(name, 0, lease * 1000)
    histories: list[list[Happening]] = [[me]]
    for running, until, of_execution in others:
        other = owner_named("other", durable=of_execution)
        ended: list[Happening] = [] if running else [Ended(other, -1, "lost")]
        histories.append([Began(other, -1, until * 1000), *ended, me])
    for durable, until in ((False, crashed), (True, suspended)):
        if until:
            run = owner_named("crashed", durable=durable)
            histories.append([Began(run, -1, until * 1000), Ended(run, -1, "crashed"), me])
    for durable, until in ((False, stored), (True, done)):
        if until:
            run = owner_named("stored", durable=durable)
            histories.append([Began(run, -1, 1), Ended(run, -1, "stored", until * 1000), me])
    return tuple(sorted({rule for history in histories for rule in broken_by_history(history)}))


def owner_named(name: str, *, durable: bool) -> str:
    """Return an owner token, of an invocation of the durable execution if ``durable``."""
    return _EXECUTION + name if durable else name
