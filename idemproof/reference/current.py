"""The attempt, seen from the body that it runs."""

from typing import Any, Literal

from ..backends.base import AsyncCompareAndSwapLayer
from ..drivers import running
from ..drivers.blocking import drive
from ..spec.commands import Steps
from ..spec.errors import IdempotencyConfigError, IdempotencyError, IdempotencyLeaseLostError
from ..spec.record import Record, deadline_ms, live, same_execution
from .attempt import Attempt
from .changes import RunEndedError

running.wanted = True

_LOST = "has lost its claim: its lease ended, or the store lost it"
_ENDED = "has ended, so it no longer holds its claim"


class CurrentAttempt:
    """The attempt that runs the current function. :func:`current_attempt` returns it.

    It can be passed to other threads and tasks. After the function has ended, only its attributes can be
    read.
    """

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    @property
    def key(self) -> str:
        """The idempotency key."""
        return self._attempt.key

    @property
    def owner(self) -> str:
        """The attempt's owner token. It is unique, but has no order: it does not show which one is newer."""
        return self._attempt.owner

    @property
    def took_over(self) -> Record | Literal[False]:
        """The claim that this attempt replaced, whose effect may have happened; False if it replaced none."""
        replaced: Record | None = getattr(self._attempt, "replaced", None)
        # An earlier invocation of the same durable execution is the same attempt (DUR-2).
        return False if replaced is None or same_execution(replaced, self.owner) else replaced

    @property
    def lease_ends_at(self) -> int:
        """When the lease, or a claim without one, ends, as far as this process knows (epoch milliseconds)."""
        return deadline_ms(self._claim)

    def remaining_ms(self) -> int:
        """Return how many milliseconds of the lease are left, by the configured clock; 0 if none are."""
        now: int = self._attempt.engine.clock()
        return max(0, self.lease_ends_at - now)

    @property
    def lost(self) -> bool:
        """Whether a renewal was refused: another attempt has taken over, or the record is gone."""
        renewal = self._attempt.renewal
        return renewal is not None and renewal.lost

    def check(self) -> None:
        """Raise unless the attempt still holds its claim, as far as this process knows. It sends no request.

        Call it before an effect that cannot be undone.

        Raises
        ------
        IdempotencyLeaseLostError
            A renewal was refused, the lease has ended, or the attempt has.
        """
        self._refuse_ended()
        if not live(self._claim, self._attempt.engine.clock()):
            raise self._loss("is no longer protected: its lease has ended")

    def renew(self) -> None:
        """Renew the lease now. Functions with ``renew_lease=True`` need it only before long blocking work.

        Raises
        ------
        IdempotencyLeaseLostError
            The claim is lost, or the attempt has ended.
        IdempotencyConfigError
            The lease cannot be renewed: the layer stores no owner tokens, there is no lease,
            ``max_run_seconds`` is used up, the call is in a durable execution, or the function is async: then
            await :meth:`arenew`.
        Exception
            What the store raised. The lease is as it was.
        """
        layer = self._layer(asynchronous=False)
        self._judge(drive(self._steps(), layer, observe=self._attempt.engine.observe))

    async def arenew(self) -> None:
        """Renew the lease now, from an ``async def`` function. See :meth:`renew`."""
        from ..drivers.asynchronous import drive_async  # noqa: PLC0415 - blocking programs never need asyncio

        layer = self._layer(asynchronous=True)
        self._judge(await drive_async(self._steps(), layer, observe=self._attempt.engine.observe))

    def __repr__(self) -> str:
        return f"<the attempt {self.owner!r} on {self.key!r}>"

    @property
    def _claim(self) -> Record:
        attempt = self._attempt
        claim = attempt.held if attempt.renewal is None else attempt.renewal.claim
        assert claim is not None  # the body runs under it
        return claim

    def _steps(self) -> Steps:
        engine = self._attempt.engine
        try:
            return (
                yield from engine.renew_steps(
                    engine.renewal_of(self._attempt), engine._report_of(self._attempt)
                )
            )
        except RunEndedError:
            raise self._loss(_ENDED) from None

    def _refuse_ended(self) -> None:
        if self.lost:
            raise self._loss(_LOST)
        attempt = self._attempt
        if attempt.returned or attempt.failure is not None:  # or a question was answered instead
            raise self._loss(_ENDED)

    def _layer(self, *, asynchronous: bool) -> Any:
        """Return the layer of the call, or raise if it cannot renew."""
        self._refuse_ended()
        attempt = self._attempt
        if attempt.execution is not None:
            raise self._refusal("its lease spans the whole durable execution, and needs no renewal")
        if not attempt.engine.can_renew(attempt):
            raise self._refusal(
                "it has no lease of its own, or its layer stores no owner tokens. Set "
                "in_progress_expires_after_seconds, and use a layer with _load and _swap"
            )
        layer: Any = attempt.layer
        is_async = isinstance(layer, AsyncCompareAndSwapLayer)
        if is_async is not asynchronous:
            instead = "await arenew()" if is_async else "call renew()"
            raise self._refusal(f"this is not how its function runs: {instead} instead")
        return layer

    def _judge(self, outcome: Any) -> None:
        if self.lost:
            raise self._loss(_LOST)
        if outcome is None:
            raise self._refusal(
                "its lease already lasts as long as max_run_seconds or the Lambda context allow"
            )

    def _refusal(self, why: str) -> IdempotencyError:
        return IdempotencyConfigError(
            f"The lease of {self.key!r} cannot be renewed: {why}. Nothing was sent."
        )

    def _loss(self, what: str) -> IdempotencyError:
        return IdempotencyLeaseLostError(
            f"The attempt on {self.key!r} {what}. Another attempt may run, or have run. The function has run "
            "up to here. Stop before further effects."
        )


def current_attempt() -> CurrentAttempt | None:
    """Return the attempt that runs the current function, or None outside of protected calls.

    Of nested calls, it is the innermost. Tasks inherit it; so do threads that run in a copy of the context,
    such as those of ``asyncio.to_thread``. A function that runs unprotected, because its call has no key or
    protection is switched off, has none.
    """
    attempt = running.body_here()
    return CurrentAttempt(attempt) if isinstance(attempt, Attempt) else None
