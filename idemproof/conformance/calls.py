"""Calls that a simulation steps through: the engine's own generators, and what becomes of their requests."""

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ..reference.changes import milliseconds
from ..reference.engine import Engine
from ..reference.not_done import NOT_DONE
from ..spec.commands import (
    CancelBody,
    Emit,
    Load,
    RunBody,
    Sleep,
    StartRenewal,
    StopRenewal,
    Swap,
    Wait,
)
from ..spec.errors import IdempotencyError
from ..spec.invariants import Answered, Asked, Began, Ended
from ..spec.occurrences import Occurrence
from ..spec.record import COMPLETED, Record, deadline_ms, holds
from ..spec.waiting import SHORTEST_POLL_MS

if TYPE_CHECKING:
    from .simulator import World

Fate = Literal[
    "answered", "reply lost", "refused", "delayed", "interrupted", "interrupted after", "signalled"
]
"""How a request fares: applied and answered; applied, but the answer is lost; not applied, with an error;
an error now, and applied later, when the world delivers it; interrupted before it is applied, or after. A
wait may be ended by a signal, before its time is over."""


class StoreDown(Exception):  # noqa: N818 - it reads as what happened
    """What a simulated store raises."""


class Pauses:
    """What the pauses of a waiting call are judged by.

    ``since`` is when the first one began, ``spent_ms`` how long those were that no signal ended, and
    ``hurried`` whether the last one was ended by a signal before the shortest pause was over.
    """

    def __init__(self, now: int) -> None:
        self.since = self.began = now
        self.spent_ms = 0
        self.hurried = False

    def left(self, waiting_ms: int, now: int) -> int:
        """Return how many milliseconds are left of the configured time."""
        return min(self.since + waiting_ms - now, waiting_ms - self.spent_ms)

    def end(self, pause: Sleep | Wait, now: int, *, signalled: bool) -> None:
        """Note the end of a pause."""
        self.hurried = signalled and now - self.began < SHORTEST_POLL_MS
        self.spent_ms += (
            min(max(0, now - self.began), pause.milliseconds) if signalled else pause.milliseconds
        )


