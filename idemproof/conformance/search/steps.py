"""What can happen in a search of the engine, one step at a time; and what each step is checked for."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ...reference.config import IdempotencyConfig
from ...reference.engine import Engine
from ...reference.not_done import NOT_DONE
from ...spec.commands import RunBody, Sleep, Swap
from ...spec.errors import IdempotencyError
from ...spec.events import ASK, REFUSE, RUN, Kept, Release
from ...spec.invariants import (
    OPERATIONS_PER_CALL,
    Step,
    broken_by_history,
    live_result_is_final,
    others_are_untouched,
)
from ...spec.record import COMPLETED, UNAVAILABLE, Record, deadline_ms, expiry_ms, holds
from ..simulator import Fate, SimulatedCall, World
from .reported import FinallyDeclined, misreported
from .states import (
    OWN,
    Keys,
    LogEntry,
    Pending,
    ProcessState,
    SearchState,
    result_of,
    without_the_forgotten,
)

FATES: tuple[Fate, ...] = ("reply lost", "refused", "delayed")
"""What may become of a request, if it is not answered."""

INTERRUPTIONS: tuple[Fate, ...] = ("interrupted", "interrupted after")
"""When a call may be interrupted: before its request is applied, and after."""

GOES = "the store goes away"
TAKES_NO_RESULTS = "the store takes no results"
IS_BACK = "the store is back"

PAYLOADS = ("payload a", "payload b")

CALLS_WITH = "calls with "
ACTS, KEPT = "acts", "is kept from acting"
DECLARED = "raises what was declared"
RAISES_FINALLY, FINDS_DECLINED = "raises a final error", "finds it declined"
FINDS, FINDS_NOTHING, CANNOT_TELL = "finds it done", "finds it not done", "cannot tell"

TIME_PASSES = "a second passes"
EVICTS = "the store forgets the record"
ARRIVES = "a late request arrives"


class Choice(NamedTuple):
    """One thing that happens: ``what``, and to which client or late request, or None."""

    what: str
    who: int | None = None


class Declined(Exception):  # noqa: N818 - it reads as what happened
    """What a body or a question raises."""


class NothingDone(Declined):
    """What a body raises that is declared to mean that nothing has happened."""


def engine_in(world: World, kind: type[Engine], *, cached: bool, policy: str = RUN) -> Engine:
    """Return an engine that lives in ``world``."""
    config = IdempotencyConfig(
        expires_after_seconds=world.WINDOW_MS // 1000,
        in_progress_expires_after_seconds=world.LEASE_MS // 1000,
        use_local_cache=cached,
        completion_timeout_seconds=world.COMPLETION_MS / 1000,
        clock=world.clock,
        on_takeover="refuse" if policy == REFUSE else "run",
        released_errors=(NothingDone,),
        final_errors=(FinallyDeclined,),
    )
    if policy == ASK:
        return kind(config, next_owner=world.next_owner, on_takeover=lambda: NOT_DONE)
    return kind(config, next_owner=world.next_owner)


def act(call: SimulatedCall, what: str, number: int) -> None:
    """Let ``what`` happen to the call with this number."""
    fails = call.fail_to_answer if call.asking else call.fail
    if what == "returns":
        call.finish(result_of(number))
    elif what in ("raises", KEPT, CANNOT_TELL):
        fails(Declined(f"by call {number}"))
    elif what == DECLARED:
        fails(NothingDone(f"by call {number}"))
    elif what in (RAISES_FINALLY, FINDS_DECLINED):
        fails(FinallyDeclined(f"by call {number}"))
    elif what == ACTS:
        call.act()
    elif what in (FINDS, FINDS_NOTHING):
        call.answer(result_of(number) if what == FINDS else NOT_DONE)
    elif what == "is stopped":
        call.interrupted = True
        fails(KeyboardInterrupt())
    elif what == "crashes":
        call.crash()
    elif what == "waits":
        call.step()
    else:
        call.step(what)  # type: ignore[arg-type]


def act_on(world: World, choice: Choice) -> str | None:
    """Let happen what is no client's doing; return the owner whose request arrives."""
    if choice.what == TIME_PASSES:
        world.now += world.TICK
    elif choice.what == EVICTS:
        world.evict()
    elif choice.what in (GOES, TAKES_NO_RESULTS, IS_BACK):
        pass  # what becomes of requests is chosen with them
    else:
        assert choice.who is not None
        late = world.delayed[choice.who]
        world.deliver(choice.who)
        sender = late.new or late.expected
        return None if sender is None else sender.owner
    return None


