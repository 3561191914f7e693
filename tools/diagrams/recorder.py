"""Records what the production engine does, as data that can be drawn.

A :class:`Recorder` observes one simulated world: each request to the store with its row, the record that is
stored afterwards, the body, the caller's result or error, and the clock. It knows nothing of the protocol:
rows and outcomes are the table's own for the observed request.
"""

import json
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from idemproof.backends.base import CompareAndSwapLayer
from idemproof.backends.warning import IdempotencyWarning
from idemproof.conformance.simulator import World
from idemproof.reference.engine import Engine
from idemproof.spec.commands import Swap, Wait
from idemproof.spec.errors import IdempotencyAlreadyInProgressError
from idemproof.spec.events import Claim, Claimed, Complete, Event, Release
from idemproof.spec.record import COMPLETED, Record, deadline_ms, same_record
from idemproof.spec.transition import deciding_row, transition

from .states import state_of

CLIENT = "Client"
STORE = "Store"


class Message(NamedTuple):
    """``source`` says ``text`` to ``target``; a ``reply`` answers an earlier message."""

    source: str
    target: str
    text: str
    reply: bool = False


class Note(NamedTuple):
    """Something that happened in a lane: ``kind`` is "body", "decision", "remark" or "crash"."""

    lane: str
    kind: str
    text: str


class Stored(NamedTuple):
    """The stored record: its ``state``, and ``details`` line by line."""

    state: str
    details: tuple[str, ...]


class Jump(NamedTuple):
    """The clock moved."""

    text: str


Step = Message | Note | Stored | Jump


class Flow(NamedTuple):
    """What happened, from the first call to the last answer.

    Parameters
    ----------
    name
        Names its files.
    title, sentence
        What it shows.
    lanes
        Who took part, from left to right.
    steps
        What happened, in its order.
    """

    name: str
    title: str
    sentence: str
    lanes: tuple[str, ...]
    steps: tuple[Step, ...]


class Recorder:
    """Takes notes of a world.

    ``lanes`` are the workers that took part, in the order of their first calls.
    """

    def __init__(self) -> None:
        self.world = World()
        self.steps: list[Step] = []
        self.lanes: list[str] = []
        self._began = self.world.now
        self._names: dict[str, str] = {}

    def flow(self, name: str, title: str, sentence: str) -> Flow:
        """Return what was recorded."""
        return Flow(name, title, sentence, (CLIENT, *self.lanes, STORE), tuple(self.steps))

    def note(self, lane: str, kind: str, text: str) -> None:
        """Note what happened in a lane."""
        self.steps.append(Note(lane, kind, text))

    def advance(self, milliseconds: int) -> None:
        """Move the clock, and note what that did to the record."""
        world = self.world
        before = state_of(world.record, world.now)
        world.now += milliseconds
        after = state_of(world.record, world.now)
        text = f"{milliseconds / 1000:g} s pass, time is {self._moment(world.now)}"
        if after != before:
            text += f", {before} becomes {after}"
        self.steps.append(Jump(text))

    def asked(self, lane: str, text: str) -> None:
        """Note that a caller calls."""
        if lane not in self.lanes:
            self.lanes.append(lane)
        self.steps.append(Message(CLIENT, lane, text))

    def reported(self, lane: str, answer: Any = None, error: BaseException | None = None) -> None:
        """Record the result or the error that the caller gets."""
        if error is None:
            text = f"returns {json.dumps(answer)}"
        else:
            text = f"raises {type(error).__name__}"
            if isinstance(error, IdempotencyAlreadyInProgressError) and error.retry_after_ms is not None:
                text += f", retry after {error.retry_after_ms / 1000:g} s"
        self.steps.append(Message(lane, CLIENT, text, reply=True))

    def exchange(self, lane: str, swap: Swap, perform: Callable[[], Any]) -> None:
        """Note a request, what ``perform`` made of it, and what the protocol says to the answer."""
        world = self.world
        event = event_of(swap)
        row = deciding_row(swap.expected, event, world.now)
        kind = type(event).__name__
        wish = f"swap {self._named(swap.expected)} for {self._named(swap.new)}"
        self.steps.append(Message(lane, STORE, f"{kind}, {row.clause}: {wish}"))
        position = len(self.steps)
        perform()
        answer = self._answer(lane, swap, event)
        self.steps[position:position] = answer  # what performing led to comes after the answer

    def _answer(self, lane: str, swap: Swap, event: Event) -> list[Step]:
        world = self.world
        current = self._standing()
        swapped = world.record is None if swap.new is None else same_record(world.record, swap.new)
        if swapped:
            return [current, Message(STORE, lane, "swapped", reply=True)]
        _, outcome = transition(world.record, event, world.now)
        decision = f"{deciding_row(world.record, event, world.now).clause}: {type(outcome).__name__}"
        if isinstance(outcome, Claimed) and outcome.took_over is not None:
            decision += ", may take over"
        return [
            current,
            Message(STORE, lane, f"not swapped, current: {self._named(world.record)}", reply=True),
            Note(lane, "decision", decision),
        ]

    def _moment(self, epoch_ms: int) -> str:
        return f"{(epoch_ms - self._began) / 1000:g} s"

    def _owner(self, record: Record) -> str:
        # Tokens are random under a decorator: they are named in the order in which they are seen.
        return self._names.setdefault(str(record.owner), f"owner-{len(self._names) + 1}")

    def _named(self, record: Record | None) -> str:
        return "nothing" if record is None else f"{record.status} of {self._owner(record)}"

    def _standing(self) -> Stored:
        record = self.world.record
        state = state_of(record, self.world.now)
        if record is None:
            return Stored(state, ())
        owner = f"of {self._owner(record)}" if state == record.status else self._named(record)
        until = f"until {self._moment(deadline_ms(record))}"
        if record.status == COMPLETED:
            return Stored(state, (owner, f"response {record.response_data}", until))
        return Stored(state, (owner, f"lease {until}"))