class SimulatedCall:
    """One call, waiting for its next step.

    ``ended`` is how it ended: "returned", "raised", "crashed", or None; ``value`` what it returned or raised.
    ``interrupted`` is whether it was interrupted, ``began_interrupted`` whether its body began after that,
    ``acted`` is whether its effect has happened, ``found`` whether its question was answered with a result or
    a final error, ``last`` what it asked for last, ``occurrences`` what it reported, which the world's
    history has too. ``reply`` is the record that answered its last request, ``answered`` whether there was an
    answer, ``unanswered_until`` when the latest lease ends of claims that got none and that it has not tried
    to release or abandon since (0 without one), and ``pauses`` how it has waited, or None.
    ``renewal`` is what renews its lease, ``beat`` the command for which the renewal waits, and ``broken``
    names the rules that the renewal has broken.
    """

    def __init__(self, world: "World", engine: Engine, payload_hash: str | None) -> None:
        self._world = world
        self._finals = engine.finals
        self.policy = engine.policy
        self.payload_hash = payload_hash
        self.steps = engine.steps(world.KEY, payload_hash, observed=True)
        self.owner = ""
        self.until = 0
        self.operations = 0
        self.waiting_ms = milliseconds(engine._config.wait_for_in_progress_seconds)
        self.pauses: Pauses | None = None
        self.reply: Record | None = None
        self.answered = False
        self.unanswered_until = 0
        self.occurrences: list[Occurrence] = []
        self.began_interrupted = False
        self.last: Any = None
        self.interrupted = False
        self.ended: Literal["returned", "raised", "crashed"] | None = None
        self.value: Any = None
        self.body: RunBody | None = None
        self.acted = self.found = False
        self._attempt: RunBody | None = None
        self.command: Any = None
        self.renewal: Any = None
        self.beat: Any = None
        self._latest = 0
        self.broken: list[str] = []
        self._go(lambda: self.steps.send(None))

    @property
    def running(self) -> bool:
        """Whether the body is running: the next step is to let it return or fail."""
        return self.body is not None and self.command is self.body

    @property
    def began(self) -> bool:
        """Whether its body, or the question before it, has begun."""
        return self._attempt is not None

    @property
    def pausing(self) -> bool:
        """Whether it waits for another attempt, and not for a store that has failed."""
        return isinstance(self.command, Wait) or (isinstance(self.command, Sleep) and self.answered)

    @property
    def asking(self) -> bool:
        """Whether the question is being answered that precedes the body."""
        return isinstance(self.command, RunBody) and self.command is not self.body

    def step(self, fate: Fate = "answered") -> None:
        """Perform the pending request or wait."""
        command = self.last = self.command
        if isinstance(
            command, Sleep | Wait | StopRenewal
        ):  # the wait for a renewal in flight ends without it
            if self.pausing and self.pauses is not None and not isinstance(command, StopRenewal):
                self.pauses.end(command, self._world.now, signalled=fate == "signalled")
            if fate == "interrupted":
                self.interrupt(KeyboardInterrupt())
            else:
                self._go(lambda: self.steps.send(fate == "signalled"))
            return
        self.operations += 1
        if isinstance(command, Load):
            self._reply(fate, lambda: self._world.record)
        else:
            self._note_claim(command.new)
            if fate == "delayed":
                self._world.delayed.append(command)
            self._reply(fate, lambda: self._world.swap(command))

    def renew(self, fate: Fate = "answered") -> None:
        """Perform the wait or the pending request of the renewal."""
        world, command, steps = self._world, self.beat, self.renewal.steps
        if isinstance(command, Sleep):
            self._beat(lambda: steps.send(None))
        elif fate in ("refused", "delayed"):
            if fate == "delayed":
                world.delayed.append(command)
            self._beat(lambda: steps.throw(StoreDown(f"renewal {fate}")))
        else:
            answer = world.swap(command)
            if fate == "reply lost":
                self._beat(lambda: steps.throw(StoreDown("reply lost")))
            else:
                self._beat(lambda: steps.send(answer))
        if isinstance(self.command, StopRenewal) and not isinstance(self.beat, Swap):
            self._go(lambda: self.steps.send(None))

    def answer(self, result: Any = NOT_DONE) -> None:
        """Answer the question: with a result, or that nothing was done."""
        self.found = result is not NOT_DONE
        self.command.result, self.command.returned = result, True
        self._go(lambda: self.steps.send(None))

    def fail_to_answer(self, error: BaseException) -> None:
        """Let the question raise ``error``."""
        self.command.failure = error
        self.found = self._finals.include(error)
        self._go(lambda: self.steps.send(None))

    def act(self) -> None:
        """Let the effect of the running body happen."""
        self.acted = True
        self._world.act(self.owner)

    def finish(self, result: Any) -> None:
        """Let the running body return ``result``."""
        assert self.body is not None
        self.body.result = result
        self.body.returned = True
        self._go(lambda: self.steps.send(None))

    def fail(self, error: BaseException) -> None:
        """Let the running body raise ``error``."""
        assert self.body is not None
        self.body.failure = error
        if not self._finals.include(error):
            self._world.history.append(Ended(self.owner, self._world.now, "raised"))
        self._go(lambda: self.steps.send(None))

    @property
    def answer_text(self) -> str | None:
        """The text of the result or the final error that the call ended with, if it ended with an answer."""
        if self.ended == "returned":
            return json.dumps(self.value)
        is_final = self.ended == "raised" and self._finals.include(self.value)
        return self._finals.encode(self.value) if is_final else None

    def interrupt(self, error: BaseException) -> None:
        """Let ``error`` strike while a request is pending, which is not applied."""
        self.interrupted = self.interrupted or not isinstance(error, Exception)
        self._go(lambda: self.steps.throw(error))

    def crash(self) -> None:
        """Let the worker die: no step follows."""
        if self.body is not None:
            self._world.history.append(Ended(self.owner, self._world.now, "crashed"))
        self.steps.close()
        if self.renewal is not None:
            self.renewal.steps.close()
        self._end("crashed", None)

    def until_running(self) -> "SimulatedCall":
        """Perform what comes before the body, without faults."""
        while self.ended is None and not self.running:
            self.answer() if self.asking else self.step()
        return self

    def run(self, result: Any = "result") -> "SimulatedCall":
        """Perform everything that is left, without faults; the body returns ``result``."""
        while self.ended is None:
            if self.running:
                self.finish(result)
            elif self.asking:
                self.answer()
            else:
                self.step()
        return self

    def _note_claim(self, new: Record | None) -> None:
        if new is not None and new.status != COMPLETED:
            self.owner = str(new.owner)
            self.until = deadline_ms(new)

    def _reply(self, fate: Fate, perform: Callable[[], Record | None]) -> None:
        self.answered = fate == "answered"
        if isinstance(self.last, Swap) and not self.began:
            new = self.last.new
            if new is None or deadline_ms(new) <= self._world.now:
                self.unanswered_until = 0  # released or abandoned
            elif not self.answered:
                self.unanswered_until = max(self.unanswered_until, deadline_ms(new))
        if fate == "interrupted":
            self.interrupt(KeyboardInterrupt())
            return
        if fate in ("refused", "delayed"):
            self._go(lambda: self.steps.throw(StoreDown(f"request {fate}")))
            return
        try:
            answer = perform()
        except (IdempotencyError, StoreDown) as refusal:  # a store that is not this module's may refuse so
            self._go(partial(self.steps.throw, refusal))
            return
        if fate == "reply lost":
            self._go(lambda: self.steps.throw(StoreDown("reply lost")))
            return
        if fate == "interrupted after":
            self.interrupt(KeyboardInterrupt())
            return
        self.reply = answer
        if isinstance(answer, Record) and holds(answer, self.owner):
            self.until = deadline_ms(answer)
        self._go(lambda: self.steps.send(answer))

    def _go(self, advance: Callable[[], Any]) -> None:
        try:
            self.command = advance()
            while True:
                if isinstance(self.command, Emit):
                    self._report(self.command)
                elif isinstance(self.command, StartRenewal):
                    self.renewal = self.command.renewal
                    self._latest = self._world.now + self._world.LONGEST_RUN_MS
                    self._beat(partial(self.renewal.steps.send, None))
                elif not isinstance(self.command, StopRenewal) or isinstance(self.beat, Swap):
                    break
                else:
                    self.beat = None
                self.command = self.steps.send(None)
            self._note_command()
        except StopIteration as done:
            failure = None if self._attempt is None else self._attempt.failure
            if failure is not None:
                self._end("raised", failure)
            else:
                self._end("returned", done.value)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the caller gets
            self._end("raised", error)

    def _note_command(self) -> None:
        """Note what the call waits for, and judge that it may (REN-3)."""
        if self.pausing:
            if self.pauses is None:
                self.pauses = Pauses(self._world.now)
            self.pauses.began = self._world.now
        renewal, asks = self.renewal, isinstance(self.command, Swap)
        if asks and renewal is not None and not renewal.stopped:
            self.broken.append(
                "REN-3 a renewal is stopped before its attempt completes, releases or abandons"
            )
        if isinstance(self.command, RunBody):
            self._attempt = self.command
        if isinstance(self.command, RunBody) and self.command.asked is None:
            self.began_interrupted = self.interrupted
            self.body = self.command
            self._world.history.append(Began(self.owner, self._world.now, self.until))

    def _report(self, command: Emit) -> None:
        self.occurrences.append(command.occurrence)
        self._world.history.append(command.occurrence)

    def _beat(self, advance: Callable[[], Any]) -> None:
        """Let the renewal go on to its next wait or request, and judge what it does (REN-2, REN-4, REN-5)."""
        renewal, lost = self.renewal, self.renewal.lost
        try:
            command = advance()
            while isinstance(command, Emit | CancelBody):
                if isinstance(command, Emit):
                    self._report(command)
                command = renewal.steps.send(None)
        except StopIteration:
            command = None
        self.beat = command
        if isinstance(command, Swap):
            if renewal.stopped:
                self.broken.append("REN-4 a stopped renewal sends no request")
            expected = command.expected  # its deadline may be later: then it is kept
            allowed = max(self._latest, self.until if expected is None else deadline_ms(expected))
            if command.new is None or deadline_ms(command.new) > allowed:
                self.broken.append("REN-2 a lease is not renewed beyond the longest run")
        if renewal.lost and not lost and holds(self._world.record, self.owner):
            self.broken.append("REN-5 a claim is lost only if the attempt no longer holds it")
        self._prolong(deadline_ms(renewal.claim))

    def _prolong(self, until: int) -> None:
        """Note until when the lease lasts by now, in the history too."""
        self.until = max(self.until, until)
        history = self._world.history
        for place, item in enumerate(history):
            if isinstance(item, Began) and item.owner == self.owner and until > item.until:
                history[place] = item._replace(until=until)

    def _end(self, how: Literal["returned", "raised", "crashed"], value: Any) -> None:
        world = self._world
        self.ended, self.value, self.command = how, value, None
        if isinstance(self.beat, Swap) and how != "crashed":
            world.delayed.append(self.beat)  # nobody waits for the reply any more
        world.history.append(Asked(self.owner, world.now, self.operations, self.waiting_ms))
        if self.answer_text is not None:
            world.history.append(Answered(world.now, self.answer_text, self.payload_hash, world.record))
