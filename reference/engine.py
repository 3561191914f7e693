"""One call of an idempotent function, as protocol code for any driver.

Every decision is :func:`~idemproof.spec.transition.transition`'s: the engine asks it about what it believes
to stand, proposes the outcome to the store by compare-and-swap, and asks again about what really stands.
"""

import logging
from collections.abc import Callable, Generator
from types import CodeType
from typing import Any

from ..backends.commands import Command, Sleep, Swap
from ..backends.records import new_owner
from ..spec.errors import (
    IdempotencyError,
    IdempotencyInconsistentStateError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
)
from ..spec.events import (
    Claim,
    Claimed,
    Complete,
    LeaseLost,
    Outcome,
    Release,
    Released,
    Superseded,
)
from ..spec.record import RESULT_UNAVAILABLE, Record, ceil_seconds, expiry_ms, live, make, same_record
from ..spec.transition import transition
from .answers import Answers, logger, not_stored, tell
from .attempt import Attempt, append_context, is_final
from .attempt import standing as checked_standing
from .cache import LocalCache
from .config import IdempotencyConfig, remaining_ms
from .serialization import BaseIdempotencySerializer

Steps = Generator[Command, Any, Any]

SWAPS_PER_STEP = 8
"""How often a claim, a completion or a release may find that the record has changed (INV-8)."""

RETRIES = 2
"""How often each of them is tried again after the store failed."""

SHORTEST_LEASE_MS = 1000
"""What a Lambda context grants that has hardly any time left: a lease longer than the run is safe."""

BACKOFF_MS = 25
"""The wait before the first such retry; the second waits twice as long."""

INTERRUPTS = range(3)
"""How often a completion or a release that is interrupted between its requests begins again."""


