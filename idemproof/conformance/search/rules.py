"""The rules that a step of a search of the engine may break."""

from typing import Any

from ...backends.within import POSTGRESQL, ROLLED_BACK
from ...reference.transaction_errors import RESULT_DIFFERS
from ...spec.commands import Swap
from ...spec.errors import IdempotencyError
from ...spec.events import Kept, Release
from ...spec.happenings import Step
from ...spec.invariants import broken_by_history, live_result_is_final, others_are_untouched
from ...spec.record import COMPLETED, UNAVAILABLE, Record, expiry_ms, holds
from ..calls import SimulatedCall
from ..simulator import World
from .choices import Declined
from .pauses import broken_by_waiting
from .reported import FinallyDeclined, misreported


def broken_by_change(world: World, before: Record | None, actor: str | None) -> list[str]:
    """Name the invariants broken by a step of ``actor``, which ``world.history`` ends with."""
    step = Step(before, Release(actor), world.now, world.record, Kept())
    broken = [
        f"{clause} {rule.__name__}"
        for clause, rule in (("INV-2", live_result_is_final), ("INV-3", others_are_untouched))
        if not rule(step)
    ]
    return broken + broken_by_history(world.history)


def broken_by_call(  # noqa: C901, PLR0911 - one for each rule
    call: SimulatedCall, world: World, expiry: int | None
) -> list[str]:
    """Name the rules broken by how ``call`` has ended, or by the request that it is about to send.

    ``expiry`` is that of its first completion (epoch milliseconds), if there was one.
    """
    stopped = call.ended in (None, "crashed") or isinstance(call.value, KeyboardInterrupt)
    if call.began_interrupted or (call.interrupted and not stopped):
        return ["ENG-15 an interrupted call begins no body, and ends by the interrupt"]
    if call.waiting_ms:
        broken = broken_by_waiting(call, world.now)
        if broken:
            return broken
    answer = call.answer_text
    if answer is not None:
        record = world.record if call.connection is None else world.seen_by(call.owner)  # TXN-8
        if record is None or (record.status, record.response_data) != (COMPLETED, answer):
            final = call.ended == "raised"
            return ["FIN-1 a final error is stored" if final else "ENG-7 a caller gets the stored result"]
    elif call.ended == "raised" and not (
        call.interrupted or isinstance(call.value, IdempotencyError | Declined | FinallyDeclined)
    ):
        return ["ENG-11 a refused caller gets the body's error, or the library's"]
    if _denies_what_may_commit(call, world):
        return ["TXN-7 a call says that its transaction cannot commit only if that is so"]
    if call.broken:
        return call.broken
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


def _denies_what_may_commit(call: SimulatedCall, world: World) -> bool:
    """Return whether a call reports that its transaction cannot commit, which was committed or may be."""
    connection, kind = call.connection, getattr(call.value, "kind", None)
    may_be = world.seen_by(call.owner) is not world.record
    if connection is None or kind != ROLLED_BACK:
        return kind == RESULT_DIFFERS and may_be
    # Elsewhere than with PostgreSQL, the error says that it may be.
    return connection.is_committed or (may_be and connection.dialect == POSTGRESQL)


def broken_by_step_of(call: SimulatedCall, before: Any, world: World, expiry: int | None) -> list[str]:
    """Name the rules broken by a step of ``call``, which waited for the command ``before``."""
    if call.ended is None and call.command is before:
        return call.broken  # only its renewal has gone on
    return broken_by_call(call, world, expiry)


def completion_of(command: Any) -> int | None:
    """Return the expiry (epoch milliseconds) of the completion that ``command`` is, None if it is none."""
    completes = isinstance(command, Swap) and command.new is not None and command.new.status == COMPLETED
    return expiry_ms(command.new) if completes else None


def stores_result(command: Any) -> bool:
    """Return whether ``command`` stores a result, and not only that there is none."""
    return completion_of(command) is not None and command.new.response_data not in UNAVAILABLE
