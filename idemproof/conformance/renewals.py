"""How a simulated call renews its lease while its body runs, and what may become of a request."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ..spec.commands import CancelBody, Emit, Sleep, StopRenewal, Swap
from ..spec.errors import IdempotencyError
from ..spec.happenings import Began
from ..spec.record import deadline_ms, holds

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


class Renewed:
    """The part of a simulated call that renews its lease. See :class:`~.calls.SimulatedCall`."""

    _world: "World"
    _latest: int
    _go: Callable[[Callable[[], Any]], None]
    _report: Callable[[Emit], None]
    broken: list[str]
    command: Any
    completing: Any
    owner: str
    renewal: Any
    steps: Any
    beat: Any
    until: int

    @property
    def _current(self) -> Any:
        """The steps that the call takes: those of a completion within a transaction, or its own."""
        return self.steps if self.completing is None else self.completing

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
            try:
                answer = world.swap(command)
            except IdempotencyError as refusal:  # a transaction has locked the record
                self._beat(partial(steps.throw, refusal))
            else:
                if fate == "reply lost":
                    self._beat(lambda: steps.throw(StoreDown("reply lost")))
                else:
                    self._beat(lambda: steps.send(answer))
        if isinstance(self.command, StopRenewal) and not isinstance(self.beat, Swap):
            self._go(lambda: self._current.send(None))

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
