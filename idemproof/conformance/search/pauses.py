"""Whether a call waits as the protocol says (WAIT-1 to WAIT-5)."""

from ...spec.commands import Swap, Wait
from ...spec.errors import IdempotencyAlreadyInProgressError
from ...spec.events import ASK, Claim, InProgress
from ...spec.transition import transition
from ...spec.waiting import SHORTEST_POLL_MS
from ..calls import SimulatedCall
from ..simulator import World


def broken_by_waiting(call: SimulatedCall, now: int) -> list[str]:
    """Name the rules broken by a call that may wait: by how it has ended, or by its next pause."""
    if call.ended == "crashed":
        return []
    if call.ended is not None:
        return _broken_by_end(call, now)
    if not call.began and call.pausing:
        return _broken_by_pause(call, now)
    claims = isinstance(call.command, Swap) and call.command.new is not None and not call.began
    if claims and call.owner and call.command.new.owner != call.owner:
        return ["WAIT-1 a waiting call claims under its first owner token"]
    return []


def _broken_by_pause(call: SimulatedCall, now: int) -> list[str]:
    assert call.pauses is not None  # it is making one
    left = call.pauses.left(call.waiting_ms, now)
    claim = Claim(call.owner, None, 0, call.payload_hash, World.KEY, call.policy)
    _, outcome = transition(call.reply, claim, now)
    if not isinstance(outcome, InProgress):
        return ["WAIT-4 every outcome but InProgress ends the waiting"]
    if call.command.milliseconds < min(SHORTEST_POLL_MS, left):
        return ["WAIT-2 a pause is not shorter than the shortest, unless less time is left"]
    if call.pauses.hurried and isinstance(call.command, Wait):
        return ["WAIT-2 no signal ends the pause after one that it has ended early"]
    if call.command.milliseconds > left:
        return ["WAIT-3 a call waits no longer than configured"]
    return []


def _broken_by_end(call: SimulatedCall, now: int) -> list[str]:
    # To abandon a claim whose lease has ended needs no request.
    abandoned = call.policy == ASK and call.unanswered_until <= now
    if not call.began and call.unanswered_until and not abandoned:
        return ["WAIT-5 a call that stops waiting releases a claim that was not answered"]
    if isinstance(call.value, IdempotencyAlreadyInProgressError):
        pauses = call.pauses
        if pauses is None or pauses.left(call.waiting_ms, now) > 0:
            return ["WAIT-3 a call is refused when its time is over, and not before"]
    return []
