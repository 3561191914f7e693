"""What can happen next in a search of the engine, and letting it happen."""

from collections.abc import Iterator
from typing import NamedTuple

from ...reference.not_done import NOT_DONE
from ...spec.commands import AskWithin, Load, RunBody, Sleep, StopRenewal, Swap, Wait
from ...spec.record import expiry_ms, holds
from ..calls import SimulatedCall
from ..connections import CONNECTION_LOST
from ..renewals import Fate
from ..simulator import World
from .reported import FinallyDeclined
from .states import Pending, SearchState, result_of

FATES: tuple[Fate, ...] = ("reply lost", "refused", "delayed")
"""What may become of a request, if it is not answered."""

INTERRUPTIONS: tuple[Fate, ...] = ("interrupted", "interrupted after")
"""When a call may be interrupted: before its request is applied, and after."""

RENEWAL = "its renewal is "
DUE = RENEWAL + "due"

GOES = "the store goes away"
TAKES_NO_RESULTS = "the store takes no results"
IS_BACK = "the store is back"

PAYLOADS = ("payload a", "payload b")

CALLS_WITH = "calls with "
ACTS, KEPT = "acts", "is kept from acting"
DECLARED = "raises what was declared"
RAISES_FINALLY, FINDS_DECLINED = "raises a final error", "finds it declined"
FINDS, FINDS_NOTHING, CANNOT_TELL = "finds it done", "finds it not done", "cannot tell"

COMPLETES = "completes within its transaction"
COMMIT = "its commit is "
ROLLS_BACK, LOSES = "rolls back", "loses its connection"
LETS_OUT, RETURNS_ANOTHER = "lets the interrupt out", "returns another result"
COMMITS_LATER, ROLLS_BACK_LATER = (
    "a transaction commits after its call",
    "a transaction rolls back after its call",
)

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


def act(call: SimulatedCall, what: str, number: int) -> None:  # noqa: C901 - one for each choice
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
    elif what in (COMPLETES, ROLLS_BACK, LOSES, LETS_OUT, RETURNS_ANOTHER) or what.startswith(COMMIT):
        _act_within(call, what, number)
    elif what == "waits":
        call.step()
    elif what.startswith(RENEWAL):
        call.renew(what.removeprefix(RENEWAL))  # type: ignore[arg-type]
    else:
        call.step(what)  # type: ignore[arg-type]


def _act_within(call: SimulatedCall, what: str, number: int) -> None:
    """Let ``what`` happen to a body that completes within a transaction."""
    if what == COMPLETES:
        call.complete_within(result_of(number))
        return
    assert call.connection is not None
    if what == LOSES:
        call.connection.lose()
    elif what == ROLLS_BACK:
        call.connection.undo()
    elif what == LETS_OUT:
        assert call.refusal is not None
        call.connection.undo()
        call.fail(call.refusal)
    elif what == RETURNS_ANOTHER:
        call.finish(f"another {result_of(number)}")
    else:
        call.connection.commit(what.removeprefix(COMMIT))


def act_on(world: World, choice: Choice) -> str | None:
    """Let happen what is no client's doing; return the owner whose request arrives."""
    if choice.what == TIME_PASSES:
        world.now += world.TICK
    elif choice.what == EVICTS:
        world.evict()
    elif choice.what in (COMMITS_LATER, ROLLS_BACK_LATER):
        assert world.transaction is not None
        owner = str(world.transaction.new.owner)
        (world.commit if choice.what == COMMITS_LATER else world.roll_back)(owner)
        return owner
    elif choice.what in (GOES, TAKES_NO_RESULTS, IS_BACK):
        pass  # what becomes of requests is chosen with them
    else:
        assert choice.who is not None
        late = world.delayed[choice.who]
        world.deliver(choice.who)
        sender = late.new or late.expected
        return None if sender is None else sender.owner
    return None


def _falls(state: SearchState, pending: Pending | None) -> bool:
    """Return whether a request falls because of the state that its store is in."""
    return pending is not None and (state.down == GOES or (state.down is not None and pending.stores_result))


def is_fault(state: SearchState, pending: Pending | None, what: str) -> bool:
    """Return whether a request fails without an outage."""
    if what.startswith(RENEWAL):
        return what.removeprefix(RENEWAL) in FATES and state.down != GOES
    if what in (LOSES, CONNECTION_LOST):
        return True
    if what.startswith(COMMIT):
        return what.removeprefix(COMMIT) in FATES
    return what in FATES and not _falls(state, pending)


