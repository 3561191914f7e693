"""One call of an idempotent function, as protocol code for any driver.

Every decision is :func:`~idemproof.spec.transition.transition`'s: the engine asks it about what it believes
to stand, proposes the outcome to the store by compare-and-swap, and asks again about what really stands.
"""

import logging
from collections.abc import Callable, Generator
from typing import Any

from ..backends.commands import Call, Command, Sleep, Swap
from ..backends.records import DataRecord
from ..spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyError,
    IdempotencyInconsistentStateError,
    IdempotencyInvalidStatusError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceConsistencyError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
    IdempotencyValidationError,
)
from ..spec.events import (
    Claim,
    Claimed,
    Complete,
    Completed,
    InProgress,
    LeaseLost,
    Outcome,
    PayloadMismatch,
    Release,
    Released,
    Replay,
    Superseded,
)
from ..spec.record import (
    RESULT_UNAVAILABLE,
    Record,
    ceil_seconds,
    checked,
    expiry_ms,
    live,
    same_record,
)
from ..spec.transition import transition
from .cache import LocalCache
from .config import IdempotencyConfig, remaining_ms
from .encoding import decode, encode
from .owners import new_owner
from .serialization import BaseIdempotencySerializer

Steps = Generator[Command, Any, Any]

logger = logging.getLogger("idemproof")

SWAPS_PER_STEP = 8
"""How often a claim, a completion or a release may find that the record has changed (INV-8)."""

RETRIES = 2
"""How often each of them is tried again after the store failed."""

BACKOFF_MS = 25
"""The wait before the first such retry; the second waits twice as long."""