def broken_by_change(world: World, before: Record | None, actor: str | None) -> list[str]:
    """Name the invariants broken by a step of ``actor``, which ``world.history`` ends with."""
    step = Step(before, Release(actor), world.now, world.record, Kept())
    broken = [
        f"{clause} {rule.__name__}"
        for clause, rule in (("INV-2", live_result_is_final), ("INV-3", others_are_untouched))
        if not rule(step)
    ]
    return broken + broken_by_history(world.history)


def broken_by_call(  # noqa: PLR0911 - one for each rule
    call: SimulatedCall, world: World, expiry: int | None
) -> list[str]:
    """Name the rules broken by how ``call`` has ended, or by the request that it is about to send.

    ``expiry`` is that of its first completion (epoch milliseconds), if there was one.
    """
    stopped = call.ended in (None, "crashed") or isinstance(call.value, KeyboardInterrupt)
    if call.began_interrupted or (call.interrupted and not stopped):
        return ["ENG-15 an interrupted call begins no body, and ends by the interrupt"]
    answer = call.answer_text
    if answer is not None:
        record = world.record
        if record is None or (record.status, record.response_data) != (COMPLETED, answer):
            final = call.ended == "raised"
            return ["FIN-1 a final error is stored" if final else "ENG-7 a caller gets the stored result"]
    elif call.ended == "raised" and not (
        call.interrupted or isinstance(call.value, IdempotencyError | Declined)
    ):
        return ["ENG-11 a refused caller gets the body's error, or the library's"]
    if misreported(call):
        return ["OBS-1 a call reports what happens to it, and by which row"]
    if call.ended == "raised" and stores_result(call.last) and not (expiry and expiry <= world.now):
        current = world.record
        if current is not None and holds(current, call.owner):
            return ["ENG-10 a completion is not given up before it is tried without the result"]
    sent = completion_of(call.command)
    if sent is not None and (sent != (expiry or sent) or sent <= world.now):
        return ["ENG-6 a completion is retried with the same expiry, and not beyond it"]
    return []


def completion_of(command: Any) -> int | None:
    """Return the expiry (epoch milliseconds) of the completion that ``command`` is, None if it is none."""
    completes = isinstance(command, Swap) and command.new is not None and command.new.status == COMPLETED
    return expiry_ms(command.new) if completes else None


def stores_result(command: Any) -> bool:
    """Return whether ``command`` stores a result, and not only that there is none."""
    return completion_of(command) is not None and command.new.response_data not in UNAVAILABLE


