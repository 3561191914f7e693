"""Propose, swap, reconcile: how the engine and the documented methods change a record.

The transition function proposes a change. It is sent as a compare-and-swap. If another record is stored, the
transition function decides again on that record. A claim, a completion, a release and a documented method
differ only in their event, in how they handle failures, and in how many conflicting changes they accept.
"""

from collections.abc import Callable
from typing import Any

from .commands import Sleep, Steps, Swap
from .events import Claimed, Event
from .record import INPROGRESS, Record, checked, live, same_record
from .transition import Next, transition


class Granted(Record):
    """A claim that its layer has confirmed, because a store without owner tokens cannot confirm it later."""

    as_left: Any
    """The record of the layer's own type, after the layer may have changed it."""


class Change:
    """One kind of change. The state of a call is in its ``subject``.

    The defaults are those of a change that is not retried.
    """

    claims: bool = False
    """Whether this is a claim: ``held`` is set before each request, and a live lease is needed (ENG-3)."""

    conflicts: int = 10
    """How many requests may find a changed record (INV-8)."""

    requests: int = 64
    """The largest number of requests in total."""

    acting: Callable[[Any, Record | None], Record | None] | None = None
    """Converts the stored record before the transition function decides; None to use it unchanged."""

    proposed: Callable[[Any, Record | None], Record | None] | None = None
    """Converts the new record before it is sent; None to send it unchanged."""

    def event(self, subject: Any, now: int) -> Event:
        """Return the event, with its deadlines if it is sent ``now``."""
        raise NotImplementedError

    def refused(self, subject: Any, failures: int) -> None:
        """Record that a request was answered without a change."""

    def failed(
        self,
        subject: Any,  # noqa: ARG002 - for those that retry
        error: BaseException,
        failures: int,  # noqa: ARG002
        clock: Callable[[], int],  # noqa: ARG002
    ) -> int:
        """Return how many milliseconds to wait before the next try, or raise to stop."""
        raise error

    def restless(self, key: str, requests: int) -> Exception:
        """Return the error for a record that changed too often."""
        raise NotImplementedError


def _is_of_another(current: Record, new: Record | None) -> bool:
    """Return whether ``current`` is a claim that ``new`` takes over."""
    return current.status == INPROGRESS and new is not None and current.owner != new.owner


def settle(  # noqa: C901, PLR0912, PLR0915 - one loop: propose, swap, reconcile
    change: Change,
    subject: Any,
    key: str,
    current: Record | None,
    clock: Callable[[], int],
    decide: Callable[[Record | None, Event, int], Next] | None = None,
) -> Steps:
    """Apply ``change`` to the record of ``key``, or find out why it is refused; return the outcome.

    Parameters
    ----------
    change, subject
        The kind of change, and the call that makes it. Its ``held`` is the stored record in the end.
    key
        Names the record.
    current
        The record that is expected to be stored.
    clock
        Returns epoch milliseconds.
    decide
        Is asked instead of the table, which it asks.
    """
    failures = conflicts = pause = 0
    acts, claims = change.acting, change.claims
    if decide is None:
        decide = transition
    failure: BaseException | None = None
    while True:
        try:
            if pause:
                yield Sleep(pause)
            now = clock()
            event = change.event(subject, now)
            acting = current if acts is None else acts(subject, current)
            new, outcome = decide(acting, event, now)
            if new is not acting:
                if (conflicts or failures) and (
                    conflicts >= change.conflicts or conflicts + failures >= change.requests
                ):
                    raise change.restless(key, conflicts + failures)  # noqa: TRY301 - as any failure
                if change.proposed is not None:
                    new = change.proposed(subject, new)
                ttl_ms = 0
                if new is not None:
                    ttl_ms = new.expiry_timestamp * 1000 - now
                    if ttl_ms <= 0:
                        ttl_ms = 1  # because 0 could mean forever
                if claims:
                    subject.held = new
                    if current is not None and _is_of_another(current, new):
                        subject.replaced = current  # even if its reply is lost
                        if outcome.asks:  # type: ignore[union-attr]  # what a claim proposes is granted
                            subject.asks = True  # until it ends, though the reply may be lost (TAKE-3)
                found = yield Swap(key, current, new, ttl_ms)
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
                        now = clock()
                        new, outcome = decide(acting, event, now)
                        if new is not acting:
                            pause = 0
                            continue
            # The lease may have ended before the reply arrived. Then it grants nothing.
            if not claims or not isinstance(outcome, Claimed) or live(current, clock()):  # type: ignore[arg-type]  # what was granted stands
                subject.held = current
                return outcome
            conflicts += 1
            pause = 0
        except GeneratorExit:
            raise  # because no driver is left to perform a step
        except BaseException as error:  # noqa: BLE001 - handled below, outside of this handler
            failure = error
        if failure is None:
            continue
        try:
            failures += 1
            pause = change.failed(subject, failure, failures, clock)
        finally:
            failure = None  # because its traceback refers to this frame
