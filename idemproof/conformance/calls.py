"""Calls that a simulation steps through: the engine's own generators, and what becomes of their requests."""

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ..reference.changes import milliseconds
from ..reference.engine import Engine
from ..reference.not_done import NOT_DONE
from ..spec.commands import (
    AskWithin,
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
from ..spec.happenings import Answered, Asked, Began, Ended, Within
from ..spec.occurrences import Occurrence
from ..spec.record import COMPLETED, Record, deadline_ms, holds
from .connections import SimulatedConnection
from .pauses import Pauses
from .renewals import Fate, Renewed, StoreDown

if TYPE_CHECKING:
    from .simulator import World


class SimulatedCall(Renewed):
    """One call, waiting for its next step.

    ``ended`` is how it ended: "returned", "raised", "crashed", or None; ``value`` what it returned or raised.
    ``interrupted`` is whether it was interrupted, ``began_interrupted`` whether its body began after that,
    ``acted`` is whether its effect has happened, ``found`` whether its question was answered with a result or
    a final error, ``last`` what it asked for last, ``occurrences`` what it reported, which the world's
    history has too. ``reply`` is the record that answered its last request, ``answered`` whether there was an
    answer, ``unanswered_until`` when the latest lease ends of claims that got none and that it has not tried
    to release or abandon since (0 without one), and ``pauses`` how it has waited, or None.
    ``connection`` is the one within whose transaction its body completes, or None, ``completing`` the steps
    of that while they go on, and ``refusal`` what they raised.
    ``renewal`` is what renews its lease, ``beat`` the command for which the renewal waits, and ``broken``
    names the rules that the renewal has broken.
    """

    def __init__(self, world: "World", engine: Engine, payload_hash: str | None) -> None:
        self._world = world
        self._engine = engine
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
        self.connection: SimulatedConnection | None = None
        self.completing: Any = None
        self.refusal: BaseException | None = None
        self._noted_undone = False
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
                self._go(lambda: self._current.send(fate == "signalled"))
            return
        self.operations += 1
        if isinstance(command, AskWithin):
            self._ask_within(command, fate)
        elif isinstance(command, Load):
            self._reply(fate, self._world.load)
        else:
            self._note_claim(command.new)
            completes = command.new is not None and command.new.status == COMPLETED
            if self.connection is not None and completes:
                self.broken.append("TXN-2 a completion within a transaction is the only one of its attempt")
            if fate == "delayed":
                self._world.delayed.append(command)
            self._reply(fate, lambda: self._world.swap(command))

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

    def complete_within(self, result: Any) -> None:
        """Let the running body begin a transaction, in which its effect happens, and complete within it."""
        assert self.body is not None
        world, engine = self._world, self._engine
        connection = self.connection = SimulatedConnection(world, self.owner)
        world.history.append(Within(self.owner, world.now))
        given = self.body, result, connection, connection.records, engine._report_of(self.body)  # type: ignore[arg-type]  # it is an attempt
        self.completing = engine.complete_steps(*given, savepoint=False)  # type: ignore[arg-type]
        self._go(lambda: self.completing.send(None))

    def finish(self, result: Any) -> None:
        """Let the running body return ``result``."""
        assert self.body is not None
        self.body.result = result
        self.body.returned = True
        self._note_undone()
        self._go(lambda: self.steps.send(None))

    def fail(self, error: BaseException) -> None:
        """Let the running body raise ``error``."""
        assert self.body is not None
        self.body.failure = error
        committed = self.connection is not None and self.connection.is_committed
        if not (self._is_final(error) or committed):
            self._world.history.append(Ended(self.owner, self._world.now, "raised"))
        self._go(lambda: self.steps.send(None))

    @property
    def answer_text(self) -> str | None:
        """The text of the result or the final error that the call ended with, if it ended with an answer."""
        if self.ended == "returned":
            return json.dumps(self.value)
        is_final = self.ended == "raised" and self._is_final(self.value)
        return self._finals.encode(self.value) if is_final else None

    def _is_final(self, error: BaseException) -> bool:
        return self._finals.include(error) and self.connection is None  # TXN-9

    def interrupt(self, error: BaseException) -> None:
        """Let ``error`` strike while a request is pending, which is not applied."""
        self.interrupted = self.interrupted or not isinstance(error, Exception)
        self._go(lambda: self._current.throw(error))

    def crash(self) -> None:
        """Let the worker die: no step follows."""
        if self.body is not None:
            self._world.history.append(Ended(self.owner, self._world.now, "crashed"))
        if self.completing is not None:
            self.completing.close()
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

    def _ask_within(self, command: AskWithin, fate: str) -> None:
        assert self.connection is not None
        steps = self._current
        if fate == "interrupted":
            self.interrupt(KeyboardInterrupt())
            return
        try:
            answer = self.connection.perform(command.exchange, fate)
        except Exception as error:  # noqa: BLE001 - every failure belongs to the protocol
            advance = partial(steps.throw, error)
        else:
            advance = partial(steps.send, answer)
        self._note_undone()
        if fate == "interrupted after":
            self.interrupt(KeyboardInterrupt())
        else:
            self._go(advance)

    def _note_undone(self) -> None:
        """Note that the body has ended without its effect, as one that raises (TXN-7)."""
        connection, body = self.connection, self.body
        if connection is None or body is None or not (connection.is_undone and body.returned):
            return
        if not self._noted_undone:
            self._noted_undone = True
            self._world.history.append(Ended(self.owner, self._world.now, "raised"))

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
            self._go(lambda: self._current.throw(StoreDown(f"request {fate}")))
            return
        try:
            answer = perform()
        except (IdempotencyError, StoreDown) as refusal:  # a store that is not this module's may refuse so
            self._go(partial(self._current.throw, refusal))
            return
        if fate == "reply lost":
            self._go(lambda: self._current.throw(StoreDown("reply lost")))
            return
        if fate == "interrupted after":
            self.interrupt(KeyboardInterrupt())
            return
        self.reply = answer
        if isinstance(answer, Record) and holds(answer, self.owner):
            self.until = deadline_ms(answer)
        self._go(lambda: self._current.send(answer))

    def _go(self, advance: Callable[[], Any]) -> None:
        try:
            self.command = advance()
            while self._needs_no_decision(self.command):
                self.command = self._current.send(None)
            self._note_command()
        except StopIteration as done:
            if self.completing is not None:
                self._return_to_body(None)
                return
            failure = None if self._attempt is None else self._attempt.failure
            if failure is not None:
                self._end("raised", failure)
            else:
                self._end("returned", done.value)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the caller gets
            if self.completing is not None:
                self._return_to_body(error)
            else:
                self._end("raised", error)

    def _needs_no_decision(self, command: Any) -> bool:
        """Perform ``command``, unless the driver decides what becomes of it; return whether it is done."""
        if isinstance(command, Emit):
            self._report(command)
        elif isinstance(command, StartRenewal):
            self.renewal = command.renewal
            self._latest = self._world.now + self._world.LONGEST_RUN_MS
            self._beat(partial(self.renewal.steps.send, None))
        elif _is_requirement(command):
            assert self.connection is not None
            self.connection.perform(command.exchange)
        elif isinstance(command, StopRenewal) and not isinstance(self.beat, Swap):
            self.beat = None
        else:
            return False
        return True

    def _return_to_body(self, refusal: BaseException | None) -> None:
        self.completing, self.refusal, self.command = None, refusal, self.body

    def _note_command(self) -> None:
        """Note what the call waits for, and judge that it may (REN-3)."""
        if self.pausing:
            if self.pauses is None:
                self.pauses = Pauses(self._world.now)
            self.pauses.began = self._world.now
        renewal, asks = self.renewal, isinstance(self.command, Swap | AskWithin)
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

    def _end(self, how: Literal["returned", "raised", "crashed"], value: Any) -> None:
        world = self._world
        self.ended, self.value, self.command = how, value, None
        if isinstance(self.beat, Swap) and how != "crashed":
            world.delayed.append(self.beat)  # nobody waits for the reply any more
        if self.connection is not None:
            world.leave(self.owner)
        world.history.append(Asked(self.owner, world.now, self.operations, self.waiting_ms))
        if self.answer_text is not None:
            world.history.append(Answered(world.now, self.answer_text, self.payload_hash, world.record))


def _is_requirement(command: Any) -> bool:
    """Return whether a completion only looks at the state of its connection, which sends nothing."""
    return isinstance(command, AskWithin) and command.exchange.__name__ == "_requirement"