class Engine:
    """The protocol for one decorated function. Holds no state of any call; safe for any number of threads.

    Parameters
    ----------
    config
        Windows, clock, cache and hook.
    serializer
        Turns results into JSON-able data and back; None stores them as they are.
    mint
        Makes owner tokens.
    hidden
        The code of an async or generator function that hides behind the body, or None.
    """

    def __init__(
        self,
        config: IdempotencyConfig,
        serializer: BaseIdempotencySerializer | None = None,
        mint: Callable[[], str] = new_owner,
        hidden: CodeType | None = None,
    ) -> None:
        self._config = config
        self._clock = config.clock
        self._window_ms = _milliseconds(config.expires_after_seconds)
        lease = config.in_progress_expires_after_seconds
        self._lease_ms = None if lease is None else _milliseconds(lease)
        self._mint = mint
        self._hidden = hidden
        self._cache = LocalCache(config.local_cache_max_items) if config.use_local_cache else None
        self._answers = Answers(serializer, config.response_hook, self._cache)
        self._told_of_missing_lease = False

    def steps(  # noqa: C901, PLR0912 - the whole course of a call, in its order
        self, key: str, payload_hash: str | None, lambda_context: Any = None
    ) -> Steps:
        """Run one call: claim, body, completion or release, answer.

        Parameters
        ----------
        key
            Names the operation.
        payload_hash
            Hash of the validated part of the payload, or None.
        lambda_context
            The AWS Lambda context whose remaining time bounds the lease, or None.

        Yields
        ------
        Command
            What the driver is to do.

        Returns
        -------
        object
            What the caller is told.
        """
        if self._cache is not None:
            cached = self._from_cache(self._cache, key, payload_hash)
            if cached is not None:
                return self._answers.of(cached)
        attempt = Attempt(key, payload_hash, self._mint(), lambda_context)
        try:
            refusal = yield from self._claim(attempt)
            if refusal is None:
                yield attempt
        except GeneratorExit:
            raise  # nobody is there to perform anything
        except BaseException as failure:
            if not attempt.returned:
                yield from self._take_back(attempt, failure)
                raise
            attempt.interrupt = failure
        if refusal is not None:
            return self._answers.of(refusal)
        for _ in INTERRUPTS:
            try:
                if attempt.failure is None and self._hidden is not None:
                    attempt.refuse_what_has_not_run(self._hidden)
                if attempt.failure is not None:
                    yield from self._release_after_failure(attempt, attempt.failure)
                    return None  # the driver raises the body's exception
                return (yield from self._finish(attempt))
            except (GeneratorExit, Exception):
                raise
            except BaseException as interrupt:
                if attempt.settled:
                    raise
                attempt.note_interrupt(interrupt)  # and begin again: doing it twice is doing it once
        assert attempt.interrupt is not None  # nothing else leads here
        if attempt.failure is not None:
            append_context(attempt.interrupt, attempt.failure)
        raise attempt.interrupt

    def _from_cache(self, cache: LocalCache, key: str, payload_hash: str | None) -> Outcome | None:
        record = cache.get(key)
        if record is None:
            return None
        _, outcome = transition(record, Claim(None, None, 0, payload_hash), self._clock())
        if isinstance(outcome, Claimed):  # it has expired
            cache.discard(record)
            return None
        return outcome

    def _claim(self, attempt: Attempt) -> Steps:  # noqa: C901 - one loop, each branch a way to be refused
        """Claim; return None once granted, else why not."""
        key = attempt.key
        standing: Record | None = None
        errors = 0
        for _ in range(SWAPS_PER_STEP + RETRIES):
            now = self._clock()
            claim = self._claim_at(now, attempt)
            new, outcome = transition(standing, claim, now)
            if not isinstance(outcome, Claimed) or new is None:
                return outcome
            if new is not standing:
                attempt.held = new
                try:
                    found = yield make(Swap, (key, standing, new, expiry_ms(new) - now))
                except Exception as error:
                    errors += 1
                    if isinstance(error, IdempotencyError) and (errors > RETRIES or is_final(error)):
                        raise
                    if errors > RETRIES:
                        raise IdempotencyPersistenceLayerError(
                            f"The persistence layer could not claim {key!r}. Nothing ran. Retry.",
                            error,
                        ) from error
                    yield Sleep(BACKOFF_MS * errors)
                    continue
                standing = new if found is new else checked_standing(found, key)
                if not same_record(standing, new):
                    if not errors:  # after an unanswered claim, one may still stand or arrive
                        attempt.held = None
                    _, outcome = transition(standing, claim, self._clock())
                    if not isinstance(outcome, Claimed):
                        return outcome
                    continue
            attempt.held = standing = new
            # The reply may have come after the lease that it grants: then it grants nothing.
            if live(new, self._clock()):
                if outcome.took_over is None:
                    tell("claimed", key)
                else:
                    tell("took over", key, "%r, from one whose lease or window is over", logging.INFO)
                return None
        raise IdempotencyInconsistentStateError(
            f"The record of {key!r} could not be claimed in {SWAPS_PER_STEP + RETRIES} tries, "
            "though the protocol allows it each time: its lease is shorter than a request takes, or the "
            "persistence layer decides by other rules. The function did not run. Retry."
        )

    def _claim_at(self, now: int, attempt: Attempt) -> Claim:
        """Return the claim with the deadlines that it has if it is sent now (ENG-2)."""
        lease = self._lease_ms
        context = self._config.lambda_context if attempt.context is None else attempt.context
        if context is not None:
            left = remaining_ms(context)
            if left is not None:
                if left <= 0:
                    raise IdempotencyInconsistentStateError(
                        f"The Lambda context has no time left for {attempt.key!r}. "
                        "The function did not run. Retry."
                    )
                left = max(left, SHORTEST_LEASE_MS)
                lease = left if lease is None else min(left, lease)
        if lease is not None:
            lease += now
        elif not self._told_of_missing_lease:
            self._told_of_missing_lease = True
            logger.warning(
                "No lease for %r: if a worker dies, its operation stays in progress for the whole window. "
                "Set in_progress_expires_after_seconds, or register the Lambda context.",
                attempt.key,
            )
        expiry = ceil_seconds(now + self._window_ms)
        claim: Claim = make(Claim, (attempt.owner, lease, expiry, attempt.payload_hash, attempt.key))
        return claim

    def _finish(self, attempt: Attempt) -> Steps:
        """Store the result of a body that has returned. From here on nothing is ever released."""
        result = attempt.result
        trouble: BaseException | None = None
        try:
            text, answer = self._answers.encode(result)
        except BaseException as cause:
            if not isinstance(cause, Exception) and attempt.interrupt is None:
                raise  # and begin again: the next try may not be interrupted
            text, answer, trouble = RESULT_UNAVAILABLE, None, cause
        try:
            outcome = yield from self._complete(attempt, text)
        except IdempotencyRecordTooLargeError as cause:
            trouble = cause
            outcome = yield from self._complete(attempt, RESULT_UNAVAILABLE)
        attempt.settled = True
        if attempt.interrupt is not None:
            raise attempt.interrupt
        if isinstance(outcome, LeaseLost):
            raise IdempotencyLeaseLostError(
                f"The attempt on {attempt.key!r} outlived its lease and another took over. The function ran; "
                "its result, carried by this error, was not stored. Give the lease more time.",
                result=result,
            )
        if isinstance(outcome, Superseded):
            tell(
                "superseded",
                attempt.key,
                "an attempt on %r outlived its lease; another completed first, and its result counts",
                logging.WARNING,
            )
            return self._answers.instead_of(result, outcome.record)
        if trouble is not None:
            raise not_stored(attempt.key, result, trouble) from trouble
        tell("completed", attempt.key)
        if self._cache is not None:
            self._cache.put(outcome.record)
        return answer

    def _complete(self, attempt: Attempt, text: str) -> Steps:  # noqa: C901, PLR0912 - as _claim
        """Store ``text`` and return the outcome. An interrupt does not abandon this: it is noted."""
        key = attempt.key
        standing = attempt.held
        failure: BaseException | None = None
        errors = 0
        for _ in range(SWAPS_PER_STEP + RETRIES):
            try:
                if errors:
                    yield Sleep(BACKOFF_MS * errors)
                now = self._clock()
                if attempt.expiry is None:
                    attempt.expiry = ceil_seconds(now + self._window_ms)
                if now >= attempt.expiry * 1000:
                    break
                event = make(Complete, (attempt.owner, text, attempt.payload_hash, attempt.expiry, key))
                new, outcome = transition(standing, event, now)
                if new is standing or new is None:
                    return outcome
                found = yield make(Swap, (key, standing, new, attempt.expiry * 1000 - now))
                standing = new if found is new else checked_standing(found, key)
                if same_record(standing, new):
                    return outcome
            except GeneratorExit:
                raise
            except BaseException as error:
                if isinstance(error, IdempotencyRecordTooLargeError) and text != RESULT_UNAVAILABLE:
                    raise
                failure = error
                attempt.note_interrupt(error)
                errors += 1
                if errors > RETRIES or is_final(error):
                    break
        attempt.settled = True
        unknown = IdempotencyPersistenceLayerError(
            f"The function ran for {key!r}, and it is not known whether its result, carried by this "
            "error, was stored. Check the operation before repeating it.",
            failure or "the record kept changing, or its window is over",
            result=attempt.result,
        )
        if failure is not attempt.interrupt:
            unknown.__cause__ = failure
        try:
            if attempt.interrupt is not None:
                raise attempt.interrupt from unknown
            raise unknown
        finally:
            del failure, unknown  # their tracebacks refer to this frame

    def _release(self, attempt: Attempt) -> Steps:
        """Give the claim back, if it is still ours. An interrupt does not abandon this: it is noted."""
        event = Release(attempt.owner)
        standing = attempt.held
        errors = 0
        for _ in range(SWAPS_PER_STEP + RETRIES):
            try:
                if errors:
                    yield Sleep(BACKOFF_MS * errors)
                _, outcome = transition(standing, event, self._clock())
                if not isinstance(outcome, Released):
                    return
                found = yield Swap(attempt.key, standing, None, 0)
                standing = checked_standing(found, attempt.key)
                if standing is None:
                    tell("released", attempt.key)
                    return
            except GeneratorExit:
                raise
            except BaseException as error:
                attempt.note_interrupt(error)
                errors += 1
                if errors > RETRIES or is_final(error):
                    raise
        raise IdempotencyInconsistentStateError(
            f"The record of {attempt.key!r} changed under {SWAPS_PER_STEP + RETRIES} tries to release it: "
            "its claim may stand until its lease ends."
        )

    def _take_back(self, attempt: Attempt, failure: BaseException) -> Steps:
        """Before the body, or while it was failing: undo a claim that may stand."""
        if attempt.failure is not None:
            append_context(failure, attempt.failure)
        if attempt.held is None:
            return
        try:
            yield from self._release(attempt)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - noted on the failure that is being raised
            _note_standing_claim(failure, attempt.key, error)
        if attempt.interrupt is not None and isinstance(failure, Exception):
            raise attempt.interrupt from failure

    def _release_after_failure(self, attempt: Attempt, failure: BaseException) -> Steps:
        """After the body raised: let the next attempt begin at once."""
        trouble: Exception | None = None
        try:
            yield from self._release(attempt)
        except Exception as error:  # noqa: BLE001 - raised below, with what the body raised
            trouble = error
        attempt.settled = True
        if attempt.interrupt is not None:
            append_context(attempt.interrupt, failure)
            raise attempt.interrupt
        if trouble is None:
            return
        if not isinstance(failure, Exception):
            _note_standing_claim(failure, attempt.key, trouble)
            return
        append_context(trouble, failure)
        raise IdempotencyPersistenceLayerError(
            f"The function raised {type(failure).__name__} for {attempt.key!r}, and its claim could not "
            "be released: retries are refused until its lease ends.",
            trouble,
        ) from trouble


def _milliseconds(seconds: float) -> int:
    """Round up: no window or lease is shorter than asked for."""
    return -int(-seconds * 1000 // 1)


def _note_standing_claim(failure: BaseException, key: str, error: BaseException) -> None:
    failure.add_note(f"The claim on {key!r} may stand until its lease ends: {error!r}")
