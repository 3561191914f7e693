"""The concurrency tier: an async layer answers in each event loop, and blocks none."""

from collections.abc import Callable

from ..harness.other_loops import in_other_loops
from ..suite.checks import Broken, Case, NotOffered, check
from ..suite.subjects import as_a_sentence, came_from_the_layer
from .contract import claim_of, result_of


@check("concurrency", "CAS-11", needs=("loops",))
def one_event_loop_after_the_other_may_use_a_layer(case: Case) -> None:
    """An async layer that one event loop has used answers in the next ones, as after a second asyncio.run."""
    if not case.layer.asynchronous:
        raise NotOffered("the layer is not async")
    claim = claim_of(case, case.new_key())
    trace = case.trace(claim.idempotency_key)
    subject, loop = in_other_loops(case)
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("puts a claim", lambda: subject.put(claim)),
        ("reads it", lambda: subject.load(claim.idempotency_key)),
        ("completes it", lambda: subject.update(result_of(claim))),
    )
    try:
        for what, ask in steps:
            trace.log("another event loop", what)
            ask()
    except Broken:
        raise
    except Exception as failure:
        if not came_from_the_layer(failure):
            raise
        case.fail(
            f"{as_a_sentence(failure)} Another event loop has used the layer before: it belongs to the first "
            "one. Keep a client for each event loop, or claim loops = False.",
            trace,
        )
    found = case.layer.load(claim.idempotency_key)
    why = "What the layer stored in another event loop is not found."
    case.require(found is not None and found.response_data == '"done"', why, trace)
    if loop.blocking:
        case.notes.add(
            f"The layer's requests block the event loop ({', '.join(sorted(loop.blocking))}): no other task "
            "runs meanwhile."
        )