def event_of(swap: Swap) -> Event:
    """Return the event that an engine's request carries out."""
    new = swap.new
    if new is None:
        return Release(None if swap.expected is None else swap.expected.owner)
    if new.status == COMPLETED:
        key = new.idempotency_key
        return Complete(new.owner, new.response_data, new.payload_hash, new.expiry_timestamp, key)
    lease = new.in_progress_expiry_timestamp
    return Claim(new.owner, lease, new.expiry_timestamp, new.payload_hash, new.idempotency_key)


class RecordedCall:
    """One call of the production engine in the recorder's world, taken step by step.

    Parameters
    ----------
    recorder
        Takes the notes.
    lane
        The worker that runs the call.
    engine
        The worker's engine.
    """

    def __init__(self, recorder: Recorder, lane: str, engine: Engine) -> None:
        self._recorder = recorder
        self._lane = lane
        recorder.asked(lane, "call")
        self._call = recorder.world.call(engine)

    def step(self) -> None:
        """Perform the pending request."""
        command = self._call.command
        assert isinstance(command, Swap), command

        def perform() -> None:
            self._call.step()
            if self._call.running:
                self._recorder.note(self._lane, "body", "the body runs")
            self._record_step()

        self._recorder.exchange(self._lane, command, perform)

    def wait(self) -> None:
        """Let the time of a pause pass."""
        pause = self._call.command
        assert isinstance(pause, Wait), pause
        self._recorder.note(self._lane, "remark", f"waits for {pause.milliseconds} ms")
        self._recorder.advance(pause.milliseconds)
        self._call.step()

    def until_running(self) -> None:
        """Perform what comes before the body."""
        while self._call.ended is None and not self._call.running:
            self.step()

    def finish(self, result: Any) -> None:
        """Let the body return ``result``, and perform what follows."""
        self._recorder.note(self._lane, "body", f"the body returns {json.dumps(result)}")
        self._call.finish(result)
        self._to_the_end()

    def fail(self, error: Exception) -> None:
        """Let the body raise ``error``, and perform what follows."""
        self._recorder.note(self._lane, "body", f"the body raises {type(error).__name__}")
        self._call.fail(error)
        self._to_the_end()

    def run(self, result: Any) -> None:
        """Perform the whole call; if the body runs, it returns ``result``."""
        self.until_running()
        if self._call.running:
            self.finish(result)

    def crash(self) -> None:
        """Let the worker die."""
        self._call.crash()
        self._recorder.note(self._lane, "crash", "the worker dies")

    def _to_the_end(self) -> None:
        while self._call.ended is None:
            self.step()

    def _record_step(self) -> None:
        if self._call.ended == "returned":
            self._recorder.reported(self._lane, self._call.value)
        elif self._call.ended == "raised":
            self._recorder.reported(self._lane, error=self._call.value)


class RecordingLayer(CompareAndSwapLayer):
    """A compare-and-swap layer over the recorder's world, for functions that really are decorated.

    Parameters
    ----------
    recorder
        Takes the notes.
    lane
        The worker whose requests these are.
    """

    blocks = False

    def __init__(self, recorder: Recorder, lane: str) -> None:
        self._recorder = recorder
        self._lane = lane

    def _load(self, key: str) -> Record | None:  # noqa: ARG002 - the world has one key
        return self._recorder.world.record

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        swap = Swap(key, expected, new, ttl_ms)
        answer: list[Record | None] = []
        self._recorder.exchange(self._lane, swap, lambda: answer.append(self._recorder.world.swap(swap)))
        return answer[0]


def call_decorated(recorder: Recorder, lane: str, function: Callable[[Any], Any], argument: Any) -> None:
    """Call a decorated function as a client does, and record its result or error, and warnings."""
    recorder.asked(lane, f"call with {json.dumps(argument)}")
    before = len(recorder.steps)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", IdempotencyWarning)
        try:
            answer, error = function(argument), None
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is what the caller gets
            answer, error = None, failure
    for warning in warned:
        recorder.steps.insert(before, Note(lane, "remark", f"{warning.category.__name__} is issued"))
    since = recorder.steps[before:]
    if not any(isinstance(step, Message) for step in since):
        ran = any(isinstance(step, Note) and step.kind == "body" for step in since)
        recorder.note(lane, "remark", f"no request to the store{'' if ran else ', and no run'}")
    recorder.reported(lane, answer, error)
