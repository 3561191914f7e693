"""The durability tier: acknowledged records survive the process that wrote them.

The protocol does not require this of a store (OUT-2), so these checks apply only to layers that claim
``durable``: their store keeps a record for the requested time (CAS-6) even if its clients die.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from ...spec.record import INPROGRESS, Record
from ..harness.durable_writes import kept, written
from ..harness.messages import Acknowledged, Look, Seen, Start, Write
from ..harness.processes import Process, place_of
from ..suite.checks import Case, check
from ..suite.trace import NOT_LOOKED_AT, Line
from .contract import HOUR_MS

_FEW = 6
_MANY = 400
"""More records than are acknowledged before the process is killed, so that it dies while it writes."""
_ACKNOWLEDGED_AT_LEAST = 25

_ROUNDS_PER_DEATH = 20

_CLAIMED = "The layer claims to be durable, but "


@check("durability", "CAS-6", needs=("durable",))
def acknowledged_records_outlive_their_layer(case: Case) -> None:
    """A new layer object finds every claim and result that was acknowledged, and none that was deleted."""
    acknowledged = list(written(_claims(case, _FEW), case.layer))
    _require_sharing(case)
    assert case.restarted is not None
    _require_all(case, acknowledged, case.restarted().load, ("client 1",), "a new layer object")


@check("durability", "CAS-6", needs=("durable",))
def acknowledged_records_outlive_a_killed_process(case: Case) -> None:
    """A process is killed while it writes: other clients find every record that it had acknowledged."""
    _require_sharing(case)
    place = place_of(case.factory)
    start = Start(place, case.now, case.capabilities.movable_clock)
    assert case.restarted is not None
    trace = ("a process", "the process")
    with contextlib.ExitStack() as running:
        another: Process | None = None
        for _ in range(1 + case.profile.stress // _ROUNDS_PER_DEATH):
            acknowledged = _written_until_killed(start, _claims(case, _MANY))
            if another is None:
                another = running.enter_context(Process(start))
                another.wait_until_up()
            _require_all(case, acknowledged, partial(_seen_by, another), trace, "another process")
            _require_all(case, acknowledged, case.restarted().load, trace, "a new layer object")


def _seen_by(process: Process, key: str) -> Record | None:
    process.send(Look(key))
    seen: Seen = process.hear()
    return seen.record


def _written_until_killed(start: Start, claims: Sequence[Record]) -> list[Acknowledged]:
    with Process(start) as writer:
        writer.wait_until_up()
        writer.send(Write(tuple(claims)))
        messages = [writer.hear() for _ in range(_ACKNOWLEDGED_AT_LEAST)]
        writer.kill()
        messages += writer.rest()
    acknowledged = [each for each in messages if isinstance(each, Acknowledged)]
    # The process may have written more for the last key than it could acknowledge.
    return [each for each in acknowledged if each.key != acknowledged[-1].key]


def _claims(case: Case, count: int) -> list[Record]:
    lease = case.now + HOUR_MS
    return [
        Record(case.new_key(), INPROGRESS, lease // 1000 + 3600, lease, owner=f"attempt {number}")
        for number in range(count)
    ]


def _require_sharing(case: Case) -> None:
    case.require(
        case.restarted is not None,
        f"{_CLAIMED}another layer from its factory does not see the records of the first one, which is open.",
    )


def _require_all(
    case: Case,
    acknowledged: Sequence[Acknowledged],
    look: Callable[[str], Record | None],
    writers: tuple[str, ...],
    reader: str,
) -> None:
    """Require that the last acknowledged record of each key is stored."""
    wanted = {each.key: each.record for each in acknowledged}
    case.histories += len(wanted)
    found = {key: look(key) for key in wanted}
    lost = [key for key in wanted if not kept(found[key], wanted[key], swaps=case.layer.swaps)]
    if not lost:
        return
    first = lost[0]
    lines = [
        Line(0, writers[0], "gets an acknowledgement", each.record)
        for each in acknowledged
        if each.key == first
    ]
    if len(writers) > 1:
        lines.append(Line(0, writers[1], "is killed", NOT_LOOKED_AT))
    lines.append(Line(0, reader, "reads", found[first]))
    why = (
        f"{_CLAIMED}lost acknowledged records: {reader} finds {len(lost)} of {len(wanted)} keys "
        "changed or missing."
    )
    if all(record is None for record in found.values()):
        why = (
            f"{_CLAIMED}lost every acknowledged record: {reader} finds none. Does the factory "
            "open the same store each time?"
        )
    case.fail(why, lines)