class Attempt:
    """What one call knows about itself.

    ``held`` is the claim that may stand under its name: set before the claim is sent. ``interrupt`` is what
    wanted to stop the call after its body had returned: the result is stored first.
    """

    __slots__ = ("held", "interrupt", "key", "owner", "payload_hash")

    def __init__(self, key: str, payload_hash: str | None, owner: str) -> None:
        self.key = key
        self.payload_hash = payload_hash
        self.owner = owner
        self.held: Record | None = None
        self.interrupt: BaseException | None = None

    def note_interrupt(self, failure: BaseException) -> None:
        """Remember ``failure`` if it is the first that is no mere error."""
        if self.interrupt is None and not isinstance(failure, Exception):
            self.interrupt = failure


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
    """

    def __init__(
        self,
        config: IdempotencyConfig,
        serializer: BaseIdempotencySerializer | None = None,
        mint: Callable[[], str] = new_owner,
    ) -> None:
        self._config = config
        self._clock = config.clock
        self._window_ms = _milliseconds(config.expires_after_seconds)
        lease = config.in_progress_expires_after_seconds
        self._lease_ms = None if lease is None else _milliseconds(lease)
        self._hook = config.response_hook
        self._serializer = serializer
        self._mint = mint
        self._cache = LocalCache(config.local_cache_max_items) if config.use_local_cache else None
        self._told_of_missing_lease = False

    def steps(self, key: str, payload_hash: str | None, lambda_context: Any = None) -> Steps:
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
        cached = self._from_cache(key, payload_hash)
        if cached is not None:
            return self._answer(cached)
        attempt = Attempt(key, payload_hash, self._mint())
        call = Call()
        refusal: Outcome | None = None
        try:
            refusal = yield from self._claim(attempt, lambda_context)
            if refusal is None:
                yield call
        except GeneratorExit:
            raise  # nobody is there to perform anything
        except BaseException as failure:
            if not call.returned:
                yield from self._take_back(attempt, failure)
                raise
            attempt.interrupt = failure
        if refusal is not None:
            return self._answer(refusal)
        if call.failure is not None:
            yield from self._release_after_failure(attempt, call.failure)
            return None  # the driver raises the body's exception
        return (yield from self._finish(attempt, call.result))

    def _from_cache(self, key: str, payload_hash: str | None) -> Outcome | None:
        if self._cache is None:
            return None
        record = self._cache.get(key)
        if record is None:
            return None
        _, outcome = transition(record, Claim(None, None, 0, payload_hash, key), self._clock())
        if isinstance(outcome, Claimed):  # it has expired
            self._cache.discard(record)
            return None
        return outcome

    def _claim(self, attempt: Attempt, lambda_context: Any) -> Steps:
        """Claim; return None once granted, else why not."""
        standing: Record | None = None
        errors = 0
        for _ in range(SWAPS_PER_STEP + RETRIES):
            now = self._clock()
            claim = self._claim_at(now, attempt, lambda_context)
            new, outcome = transition(standing, claim, now)
            if not isinstance(outcome, Claimed) or new is None:
                return outcome
            if new is not standing:
                attempt.held = new
                try:
                    found = yield Swap(attempt.key, standing, new, expiry_ms(new) - now)
                except Exception as error:
                    errors += 1
                    if errors > RETRIES or _is_final(error):
                        raise self._claim_failed(attempt, error) from error
                    yield Sleep(BACKOFF_MS * errors)
                    continue
                standing = new if found is new else _standing(found, attempt.key)
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
                self._note_claim(attempt, outcome)
                return None
        raise IdempotencyInconsistentStateError(
            f"The record of {attempt.key!r} could not be claimed in {SWAPS_PER_STEP + RETRIES} tries, "
            "though the protocol allows it each time: its lease is shorter than a request takes, or the "
            "persistence layer decides by other rules. The function did not run. Retry."
        )

    def _claim_at(self, now: int, attempt: Attempt, lambda_context: Any) -> Claim:
        remaining = self._lease_ms
        if lambda_context is not None or self._config.lambda_context is not None:
            left = remaining_ms(self._config.lambda_context if lambda_context is None else lambda_context)
            if left is not None:
                if left <= 0:
                    raise IdempotencyInconsistentStateError(
                        f"The Lambda context has no time left for {attempt.key!r}. "
                        "The function did not run. Retry."
                    )
                remaining = left if remaining is None else min(left, remaining)
        if remaining is None and not self._told_of_missing_lease:
            self._told_of_missing_lease = True
            logger.warning(
                "No lease for %r: if a worker dies, its operation stays in progress for the whole window. "
                "Set in_progress_expires_after_seconds, or register the Lambda context.",
                attempt.key,
            )
        return Claim(
            attempt.owner,
            None if remaining is None else now + remaining,
            ceil_seconds(now + self._window_ms),
            attempt.payload_hash,
            attempt.key,
        )

    def _finish(self, attempt: Attempt, result: Any) -> Steps:
        """Store the result of a body that has returned. From here on nothing is ever released."""
        trouble: BaseException | None = None
        try:
            text = self._encode(result)
            answer = decode(text) if self._serializer is None else result
        except BaseException as cause:  # noqa: BLE001 - even an interrupt must not undo the effect
            text, answer, trouble = RESULT_UNAVAILABLE, None, cause
            attempt.note_interrupt(cause)
        try:
            outcome = yield from self._complete(attempt, text, result)
        except IdempotencyRecordTooLargeError as cause:
            trouble = cause
            outcome = yield from self._complete(attempt, RESULT_UNAVAILABLE, result)
        if attempt.interrupt is not None:
            raise attempt.interrupt
        if isinstance(outcome, LeaseLost):
            raise IdempotencyLeaseLostError(
                f"The attempt on {attempt.key!r} outlived its lease and another took over. The function ran; "
                "its result, carried by this error, was not stored. Give the lease more time.",
                result=result,
            )
        if isinstance(outcome, Superseded):
            logger.warning(
                "An attempt on %r outlived its lease; another completed first and its result counts.",
                attempt.key,
                extra=_extra("superseded", attempt.key),
            )
            return self._answer(Replay(outcome.record))
        if trouble is not None:
            raise self._result_not_stored(attempt, result, trouble) from trouble
        _debug("completed", attempt.key)
        if self._cache is not None:
            self._cache.put(outcome.record)
        return answer

    def _complete(self, attempt: Attempt, text: str, result: Any) -> Steps:
        """Store ``text`` and return the outcome. An interrupt does not abandon this: it is noted."""
        expiry = ceil_seconds(self._clock() + self._window_ms)
        event = Complete(attempt.owner, text, attempt.payload_hash, expiry, attempt.key)
        standing = attempt.held
        failure: BaseException | None = None
        errors = 0
        for _ in range(SWAPS_PER_STEP + RETRIES):
            now = self._clock()
            if now >= expiry * 1000:
                break
            new, outcome = transition(standing, event, now)
            if new is standing or new is None:
                return outcome
            try:
                if errors:
                    yield Sleep(BACKOFF_MS * errors)
                found = yield Swap(attempt.key, standing, new, expiry * 1000 - now)
                standing = new if found is new else _standing(found, attempt.key)
                if same_record(standing, new):
                    return Completed(new)
            except (GeneratorExit, IdempotencyRecordTooLargeError):
                raise
            except BaseException as error:  # noqa: BLE001
                failure = error
                attempt.note_interrupt(error)
                errors += 1
                if errors > RETRIES or _is_final(error):
                    break
        unknown = IdempotencyPersistenceLayerError(
            f"The function ran for {attempt.key!r}, and it is not known whether its result, carried by this "
            "error, was stored. Check the operation before repeating it.",
            failure or "the record kept changing, or its window is over",
            result=result,
        )
        unknown.__cause__ = failure
        if attempt.interrupt is not None:
            raise attempt.interrupt from unknown
        raise unknown

    def _release(self, attempt: Attempt) -> Steps:
        """Give the claim back, if it is still ours."""
        event = Release(attempt.owner)
        standing = attempt.held
        errors = 0
        for _ in range(SWAPS_PER_STEP + RETRIES):
            new, outcome = transition(standing, event, self._clock())
            if not isinstance(outcome, Released):
                return
            try:
                found = yield Swap(attempt.key, standing, new, 0)
            except Exception as error:
                errors += 1
                if errors > RETRIES or _is_final(error):
                    raise
                yield Sleep(BACKOFF_MS * errors)
                continue
            standing = _standing(found, attempt.key)
            if standing is None:
                _debug("released", attempt.key)
                return

    def _take_back(self, attempt: Attempt, failure: BaseException) -> Steps:
        """Before the body: undo a claim that may stand. The first failure stays the one that is raised."""
        if attempt.held is None:
            return
        try:
            yield from self._release(attempt)
        except Exception as error:  # noqa: BLE001 - noted on the failure that is being raised
            failure.add_note(f"The claim on {attempt.key!r} may stand until its lease ends: {error!r}")

    def _release_after_failure(self, attempt: Attempt, failure: BaseException) -> Steps:
        """After the body raised: let the next attempt begin at once."""
        try:
            yield from self._release(attempt)
        except Exception as error:
            if not isinstance(failure, Exception):
                failure.add_note(f"The claim on {attempt.key!r} may stand until its lease ends: {error!r}")
                return
            _append_context(error, failure)
            raise IdempotencyPersistenceLayerError(
                f"The function raised {type(failure).__name__} for {attempt.key!r}, and its claim could not "
                "be released: retries are refused until its lease ends.",
                error,
            ) from error

    def _answer(self, outcome: Outcome) -> Any:
        """Tell the caller what stands."""
        if isinstance(outcome, Replay):
            return self._replay(outcome.record)
        if isinstance(outcome, PayloadMismatch):
            key = outcome.record.idempotency_key
            _debug("payload mismatch", key)
            raise IdempotencyValidationError(
                f"The payload of {key!r} is not the one that this key came with first. "
                "Nothing ran. Use a new key for a new operation."
            )
        if isinstance(outcome, InProgress):
            key = outcome.record.idempotency_key
            _debug("in progress", key)
            raise IdempotencyAlreadyInProgressError(
                f"Another attempt is in progress with the key {key!r}, for at most {outcome.retry_after} ms "
                "more. Nothing ran. Retry later.",
                retry_after_ms=outcome.retry_after,
            )
        raise AssertionError(f"a claim cannot end as {outcome!r}")  # pragma: no cover - the table's rows

    def _replay(self, record: Record) -> Any:
        key, text = record.idempotency_key, record.response_data
        if text == RESULT_UNAVAILABLE:
            raise IdempotencyResultUnavailableError(
                f"The operation {key!r} was done, but its result could not be stored at the time. "
                "It will not run again; find its result where its effect is."
            )
        try:
            response = decode(text)
        except ValueError as cause:
            raise IdempotencyInvalidStatusError(
                f"The stored record of {key!r} is corrupt: its response is not JSON. Nothing ran. "
                "Inspect it, and delete it if the operation may run again."
            ) from cause
        if self._serializer is not None and response is not None:
            try:
                response = self._serializer.from_dict(response)
            except Exception as cause:
                raise IdempotencySerializationError(
                    f"The stored result of {key!r} does not fit its serializer. Nothing ran.", cause
                ) from cause
        if self._cache is not None:
            self._cache.put(record)
        _debug("replayed", key)
        return response if self._hook is None else self._hook(response, DataRecord.of(record))

    def _encode(self, result: Any) -> str:
        if self._serializer is not None and result is not None:
            result = self._serializer.to_dict(result)
        return encode(result)

    def _claim_failed(self, attempt: Attempt, error: Exception) -> Exception:
        if isinstance(error, IdempotencyError):
            return error
        return IdempotencyPersistenceLayerError(
            f"The persistence layer could not claim {attempt.key!r}. The function did not run. Retry.", error
        )

    def _result_not_stored(self, attempt: Attempt, result: Any, trouble: BaseException) -> IdempotencyError:
        advice = (
            "The function ran for %r and will not run again, but %s: this error carries the result, later "
            "callers get IdempotencyResultUnavailableError."
        )
        if isinstance(trouble, IdempotencyRecordTooLargeError):
            return IdempotencyPersistenceLayerError(
                advice % (attempt.key, "its result is too large for the store"), trouble, result=result
            )
        return IdempotencySerializationError(
            advice % (attempt.key, f"its result of type {type(result).__name__} cannot be stored as JSON"),
            trouble,
            result=result,
        )

    def _note_claim(self, attempt: Attempt, outcome: Claimed) -> None:
        if outcome.took_over is None:
            _debug("claimed", attempt.key)
        else:
            logger.info(
                "An attempt took over %r from one whose lease or window is over.",
                attempt.key,
                extra=_extra("took over", attempt.key),
            )


def _milliseconds(seconds: float) -> int:
    """Round up: no window or lease is shorter than asked for."""
    return -int(-seconds * 1000 // 1)


def _standing(found: Any, key: str) -> Record | None:
    """Return what a layer answered, once it is known to be well-formed."""
    return None if found is None else checked(found, key)


def _is_final(error: BaseException) -> bool:
    """Tell whether asking again cannot help: the layer has understood, and refuses."""
    return isinstance(error, IdempotencyError) and not isinstance(
        error, IdempotencyPersistenceConnectionError | IdempotencyPersistenceConsistencyError
    )


def _append_context(error: BaseException, earlier: BaseException) -> None:
    """Put ``earlier`` at the far end of ``error``'s chain."""
    seen = {id(earlier)}
    while id(error) not in seen:
        seen.add(id(error))
        following = error.__cause__ or error.__context__
        if following is None:
            error.__context__ = earlier
            return
        error = following


def _extra(event: str, key: str) -> dict[str, str]:
    return {"idempotency_event": event, "idempotency_key": key}


def _debug(event: str, key: str) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("%s: %r", event, key, extra=_extra(event, key))
