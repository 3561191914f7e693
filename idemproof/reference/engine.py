"""One call of an idempotent function, as protocol code for any driver.

Every decision is :func:`~idemproof.spec.transition.transition`'s: the engine asks it about what it believes
to stand, proposes the outcome to the store by compare-and-swap, and asks again about what really stands.
"""

import logging
from collections.abc import Callable
from typing import Any

from ..backends.records import new_owner
from ..spec.commands import Call
from ..spec.errors import (
    IdempotencyError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
)
from ..spec.events import Claim, Claimed, Completed, LeaseLost, Outcome, Released, Superseded
from ..spec.record import RESULT_UNAVAILABLE
from ..spec.settle import Steps, settle
from ..spec.transition import transition
from .answers import Answers, not_stored, tell
from .attempt import PLAIN, Attempt, append_context
from .cache import LocalCache
from .changes import Claiming, Completing, GivenUp, Releasing, Resuming
from .config import IdempotencyConfig
from .durable import Execution, refuse_without_owners
from .serialization import BaseIdempotencySerializer
from .stack import require_stack

INTERRUPTS = range(3)
"""How often what is interrupted between its requests begins again."""


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
    function
        The body, if it is a function's.
    keeps_owners
        Whether the layer does.
    """

    def __init__(
        self,
        config: IdempotencyConfig,
        serializer: BaseIdempotencySerializer | None = None,
        mint: Callable[[], str] = new_owner,
        function: Callable[..., Any] | None = None,
        *,
        keeps_owners: bool = True,
    ) -> None:
        self._keeps_owners = keeps_owners
        self._config = config
        self._clock = config.clock
        self._mint = mint
        self._function = function
        self._cache = LocalCache(config.local_cache_max_items) if config.use_local_cache else None
        self._answers = Answers(serializer, config.response_hook, self._cache, config.interruptions)
        interrupts = self._interrupts = config.interruptions
        self._claiming = Claiming(config, interrupts)
        self._resuming = Resuming(config, interrupts)
        self._completing = Completing(config, interrupts)
        self._marking = Completing(config, interrupts, RESULT_UNAVAILABLE)
        self._releasing = Releasing(interrupts)
        self._letting_go = Releasing(interrupts, tries=2, requests=2)

    def steps(  # noqa: C901, PLR0912 - the whole course of a call, in its order
        self,
        key: str,
        payload_hash: str | None,
        lambda_context: Any = None,
        execution: Execution | None = None,
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
        execution
            The durable execution in which the call is made, or None.

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
                return self._answer(cached, cached=True)
        require_stack(key)
        if execution is not None and not self._keeps_owners:
            raise refuse_without_owners(execution, key)
        attempt = Attempt(key, payload_hash, self._mint(), lambda_context, execution)
        try:
            outcome = yield from self._claim(attempt)
            granted = isinstance(outcome, Claimed)
            if granted:
                if outcome.took_over is None:
                    tell("claimed", key, interrupts=self._interrupts)
                else:
                    self._tell(
                        "took over", attempt, "%r, from one whose lease or window is over", logging.INFO
                    )
                yield attempt
        except GeneratorExit:
            raise  # nobody is there to perform anything
        except BaseException as failure:
            if not attempt.returned:
                yield from self._take_back(attempt, failure)
                raise
            attempt.note_interrupt(failure)
        if not granted:
            if execution is not None and attempt.replays_itself(outcome):
                again = Call()
                yield again
                if again.failure is not None:
                    return None  # as below
            return self._answer(outcome)
        for _ in INTERRUPTS:
            try:
                if attempt.failure is None and type(attempt.result) not in PLAIN:
                    attempt.refuse_what_has_not_run(self._function)
                if attempt.failure is not None:
                    yield from self._release_after_failure(attempt, attempt.failure)
                    return None  # the driver raises the body's exception
                return (yield from self._finish(attempt))
            except GeneratorExit:
                raise
            except BaseException as error:
                if attempt.settled or not self._interrupts.includes(error):
                    raise
                attempt.note_interrupt(error)  # and begin again: doing it twice is doing it once
        assert attempt.interrupt is not None  # nothing else leads here
        if attempt.failure is not None:
            append_context(attempt.interrupt, attempt.failure)
        raise attempt.interrupt

    def _from_cache(self, cache: LocalCache, key: str, payload_hash: str | None) -> Outcome | None:
        record = cache.get(key)
        if record is None:
            return None
        claim = Claim(None, None, 0, payload_hash, key)
        _, outcome = transition(record, claim, self._clock())
        if isinstance(outcome, Claimed):  # it has expired
            cache.discard(record)
            return None
        return outcome

    def _answer(self, outcome: Outcome, *, cached: bool = False) -> Any:
        """Return what the caller gets instead of a run; an interrupt is raised by its own name."""
        try:
            return self._answers.of(outcome, cached=cached)
        except IdempotencyError as error:
            refusal = error
        raise self._interrupts.behind(refusal) or refusal

    def _tell(self, event: str, attempt: Attempt, message: str = "%s", level: int = logging.DEBUG) -> None:
        tell(event, attempt.key, message, level, self._interrupts)

    def _finish(self, attempt: Attempt) -> Steps:  # noqa: C901 - what may become of a result, in its order
        """Store the result of a body that has returned, and answer. From here on nothing is ever released."""
        refused, trouble = False, None
        try:
            text, answer = self._answers.encode(attempt.result)
        except BaseException as error:  # noqa: BLE001 - an interrupt among others
            trouble = error
        if trouble is not None:
            text, answer, trouble = self._encode_again(attempt, trouble)
        given_up: GivenUp | None = None
        try:
            outcome = yield from self._complete(attempt, text)
        except GivenUp as error:
            given_up = error
        except Exception as error:
            if self._interrupts.includes(error):
                raise  # and begin again
            given_up = GivenUp()  # nothing may keep a result from its caller
            attempt.trouble = error
        if given_up is not None:
            outcome, trouble = yield from self._mark(attempt, text, given_up)
            refused = True
        attempt.settled = True
        attempt.trouble = None  # its traceback refers to this attempt
        if trouble is None and attempt.interrupt is None and isinstance(outcome, Completed):
            tell("completed", attempt.key, interrupts=self._interrupts)
            if self._cache is not None:
                self._cache.put(outcome.record)
            return answer
        if isinstance(outcome, LeaseLost):
            lost = IdempotencyLeaseLostError(
                f"The attempt on {attempt.key!r} no longer holds its claim: its lease ended, or the store "
                "lost it, and another attempt took over. The function ran; its result, carried by this "
                "error, was not stored. Use a longer lease; if the lease had not ended, check the store and "
                "the clocks.",
                result=attempt.result,
            )
            raise self._stopped(attempt, lost)
        if isinstance(outcome, Superseded) and attempt.interrupt is None:
            self._tell(
                "superseded",
                attempt,
                "an attempt on %r no longer held its claim: its lease ended, or the store lost the claim; "
                "another attempt completed first, and its result counts",
                logging.WARNING,
            )
            try:
                return self._answers.instead_of(attempt.result, outcome.record)
            except IdempotencyError as error:
                refusal = error
            raise self._interrupts.behind(refusal) or refusal
        if trouble is not None:
            unstored = not_stored(attempt.key, attempt.result, trouble, refused=refused)
            raise self._stopped(attempt, unstored, trouble)
        assert attempt.interrupt is not None  # else it has completed, and nothing was wrong
        raise attempt.interrupt

    def _encode_again(
        self, attempt: Attempt, trouble: BaseException
    ) -> tuple[str, Any, BaseException | None]:
        """Encode again if that was interrupted; return the text to store, the answer, and what went wrong."""
        for _ in INTERRUPTS:
            interrupt = self._interrupts.behind(trouble)
            if interrupt is None:
                break
            attempt.note_interrupt(interrupt)
            try:
                return (*self._answers.encode(attempt.result), None)
            except BaseException as error:  # noqa: BLE001 - judged above
                trouble = error
        return RESULT_UNAVAILABLE, None, trouble

    def _claim(self, attempt: Attempt) -> Steps:
        """Claim; the outcome tells whether it was granted, or else why not."""
        claiming = self._claiming if attempt.execution is None else self._resuming
        return settle(claiming, attempt, attempt.key, None, self._clock)

    def _complete(self, attempt: Attempt, text: str) -> Steps:
        """Store ``text``; return the outcome, or raise that it was given up."""
        attempt.text = text
        return settle(self._completing, attempt, attempt.key, attempt.held, self._clock)

    def _mark(self, attempt: Attempt, text: str, given_up: GivenUp) -> Steps:
        """Store that the operation was done, if its result cannot be; return the outcome, and why.

        The store may refuse this very record, under whatever name: then it takes one without the result.
        """
        failure = attempt.trouble
        if text != RESULT_UNAVAILABLE:
            try:
                outcome = yield from settle(self._marking, attempt, attempt.key, attempt.held, self._clock)
            except GivenUp:
                failure = failure or attempt.trouble
            else:
                record = getattr(outcome, "record", None)
                if record is not None and (record.owner, record.response_data) == (attempt.owner, text):
                    return Completed(record), None  # an earlier try had arrived
                return outcome, failure or given_up
        attempt.settled = True
        unknown = IdempotencyPersistenceLayerError(
            f"The function ran for {attempt.key!r}, and it is not known whether its result, carried by this "
            "error, was stored. Check the operation before repeating it.",
            failure or given_up,
            result=attempt.result,
        )
        raise self._stopped(attempt, unknown, failure)

    def _stopped(
        self, attempt: Attempt, error: IdempotencyError, cause: BaseException | None = None
    ) -> BaseException:
        """Return what is raised: the interrupt that came meanwhile, ``error`` behind it; or the error."""
        if cause is not attempt.interrupt:
            error.__cause__ = cause
        attempt.trouble = None
        if attempt.interrupt is None:
            return error
        attempt.interrupt.__cause__ = error
        return attempt.interrupt

    def _release(self, attempt: Attempt, change: Releasing | None = None) -> Steps:
        """Give the claim back, if it is still ours."""
        outcome = yield from settle(
            change or self._releasing, attempt, attempt.key, attempt.held, self._clock
        )
        if isinstance(outcome, Released):
            self._tell("released", attempt)

    def _take_back(self, attempt: Attempt, failure: BaseException) -> Steps:
        """Before the body, or while it was failing: undo a claim that may stand."""
        if attempt.failure is not None:
            append_context(failure, attempt.failure)
        if attempt.held is None or attempt.resumed:
            return
        stopped = self._interrupts.includes(failure)
        try:
            yield from self._release(attempt, self._letting_go if stopped else self._releasing)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - noted on the failure that is being raised
            _note_standing_claim(failure, attempt.key, error)
        if attempt.interrupt is not None and not stopped:
            raise attempt.interrupt from failure

    def _release_after_failure(self, attempt: Attempt, failure: BaseException) -> Steps:
        """After the body raised: let the next attempt begin at once, unless the body will be resumed."""
        if attempt.goes_on_after(failure):
            attempt.settled = True
            self._tell("suspended", attempt)
            return
        trouble: BaseException | None = None
        try:
            yield from self._release(attempt)
        except Exception as error:
            if self._interrupts.includes(error):
                raise
            trouble = error  # raised below, with what the body raised
        attempt.settled = True
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
            f"The function raised {type(failure).__name__} for {attempt.key!r}, and its claim could not "
            "be released: retries are refused until its lease ends.",
            trouble,
        ) from trouble


def _note_standing_claim(failure: BaseException, key: str, error: BaseException) -> None:
    failure.add_note(f"The claim on {key!r} may stand until its lease ends: {error!r}")