def _falls(state: SearchState, pending: Pending | None) -> bool:
    """Return whether a request falls because of the state that its store is in."""
    return pending is not None and (state.down == GOES or (state.down is not None and pending.stores_result))


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
    ) -> None:
        self._final_errors = final_errors
        self._keys = keys
        self._world = world()
        self._policy = policy
        self._engine = engine_in(self._world, engine, cached=cached, policy=policy)
        self._payloads = PAYLOADS[:payloads]

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

    def choices(  # noqa: C901, PLR0912 - one branch for each thing that can happen
        self, state: SearchState, withheld: set[str]
    ) -> Iterator[Choice]:
        """Yield everything that can happen next; note in ``withheld`` the bounds that forbid more."""
        if state.ticks_left == 0:
            withheld.add("ticks")
        else:
            yield Choice(TIME_PASSES)
        if state.record is not None and state.now >= expiry_ms(state.record):
            yield Choice(EVICTS)
        for place in range(len(state.delayed)):
            yield Choice(ARRIVES, place)
        if state.down is not None:
            yield Choice(IS_BACK)
        elif state.outages_left:
            yield from (Choice(GOES), Choice(TAKES_NO_RESULTS))
        else:
            withheld.add("outages")
        for who, (call, _, calls_left) in enumerate(state.clients):
            if call is None:
                if calls_left == 0:
                    withheld.add("calls")
                elif state.clients[who] not in state.clients[:who]:
                    yield from (Choice(CALLS_WITH + payload, who) for payload in self._payloads)
                continue
            if state.interrupts_left:
                yield from self._interruptions(call, who)
            else:
                withheld.add("interrupts")
            if call.waits_for is RunBody:
                yield from self._of_body(state, call, who)
            elif call.waits_for is Sleep:
                yield Choice("waits", who)
            elif _falls(state, call):
                yield Choice("refused", who)
            else:
                yield Choice("answered", who)
                if state.faults_left:
                    yield from (Choice(fate, who) for fate in FATES)
                else:
                    withheld.add("faults")
            if state.crashes_left:
                yield Choice("crashes", who)
            else:
                withheld.add("crashes")

    def _of_body(self, state: SearchState, call: Pending, who: int) -> Iterator[Choice]:
        """Yield what a body or a question may do. A question is answered truthfully, or not at all."""
        if self._final_errors:
            yield Choice(FINDS_DECLINED if call.stage == "asking" else RAISES_FINALLY, who)
        if call.stage == "asking":
            yield Choice(FINDS if state.now < state.effect_until else FINDS_NOTHING, who)
            yield Choice(CANNOT_TELL, who)
        elif call.stage == "running":
            yield Choice(ACTS if holds(state.record, call.owner) else KEPT, who)
            yield Choice("raises", who)
            yield Choice(DECLARED, who)
        else:
            yield Choice("returns", who)
            yield Choice("raises", who)

    @staticmethod
    def _interruptions(call: Pending, who: int) -> Iterator[Choice]:
        if call.waits_for is RunBody:
            yield Choice("is stopped", who)
        elif call.waits_for is Sleep:
            yield Choice(INTERRUPTIONS[0], who)
        else:
            yield from (Choice(fate, who) for fate in INTERRUPTIONS)

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
        after = after._replace(
            now=world.now,
            record=world.record,
            delayed=tuple(world.delayed),
            history=without_the_forgotten(world.history, world.now),
            owners_made=world.owners_made,
            effect_until=world.effect_until,
        )
        return after, broken

    def nobody_can_finish(self, state: SearchState) -> bool:
        """Return whether a newcomer fails, without any fault, once the deadline has passed (INV-9)."""
        world = self._world
        self._enter(state._replace(history=()))
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
            self._enter(state)
            answer = self._while_answers_are_noted(call, what, number)
            log = (*log, LogEntry(state.now, what, answer))
        broken = broken_by_call(call, world, expiry)
        after: Pending | None = None
        if call.ended is None:
            expiry = completion_of(call.command) if expiry is None else expiry
            waits_for = next(kind for kind in (RunBody, Sleep, Swap) if isinstance(call.command, kind))
            position = self._keys.position(call, expiry)
            after = Pending(
                *(number, start, log, waits_for, call.owner, expiry, position),
                stores_result(call.command),
                self._stage(call),
            )
        elif call.ended != "crashed":
            cached = self._cached()
        clients = list(state.clients)
        clients[who] = ProcessState(after, cached, calls_left)
        changed = state._replace(
            clients=tuple(clients),
            started=max(state.started, number),
            faults_left=state.faults_left - (what in FATES and not _falls(state, pending)),
            interrupts_left=state.interrupts_left - (what in (*INTERRUPTIONS, "is stopped")),
            crashes_left=state.crashes_left - (what == "crashes"),
        )
        return call.owner, changed, broken

    def _stage(self, call: SimulatedCall) -> str:
        if self._policy == RUN:
            return ""
        return "asking" if call.asking else "acted" if call.acted else "running"

    def _enter(self, state: SearchState) -> None:
        """Make the world as it is in ``state``."""
        world = self._world
        world.now, world.record, world.owners_made = state.now, state.record, state.owners_made
        world.delayed, world.history = list(state.delayed), list(state.history)
        world.effect_until = state.effect_until

    def _again(self, pending: Pending) -> SimulatedCall:
        """Start a call again and give it the same answers. Its effects on the world do not matter."""
        world = self._world
        world.now, world.owners_made, payload, cached = pending.start
        world.delayed, world.history = [], []
        self._set_cached(cached)
        call = world.call(self._engine, payload)
        for now, what, answer in pending.log:
            world.now = now
            if what == ACTS:
                call.acted = True  # its effect is in the state
                continue
            world.swap = lambda command, answer=answer: command.new if answer is OWN else answer  # type: ignore[method-assign, misc]
            act(call, what, pending.number)
        vars(world).pop("swap", None)
        return call

    def _while_answers_are_noted(self, call: SimulatedCall, what: str, number: int) -> Any:
        """Let ``what`` happen to ``call``; return what the store answered, if it was asked."""
        world = self._world
        answers: list[Any] = [None]

        def swap(command: Swap) -> Record | None:
            found = type(world).swap(world, command)
            answers.append(OWN if found is command.new else found)
            return found

        world.swap = swap  # type: ignore[method-assign]
        try:
            act(call, what, number)
        finally:
            del world.swap
        return answers[-1]

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
