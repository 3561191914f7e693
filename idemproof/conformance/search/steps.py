"""Takes the steps of a search of the engine: from a state and a choice to the next state."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ...reference.config import IdempotencyConfig
from ...reference.engine import Engine
from ...reference.not_done import NOT_DONE
from ...spec.commands import AskWithin, Load, RunBody, Sleep, StopRenewal, Swap, Wait
from ...spec.events import ASK, REFUSE, RUN
from ...spec.invariants import OPERATIONS_PER_CALL, broken_by_history
from ...spec.record import Record, deadline_ms, expiry_ms
from ..calls import SimulatedCall
from ..simulator import World
from .choices import (
    ACTS,
    ARRIVES,
    CALLS_WITH,
    GOES,
    INTERRUPTIONS,
    IS_BACK,
    PAYLOADS,
    TAKES_NO_RESULTS,
    TIME_PASSES,
    Choice,
    Choices,
    NothingDone,
    act,
    act_on,
    is_fault,
)
from .reported import FinallyDeclined
from .rules import broken_by_change, broken_by_step_of, completion_of, stores_result
from .states import OWN, Keys, LogEntry, Pending, ProcessState, SearchState, without_the_forgotten


def engine_in(
    world: World,
    kind: type[Engine],
    *,
    cached: bool,
    policy: str = RUN,
    waiting_ms: int = 0,
    renews: bool = False,
) -> Engine:
    """Return an engine that lives in ``world``."""
    config = IdempotencyConfig(
        expires_after_seconds=world.WINDOW_MS // 1000,
        in_progress_expires_after_seconds=world.LEASE_MS // 1000,
        use_local_cache=cached,
        completion_timeout_seconds=world.COMPLETION_MS / 1000,
        clock=world.clock,
        wait_for_in_progress_seconds=waiting_ms / 1000,
        renew_lease=renews,
        max_run_seconds=world.LONGEST_RUN_MS / 1000,
        on_takeover="refuse" if policy == REFUSE else "run",
        released_errors=(NothingDone,),
        final_errors=(FinallyDeclined,),
    )
    return kind(
        config,
        next_owner=world.next_owner,
        on_takeover=(lambda: NOT_DONE) if policy == ASK else None,
        monotonic=world.clock,
        jitter=lambda: 0.0,
    )


class _Raised(NamedTuple):
    """In a log: what the store raised instead of an answer."""

    error: Exception


_ANSWERED = ("swap", "load", "seen_by", "write")
"""The methods of a world whose answers a call depends on."""

_UNANSWERED = ("commit", "roll_back", "leave")


def _noting(ask: Callable[[Any], Any], answers: list[Any]) -> Callable[..., Any]:
    """Return a function that asks the same, and notes the answer."""

    def noting(*given: Any) -> Any:
        try:
            found = ask(*given)
        except Exception as error:
            answers.append(_Raised(error))
            raise
        own = bool(given) and found is not None and found is getattr(given[0], "new", None)
        answers.append(OWN if own else found)
        return found

    return noting


def _replaying(answers: list[Any]) -> dict[str, Callable[..., Any]]:
    """Return the methods of a world that gives these answers, and changes nothing."""

    def replaying(*given: Any) -> Any:
        found = answers.pop(0)
        if isinstance(found, _Raised):
            raise found.error
        return given[0].new if found is OWN else found

    def changing_nothing(owner: str) -> None:
        """Do nothing."""

    return dict.fromkeys(_ANSWERED, replaying) | dict.fromkeys(_UNANSWERED, changing_nothing)


class Steps:
    """Takes the steps of a search: from a state and a choice to the next state.

    Parameters
    ----------
    keys
        Takes calls apart.
    engine, world
        What is searched.
    cached
        Whether the clients have local caches.
    payloads
        How many different payload hashes they call with.
    policy
        The policy of their claims. If it is not "run", bodies have an effect (INV-10).
    final_errors
        Whether bodies, and what answers the question, also raise final errors.
    waiting_ms
        For how many milliseconds their calls wait.
    renews
        Whether leases are renewed.
    transactions
        The database in whose transactions bodies may complete, "postgresql" or "mysql"; empty for none.
    """

    def __init__(
        self,
        keys: Keys,
        engine: type[Engine] = Engine,
        world: type[World] = World,
        *,
        cached: bool = False,
        payloads: int = 1,
        policy: str = RUN,
        final_errors: bool = False,
        waiting_ms: int = 0,
        renews: bool = False,
        transactions: str = "",
    ) -> None:
        self._transactions = transactions
        self._keys = keys
        self._world = world()
        self._world.dialect = transactions
        self._policy = policy
        self._engine = engine_in(
            self._world, engine, cached=cached, policy=policy, waiting_ms=waiting_ms, renews=renews
        )
        self.choices = Choices(
            PAYLOADS[:payloads], final_errors=final_errors, transactions=bool(transactions)
        ).of

    def first(
        self,
        clients: int,
        faults: int,
        crashes: int,
        calls: int | None = None,
        ticks: int | None = None,
        *,
        interrupts: int = 0,
        outages: int = 0,
    ) -> SearchState:
        """Return the state in which nothing has happened yet."""
        idle = ProcessState(None, None, calls)
        left = faults, crashes, ticks, 0, 0, interrupts, outages
        return SearchState(self._world.now, None, (), (idle,) * clients, (), *left)

    def take(self, state: SearchState, choice: Choice) -> tuple[SearchState, list[str]]:
        """Return the state after ``choice``, and the names of the rules that are broken by it."""
        world = self._world
        broken: list[str] = []
        if choice.who is None or choice.what == ARRIVES:
            self._enter(state)
            actor, after = act_on(world, choice), state
            if choice.what == TIME_PASSES and state.ticks_left is not None:
                after = state._replace(ticks_left=state.ticks_left - 1)
            elif choice.what in (GOES, TAKES_NO_RESULTS):
                after = state._replace(outages_left=state.outages_left - 1, down=choice.what)
            elif choice.what == IS_BACK:
                after = state._replace(down=None)
        else:
            actor, after, broken = self._client_step(state, choice.what, choice.who)
        if len(world.history) > len(state.history) or world.record is not state.record:
            broken = broken_by_change(world, state.record, actor) + broken
        open_now = {client.call.owner for client in after.clients if client.call is not None}
        if world.transaction is not None:
            open_now.add(str(world.transaction.new.owner))
        after = after._replace(
            now=world.now,
            record=world.record,
            transaction=world.transaction,
            delayed=tuple(world.delayed),
            history=without_the_forgotten(world.history, world.now, open_now),
            owners_made=world.owners_made,
            effect_until=world.effect_until,
        )
        return after, broken

    def nobody_can_finish(self, state: SearchState) -> bool:
        """Return whether a newcomer fails, without any fault, once the deadline has passed (INV-9)."""
        world = self._world
        self._enter(state._replace(history=(), transaction=None))  # it ends some time
        if world.record is not None:
            parked = self._policy == REFUSE
            world.now = max(world.now, (expiry_ms if parked else deadline_ms)(world.record))
        self._set_cached(None)
        last = world.call(self._engine).run("last")
        return (last.ended, last.value) != ("returned", "last")

    def does_not_end(self, state: SearchState, pending: Pending) -> bool:
        """Return whether a call asks on and on if every request is refused from now on (INV-8)."""
        call = self._again(pending)
        self._enter(state._replace(history=()))
        for _ in range(4 * OPERATIONS_PER_CALL):
            if call.ended is not None:
                return bool(broken_by_history(self._world.history))
            if call.running:
                call.finish("last")
            elif call.asking:
                call.answer()
            else:
                call.step("refused")
        return True

    def _client_step(self, state: SearchState, what: str, who: int) -> tuple[str, SearchState, list[str]]:
        """Let a client take a step in the world; return its owner token and what is known of it then."""
        world = self._world
        pending, cached, calls_left = state.clients[who]
        before = None
        if pending is None:
            self._enter(state)
            self._set_cached(cached)
            payload = what.removeprefix(CALLS_WITH)
            start: tuple[int, int, str | None, Record | None] = (
                state.now,
                state.owners_made,
                payload,
                cached,
            )
            log: tuple[LogEntry, ...] = ()
            number, expiry = state.started + 1, None
            call = world.call(self._engine, payload)
            calls_left = None if calls_left is None else calls_left - 1
            cached = None
        else:
            number, start, log, expiry = pending.number, pending.start, pending.log, pending.expiry
            call = self._again(pending)
            call.broken = []  # judged before, and without the world of that time
            self._enter(state)
            before = call.command
            answers = self._while_answers_are_noted(call, what, number)
            log = (*log, LogEntry(state.now, what, answers))
        broken = broken_by_step_of(call, before, world, expiry)
        after: Pending | None = None
        if call.ended is None:
            expiry = completion_of(call.command) if expiry is None else expiry
            kinds = (RunBody, Sleep, Wait, Swap, StopRenewal, AskWithin, Load)
            waits_for = next(kind for kind in kinds if isinstance(call.command, kind))
            beat = None if call.beat is None else type(call.beat)
            position = self._keys.position(call, expiry)
            after = Pending(
                *(number, start, log, waits_for, call.owner, expiry, position),
                stores_result(call.command),
                self._stage(call),
                beat,
            )
        elif call.ended != "crashed":
            cached = self._cached()
        clients = list(state.clients)
        clients[who] = ProcessState(after, cached, calls_left)
        changed = state._replace(
            clients=tuple(clients),
            started=max(state.started, number),
            faults_left=state.faults_left - is_fault(state, pending, what),
            interrupts_left=state.interrupts_left - (what in (*INTERRUPTIONS, "is stopped")),
            crashes_left=state.crashes_left - (what == "crashes"),
        )
        return call.owner, changed, broken

    def _stage(self, call: SimulatedCall) -> str:
        connection = call.connection
        if self._transactions and connection is None:
            return "running"
        if connection is not None:
            if isinstance(call.refusal, KeyboardInterrupt):
                return "interrupted"
            return "open" if connection.is_open() else "over"
        if self._policy == RUN:
            return ""
        return "asking" if call.asking else "acted" if call.acted else "running"

    def _enter(self, state: SearchState) -> None:
        """Make the world as it is in ``state``."""
        world = self._world
        world.now, world.record, world.owners_made = state.now, state.record, state.owners_made
        world.delayed, world.history = list(state.delayed), list(state.history)
        world.effect_until = state.effect_until
        world.transaction = state.transaction

    def _again(self, pending: Pending) -> SimulatedCall:
        """Start a call again and give it the same answers. Its effects on the world do not matter."""
        world = self._world
        world.now, world.owners_made, payload, cached = pending.start
        world.delayed, world.history = [], []
        self._set_cached(cached)
        call = world.call(self._engine, payload)
        answers: list[Any] = []
        patched = vars(world)
        patched.update(_replaying(answers))
        for world.now, what, given in pending.log:
            answers[:] = given
            if what == ACTS:
                call.acted = True  # its effect is in the state
            else:
                act(call, what, pending.number)
        for name in (*_ANSWERED, *_UNANSWERED):
            del patched[name]
        return call

    def _while_answers_are_noted(self, call: SimulatedCall, what: str, number: int) -> tuple[Any, ...]:
        """Let ``what`` happen to ``call``; return what the store answered, if it was asked."""
        answers: list[Any] = []
        patched = vars(self._world)
        patched.update({name: _noting(getattr(self._world, name), answers) for name in _ANSWERED})
        try:
            act(call, what, number)
        finally:
            for name in _ANSWERED:
                del patched[name]
        return tuple(answers)

    def _cached(self) -> Record | None:
        cache = self._engine._cache
        return None if cache is None else cache.get(World.KEY)

    def _set_cached(self, record: Record | None) -> None:
        cache = self._engine._cache
        if cache is None:
            return
        current = cache.get(World.KEY)
        if current is not None:
            cache.discard(current)
        if record is not None:
            cache.put(record)
