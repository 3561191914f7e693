"""Propose, swap, reconcile: how the engine and the documented methods make every change of a record.

A change is proposed by the transition, sent as a compare-and-swap, and judged again by the transition on what
really stands. What differs between a claim, a completion, a release and a documented method is data and a few
answers: its event, how it copes with failures, and how often it may find that the record has changed.
"""

from collections.abc import Callable, Generator
from typing import Any

from .commands import Command, Sleep, Swap
from .events import Claimed, Event
from .record import Record, checked, live, same_record
from .transition import transition

Steps = Generator[Command, Any, Any]


class Granted(Record):
    """A claim that its layer has surely accepted, which a store without owners cannot tell later."""

    as_left: Any
    """The record as the layer has left it, which may have changed it: of the layer's own type."""


class Change:
    """One kind of change. Holds no state of any call: that is the ``subject``'s.

    The defaults are those of a change that retries nothing.
    """

    claims: bool = False
    """Whether the subject knows what may stand before it is sent, and a grant needs a live lease (ENG-3)."""

    conflicts: int = 10
    """How many requests may find that the record has changed (INV-8)."""

    requests: int = 64
    """How many requests there may be in all."""

    acting: Callable[[Any, Record | None], Record | None] | None = None
    """Turns what stands into what the event is decided on; None leaves it as it is."""

    proposed: Callable[[Any, Record | None], Record | None] | None = None
    """Turns what is to stand into what is sent; None leaves it as it is."""

    def event(self, subject: Any, now: int) -> Event:
        """Return what is wanted, with the deadlines that it has if it is sent ``now``."""
        raise NotImplementedError

    def refused(self, subject: Any, failures: int) -> None:
        """Note that a request was answered, and changed nothing."""

    def failed(
        self,
        subject: Any,  # noqa: ARG002 - for those that retry
        error: BaseException,
        failures: int,  # noqa: ARG002
        clock: Callable[[], int],  # noqa: ARG002
    ) -> int:
        """Return how many milliseconds to wait before the next try, or raise to give up."""
        raise error

    def restless(self, key: str, requests: int) -> Exception:
        """Return the error for a record that changes again and again."""
        raise NotImplementedError


def settle(  # noqa: C901, PLR0912, PLR0915 - one loop: propose, swap, reconcile
    change: Change, subject: Any, key: str, current: Record | None, clock: Callable[[], int]
) -> Steps:
    """Make ``change`` happen to what stands for ``key``, or find out why it may not; return the outcome.

    Parameters
    ----------
    change, subject
        What is wanted, and for whom. What stands in the end is the subject's ``held``.
    key
        Names the record.
    standing
        What is believed to stand.
    clock
        Returns epoch milliseconds.
    """
    failures = conflicts = pause = 0
    acts, claims = change.acting, change.claims
    failure: BaseException | None = None
    while True:
        try:
            if pause:
                yield Sleep(pause)
            now = clock()
            event = change.event(subject, now)
            acting = current if acts is None else acts(subject, current)
            new, outcome = transition(acting, event, now)
            if new is not acting:
                if (conflicts or failures) and (
                    conflicts >= change.conflicts or conflicts + failures >= change.requests
                ):
                    raise change.restless(key, conflicts + failures)  # noqa: TRY301 - as any failure
                if change.proposed is not None:
                    new = change.proposed(subject, new)
                keep_ms = 0
                if new is not None:
                    keep_ms = new.expiry_timestamp * 1000 - now
                    if keep_ms <= 0:
                        keep_ms = 1  # the store is never told to keep it for ever
                if claims:
                    subject.held = new
                found = yield Swap(key, current, new, keep_ms)
                if found is new:
                    current = new
                else:
                    current = None if found is None else checked(found, key)
                    if new is not None and same_record(current, new):
                        current = found if isinstance(found, Granted) else new
                    else:
                        conflicts += 1
                        change.refused(subject, failures)
                        acting = current if acts is None else acts(subject, current)
                        new, outcome = transition(acting, event, clock())
                        if new is not acting:
                            pause = 0
                            continue
            # The reply may have come after the lease that it grants: then it grants nothing.
            if not claims or not isinstance(outcome, Claimed) or live(current, clock()):  # type: ignore[arg-type]  # what was granted stands
                subject.held = current
                return outcome
            conflicts += 1
            pause = 0
        except GeneratorExit:
            raise  # nobody is there to perform anything
        except BaseException as error:  # noqa: BLE001 - judged below, where nothing is being handled
            failure = error
        if failure is None:
            continue
        try:
            failures += 1
            pause = change.failed(subject, failure, failures, clock)
        finally:
            failure = None  # its traceback refers to this frame