def _of_world(state: SearchState, withheld: set[str]) -> Iterator[Choice]:
    """Yield what is no client's doing."""
    if state.ticks_left == 0:
        withheld.add("ticks")
    else:
        yield Choice(TIME_PASSES)
    if state.record is not None and state.now >= expiry_ms(state.record):
        yield Choice(EVICTS)
    if state.transaction is not None and state.transaction.is_left:
        yield from (Choice(COMMITS_LATER), Choice(ROLLS_BACK_LATER))
    for place in range(len(state.delayed)):
        yield Choice(ARRIVES, place)
    if state.down is not None:
        yield Choice(IS_BACK)
    elif state.outages_left:
        yield from (Choice(GOES), Choice(TAKES_NO_RESULTS))
    else:
        withheld.add("outages")


class Choices:
    """Everything that can happen next.

    Parameters
    ----------
    payloads
        The payload hashes that calls may have.
    final_errors
        Whether bodies, and what answers the question, also raise final errors.
    transactions
        Whether bodies may complete within transactions.
    """

    def __init__(self, payloads: tuple[str, ...], *, final_errors: bool, transactions: bool) -> None:
        self._transactions = transactions
        self._payloads = payloads
        self._final_errors = final_errors

    def of(  # noqa: C901, PLR0912 - one branch for each thing that can happen
        self, state: SearchState, withheld: set[str]
    ) -> Iterator[Choice]:
        """Yield everything that can happen next; note in ``withheld`` the bounds that forbid more."""
        yield from _of_world(state, withheld)
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
            yield from self._of_renewal(state, call, who, withheld)
            if call.waits_for is RunBody and self._transactions:
                yield from self._of_transaction(state, call, who, withheld)
            elif call.waits_for is RunBody:
                yield from self._of_body(state, call, who)
            elif call.waits_for in (AskWithin, Load):
                yield Choice("answered", who)
                if state.faults_left:
                    yield Choice("refused", who)
                    if call.waits_for is AskWithin:
                        yield Choice(CONNECTION_LOST, who)
                else:
                    withheld.add("faults")
            elif call.waits_for in (Sleep, Wait, StopRenewal):
                yield Choice("waits", who)
                if call.waits_for is Wait:
                    yield Choice("signalled", who)
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

    def _of_transaction(
        self, state: SearchState, call: Pending, who: int, withheld: set[str]
    ) -> Iterator[Choice]:
        """Yield what a body may do that completes within a transaction, or not.

        It may ignore that its completion was refused, but lets an interrupt out, which rolls back. It may
        leave its transaction to code around the call, which commits it or rolls it back.
        """
        if call.stage == "interrupted":
            yield Choice(LETS_OUT, who)
            return
        yield Choice("returns", who)
        yield Choice("raises", who)
        if self._final_errors:
            yield Choice(RAISES_FINALLY, who)
        if call.stage == "running":
            yield Choice(COMPLETES, who)
            return
        yield Choice(RETURNS_ANOTHER, who)
        if call.stage == "over":
            return
        yield Choice(COMMIT + "answered", who)
        yield Choice(ROLLS_BACK, who)
        if state.faults_left:
            yield from (Choice(what, who) for what in (*(COMMIT + fate for fate in FATES), LOSES))
        else:
            withheld.add("faults")

    @staticmethod
    def _of_renewal(state: SearchState, call: Pending, who: int, withheld: set[str]) -> Iterator[Choice]:
        if call.beat is Sleep:
            yield Choice(DUE, who)
        elif call.beat is Swap and state.down == GOES:
            yield Choice(RENEWAL + "refused", who)
        elif call.beat is Swap:
            yield Choice(RENEWAL + "answered", who)
            if state.faults_left:
                yield from (Choice(RENEWAL + fate, who) for fate in FATES)
            else:
                withheld.add("faults")

    @staticmethod
    def _interruptions(call: Pending, who: int) -> Iterator[Choice]:
        if call.waits_for is RunBody:
            yield Choice("is stopped", who)
        elif call.waits_for in (Sleep, Wait, StopRenewal):
            yield Choice(INTERRUPTIONS[0], who)
        else:
            yield from (Choice(fate, who) for fate in INTERRUPTIONS)
