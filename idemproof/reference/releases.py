"""Releases or abandons the claim of an attempt that has no result."""

from collections.abc import Callable

from ..spec.commands import Steps
from ..spec.errors import IdempotencyPersistenceLayerError
from ..spec.events import Abandoned, Released
from ..spec.occurrences import Kind
from ..spec.settle import settle
from .attempt import Attempt, append_context
from .changes import Releasing
from .finishing import Finishing

_ENDINGS = {Released: Kind.RELEASED, Abandoned: Kind.ABANDONED}


class Releases(Finishing):
    """The part of an engine that ends claims without a result: before the body, or after it has raised."""

    _releasing: Releasing
    _end_renewal: Callable[[Attempt], Steps]
    _ending_before_the_body: Callable[..., Releasing | None]
    _ending_after: Callable[[Attempt, BaseException], Releasing | None]
    _release_after_transaction: Callable[[Attempt, BaseException], Steps]

    def _release(self, attempt: Attempt, error: BaseException, change: Releasing | None = None) -> Steps:
        """Release or abandon the claim because of ``error``, if this attempt still holds it."""
        outcome = yield from settle(
            change or self._releasing, attempt, attempt.key, attempt.held, self._clock, attempt.decide
        )
        if attempt.report is not None:
            kind = _ENDINGS.get(type(outcome), Kind.NOT_HELD)
            yield from self._report(attempt, kind, outcome, error)

    def _take_back(self, attempt: Attempt, failure: BaseException, *, granted: bool) -> Steps:
        """Release or abandon a claim that may be stored, before the body or while it was failing."""
        if attempt.renewal is not None:
            yield from self._end_renewal(attempt)
        if attempt.failure is not None:
            append_context(failure, attempt.failure)
        # A claim that was granted, and is held no more, was claimed again in vain (OBS-3, TAKE-5).
        if attempt.report is not None and (not granted or attempt.held is None):
            yield from self._report(attempt, Kind.CLAIM_FAILED, None, failure)
        stopped = self._interrupts.includes(failure)
        if attempt.held is not None and not attempt.resumed:
            try:
                ending = self._ending_before_the_body(attempt, stopped=stopped)
                yield from self._release(attempt, attempt.failure or failure, ending)
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - noted on the failure that is being raised
                _note_standing_claim(failure, attempt.key, error)
                if attempt.report is not None:
                    yield from self._report(attempt, Kind.RELEASE_FAILED, None, error)
        if attempt.interrupt is not None and not stopped:
            raise attempt.interrupt from failure

    def _release_after_failure(  # noqa: C901 - one after the other
        self, attempt: Attempt, failure: BaseException
    ) -> Steps:
        """Release or abandon the claim after a failure, unless the body will be resumed."""
        if attempt.goes_on_after(failure):
            attempt.settled = True
            if attempt.report is not None:
                yield from self._report(attempt, Kind.SUSPENDED, None, failure)
            return
        if attempt.completion is not None:
            yield from self._release_after_transaction(attempt, failure)
            return
        trouble: BaseException | None = None
        try:
            yield from self._release(attempt, failure, self._ending_after(attempt, failure))
        except Exception as error:
            if self._interrupts.includes(error):
                raise
            trouble = error  # raised below, with what the body raised
        attempt.settled = True
        if trouble is not None and attempt.report is not None:
            yield from self._report(attempt, Kind.RELEASE_FAILED, None, trouble)
        if self._interrupts.includes(failure):
            if trouble is not None:
                _note_standing_claim(failure, attempt.key, trouble)
            return
        if attempt.interrupt is not None:
            append_context(attempt.interrupt, failure)
            raise attempt.interrupt from failure
        if trouble is None:
            return
        append_context(trouble, failure)
        raise IdempotencyPersistenceLayerError(
            f"{'on_takeover' if attempt.asks else 'The function'} raised {type(failure).__name__} for "
            f"{attempt.key!r}, and its claim could not be released: retries are refused until its lease "
            "ends.",
            trouble,
        ) from trouble


def _note_standing_claim(failure: BaseException, key: str, error: BaseException) -> None:
    failure.add_note(f"The claim on {key!r} may stand until its lease ends: {error!r}")
