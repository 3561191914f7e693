"""The typical flows of idempotent calls, recorded while the production engine runs them."""

import json
from collections.abc import Callable
from typing import Any

from idemproof.backends.records import DataRecord
from idemproof.reference.config import IdempotencyConfig
from idemproof.reference.decorators import idempotent_function
from idemproof.reference.engine import Engine

from .recorder import Flow, RecordedCall, Recorder, RecordingLayer, call_decorated

LEASE_S = 10
WINDOW_S = 60
WORKERS = ("Worker 1", "Worker 2", "Worker 3")
PAYMENT = {"id": 1}


def _config(recorder: Recorder, **settings: Any) -> IdempotencyConfig:
    return IdempotencyConfig(
        expires_after_seconds=WINDOW_S,
        in_progress_expires_after_seconds=LEASE_S,
        clock=recorder.world.clock,
        **settings,
    )


def _engine(recorder: Recorder) -> Engine:
    return Engine(_config(recorder), next_owner=recorder.world.next_owner)


def _call(recorder: Recorder, lane: str) -> RecordedCall:
    return RecordedCall(recorder, lane, _engine(recorder))


def _decorated(recorder: Recorder, lane: str, **settings: Any) -> Callable[[Any], Any]:
    @idempotent_function(
        data_keyword_argument="payment",
        persistence_store=RecordingLayer(recorder, lane),
        config=_config(recorder, **settings),
    )
    def charge(payment: Any) -> Any:
        recorder.note(lane, "body", "the body runs")
        result = {"paid": payment.get("id")}
        recorder.note(lane, "body", f"the body returns {json.dumps(result)}")
        return result

    return charge


def successful() -> Flow:
    """Record a first call and a repeat."""
    recorder = Recorder()
    first, second, _ = WORKERS
    _call(recorder, first).run("charged")
    _call(recorder, second).run("charged twice")
    return recorder.flow(
        "successful",
        "A call, and its repeat",
        "The first call runs the body and stores its response. The repeat gets the stored response, with one "
        "request.",
    )


def cached() -> Flow:
    """Record a repeat that the local cache answers."""
    recorder = Recorder()
    lane = WORKERS[0]
    charge = _decorated(recorder, lane, use_local_cache=True)
    for _ in range(2):
        call_decorated(recorder, lane, charge, PAYMENT)
    return recorder.flow(
        "cached",
        "The local cache",
        "With `use_local_cache`, a repeat in the same process needs no request to the store.",
    )


def response_hook() -> Flow:
    """Record a replay that a response hook changes."""
    recorder = Recorder()
    lane = WORKERS[0]

    def hook(response: Any, record: DataRecord) -> Any:
        recorder.note(lane, "remark", f"the response hook gets {record.response_data}")
        return response | {"replayed": True}

    charge = _decorated(recorder, lane, response_hook=hook)
    for _ in range(2):
        call_decorated(recorder, lane, charge, PAYMENT)
    return recorder.flow(
        "response-hook",
        "The response hook",
        "A `response_hook` gets every replayed response, and may change it. It does not get the first "
        "caller's answer, and the stored response is unchanged.",
    )


def expired() -> Flow:
    """Record a repeat after the end of the window."""
    recorder = Recorder()
    first, second, _ = WORKERS
    _call(recorder, first).run("charged")
    recorder.advance(WINDOW_S * 1000)
    _call(recorder, second).run("charged again")
    return recorder.flow(
        "expired",
        "The window is over",
        "After a response has expired, the next call runs the body again, and its response replaces the old "
        "one.",
    )


def concurrent() -> Flow:
    """Record a call that begins while another runs."""
    recorder = Recorder()
    first, second, _ = WORKERS
    running = _call(recorder, first)
    running.until_running()
    recorder.advance(3_000)
    _call(recorder, second).run("charged twice")
    running.finish("charged")
    return recorder.flow(
        "concurrent",
        "Two calls at once",
        "While one call runs, another call of the same key raises `IdempotencyAlreadyInProgressError`, which "
        "says when to retry.",
    )


def waiting() -> Flow:
    """Record a call that waits for another one."""
    recorder = Recorder()
    first, second, _ = WORKERS
    running = _call(recorder, first)
    running.until_running()
    config = _config(recorder, wait_for_in_progress_seconds=5)
    world = recorder.world
    engine = Engine(config, next_owner=world.next_owner, monotonic=world.clock, jitter=lambda: 0.0)
    waits = RecordedCall(recorder, second, engine)
    waits.step()
    waits.wait()
    waits.step()
    running.finish("charged")
    waits.wait()
    waits.run("charged twice")
    return recorder.flow(
        "waiting",
        "A call waits for another",
        "With `wait_for_in_progress_seconds`, a call that finds another one running pauses, and claims again "
        "under the same owner token. The table decides each of its claims.",
    )


def exception() -> Flow:
    """Record a body that raises, and the next call."""
    recorder = Recorder()
    first, second, _ = WORKERS
    failing = _call(recorder, first)
    failing.until_running()
    failing.fail(ConnectionError("the bank does not answer"))
    _call(recorder, second).run("charged")
    return recorder.flow(
        "exception",
        "The body raises",
        "The claim is released before the caller gets the body's exception, so the next call runs at once.",
    )


def timeout() -> Flow:
    """Record a worker that dies, and a worker that takes over."""
    recorder = Recorder()
    first, second, third = WORKERS
    dying = _call(recorder, first)
    dying.until_running()
    dying.crash()
    recorder.advance(4_000)
    _call(recorder, second).run("too early")
    recorder.advance(LEASE_S * 1000 - 4_000)
    _call(recorder, third).run("charged")
    return recorder.flow(
        "timeout",
        "A worker dies",
        "A dead worker's claim is kept until its lease ends. The first call after that takes over.",
    )


def optional_key() -> Flow:
    """Record calls without a key, with a configuration that allows them and with one that does not."""
    recorder = Recorder()
    lenient, strict, _ = WORKERS
    allowed = _decorated(recorder, lenient, event_key_jmespath="id", raise_on_no_idempotency_key=False)
    for _ in range(2):
        call_decorated(recorder, lenient, allowed, {})
    refused = _decorated(recorder, strict, event_key_jmespath="id", raise_on_no_idempotency_key=True)
    call_decorated(recorder, strict, refused, {})
    return recorder.flow(
        "optional-key",
        "No key",
        "With `raise_on_no_idempotency_key=False` (worker 1), a call without a key runs every time, with a "
        "warning, and nothing is stored. With `True` (worker 2) it is refused.",
    )


def race() -> Flow:
    """Record two callers that find an orphaned claim at once, and the late end of its owner."""
    recorder = Recorder()
    first, second, third = WORKERS
    late = _call(recorder, first)
    late.until_running()
    recorder.advance(LEASE_S * 1000)
    winner, loser = _call(recorder, second), _call(recorder, third)
    for both in (winner, loser):
        both.step()  # each finds the orphan
    winner.until_running()
    loser.run("charged twice")
    winner.finish("charged")
    late.finish("charged late")
    return recorder.flow(
        "orphan-race",
        "Two callers find an orphaned claim",
        "Both callers find the same claim, whose lease is over. One takes over, the other is refused. The "
        "first worker was only slow, and cannot overwrite the stored response. This is the same on Redis "
        "and on every other store.",
    )


_RECORDINGS = (
    successful,
    cached,
    response_hook,
    expired,
    concurrent,
    waiting,
    exception,
    timeout,
    optional_key,
    race,
)


def record_flows() -> list[Flow]:
    """Run every flow on the production engine, and return the recordings."""
    return [record() for record in _RECORDINGS]
