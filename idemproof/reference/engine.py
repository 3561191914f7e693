"""One call of an idempotent function, as protocol code for any driver.

:func:`~idemproof.spec.transition.transition` makes every decision. The engine calls it with the record that
it expects, and proposes the outcome to the store by compare-and-swap. If another record is stored, the engine
calls it again with that record.
"""

import copy
import random
from collections.abc import Callable, Sequence
from logging import DEBUG
from os import getpid
from typing import Any, Self

from ..backends.records import new_owner
from ..spec.commands import RunBody, Steps
from ..spec.errors import IdempotencyError, IdempotencySerializationError
from ..spec.events import Claim, Claimed, Outcome, Replay
from ..spec.occurrences import Kind
from ..spec.record import ERROR_UNAVAILABLE, FINAL_ERROR, RESULT_UNAVAILABLE, Record, live
from ..spec.settle import settle
from ..spec.transition import transition
from .answers import Answers
from .attempt import PLAIN, Attempt, append_context
from .cache import LocalCache
from .changes import Claiming, Completing, Releasing, Renewing, Resuming, milliseconds
from .config import IdempotencyConfig
from .durable import Execution, refuse_without_owners
from .finishing import INTERRUPTS
from .functions import full_name_of
from .observers import Observer, Observers, Report, is_logged, kind_of_claim, observers_here, shared
from .renewal import Renewals
from .requests import timed
from .results.custom import ResultChangedError
from .serialization import BaseIdempotencySerializer
from .stack import require_stack
from .takeover import Asking, refuse_to_ask
from .transactions import InTransactions
from .waiter import Waiter, monotonic_ms
from .waiting import Waiting


class Engine(Renewals, InTransactions, Asking, Waiting):
    """The protocol for one decorated function. It has no state of calls, and is thread-safe.

    Parameters
    ----------
    config
        The settings.
    serializer
        Converts results to JSON data and back; None stores them unchanged.
    next_owner
        Returns a new owner token.
    function
        The decorated function, or None.
    keeps_owners
        Whether the layer stores owner tokens.
    on_takeover
        What is asked before a body repeats what another attempt may have done; None for the configuration's
        policy.
    monotonic, jitter
        The clock by which calls wait (milliseconds), and a source of numbers from 0 to 1.

    Raises
    ------
    IdempotencyConfigError
        The policy needs owner tokens, and the layer stores none.
    """

    def __init__(
        self,
        config: IdempotencyConfig,
        serializer: BaseIdempotencySerializer | None = None,
        next_owner: Callable[[], str] = new_owner,
        function: Callable[..., Any] | None = None,
        *,
        keeps_owners: bool = True,
        on_takeover: Callable[..., Any] | None = None,
        monotonic: Callable[[], int] = monotonic_ms,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._keeps_owners = keeps_owners
        self._config = config
        self._waits = config.wait_for_in_progress_seconds > 0
        self._monotonic, self._jitter = monotonic, jitter
        self._clock = config.clock
        self._next_owner = next_owner
        self._function = function
        self._name = None if function is None else full_name_of(function)
        self._cache = self.new_cache()
        self.finals = config.finals
        self._answers = Answers(serializer, config.response_hook, self._cache, self.finals)
        interrupts = self._interrupts = config.interruptions
        self.interruptions = interrupts
        self.observers = Observers(config.observers, interrupts)
        self.observe = self.observers.hand
        self._set_question(on_takeover)
        self._completing = Completing(config, interrupts)
        self._marking = Completing(config, interrupts, RESULT_UNAVAILABLE)
        self._marking_error = Completing(config, interrupts, ERROR_UNAVAILABLE)
        self._releasing = Releasing(interrupts)
        self._renewing = Renewing(config)
        self._renews = config.renew_lease

    def standing_in(
        self,
        clock: Callable[[], int] | None = None,
        cache: LocalCache | None = None,
        observers: Sequence[Observer] = (),
        *,
        keeps_owners: bool | None = None,
        renews: bool | None = None,
    ) -> Self:
        """Return a copy of this engine with another clock or cache, and with more observers."""
        twin = copy.copy(self)
        if clock is not None:
            twin._clock = clock
        if cache is not None:
            twin._cache = cache
            twin._answers = self._answers.over(cache)
        if keeps_owners is not None:
            twin._keeps_owners = keeps_owners
        if renews is not None:
            twin._renews = renews
        twin.observers = self.observers.with_others(observers)
        twin.observe = twin.observers.hand
        return twin

    def asking(self, on_takeover: Callable[..., Any]) -> Self:
        """Return a copy of this engine that asks ``on_takeover`` before a body repeats anything.

        Raises
        ------
        IdempotencyConfigError
            The layer stores no owner tokens.
        """
        twin = copy.copy(self)
        twin._set_question(on_takeover)
        return twin

    def _set_question(self, on_takeover: Callable[..., Any] | None) -> None:
        policy = self._set_policy(on_takeover, keeps_owners=self._keeps_owners)
        self._claiming = Claiming(self._config, self._interrupts, policy)
        self._resuming = Resuming(self._config, self._interrupts, policy)

    def timed(
        self, steps: Steps, function: Callable[..., Any] | None = None, attempt: Attempt | None = None
    ) -> Steps:
        """Return ``steps`` with a report of each request, if an observer wants them.

        The reports name the body, if it is not the engine's own: ``function``, or that of ``attempt``.
        """
        if not (self.observers.timing or shared.timing):
            return steps
        name = self._name if function is None else full_name_of(function)
        if attempt is not None and attempt.report is not None:
            name = attempt.report.function
        return timed(steps, self.observers.hand_request, name)

    def new_cache(self) -> LocalCache | None:
        """Return an empty local cache, or None if the configuration uses none."""
        config = self._config
        return LocalCache(config.local_cache_max_items) if config.use_local_cache else None

    @property
    def clock(self) -> Callable[[], int]:
        """Returns the current time (epoch milliseconds)."""
        return self._clock

    @property
    def window_ms(self) -> int:
        """How long a result is kept (milliseconds)."""
        return milliseconds(self._config.expires_after_seconds)

    def encoded(self, key: str, result: Any) -> str:
        """Return a result as text for the store, or raise :class:`IdempotencySerializationError`."""
        try:
            return self._answers.encode(result)[0]
        except (IdempotencyError, TypeError, ValueError, RecursionError, ResultChangedError) as error:
            trouble = error
        raise self.interruptions.behind(trouble) or IdempotencySerializationError(
            f"The result for {key!r} cannot be stored: {trouble}. Nothing changed."
        ) from trouble

    def forget_cached(self, key: str, record: Record | None) -> None:
        """Remove ``key`` from the local cache, which keeps this version of its record no more."""
        if self._cache is not None:
            self._cache.forget(key, record)

    def steps(  # noqa: C901, PLR0911, PLR0912, PLR0915 - the whole course of a call, in its order
        self,
        key: str,
        payload_hash: str | None,
        lambda_context: Any = None,
        execution: Execution | None = None,
        function: Callable[..., Any] | None = None,
        answered: list[Outcome] | None = None,
        *,
        observed: bool = False,
    ) -> Steps:
        """Run one call: claim, body, completion or release, answer.

        Parameters
        ----------
        key
            The idempotency key.
        payload_hash
            The hash of the validated part of the payload, or None.
        lambda_context
            The AWS Lambda context, whose remaining time limits the lease, or None.
        execution
            The durable execution that contains the call, or None.
        function
            The body, if it is not the engine's own.
        answered
            A list to which the outcome for the caller is added, or None.
        observed
            Whether to report all occurrences, even without a configured observer.

        Yields
        ------
        Command
            The next command for the driver.

        Returns
        -------
        object
            The answer for the caller.
        """
        report = None
        if observed or self.observers.given or shared.everywhere or observers_here() or is_logged(DEBUG):
            name = self._name if function is None else full_name_of(function)
            report = Report(key, self._clock, function=name)
        if self._cache is not None:
            cached = self._from_cache(self._cache, key, payload_hash, report)
            if cached is not None:
                if answered is not None:
                    answered.append(cached)
                if report is None:
                    return self._answer(cached, cached=True)
                return (yield from self._answer_and_report(report, cached, cached=True))
        require_stack(key)
        if execution is not None:
            if not self._keeps_owners:
                raise refuse_without_owners(execution, key)
            if self._on_takeover is not None:
                raise refuse_to_ask(execution, key)
        attempt = Attempt(key, payload_hash, self._next_owner(), lambda_context, execution, report)
        granted = False
        try:
            outcome = yield from self._claim_or_wait(attempt) if self._waits else self._claim(attempt)
            granted = isinstance(outcome, Claimed)
            if self._claiming.without_lease:
                self._claiming.without_lease = False
                yield from self._report_before(attempt, Kind.NO_LEASE)
            if granted and (report is not None or outcome.took_over is not None):
                outcome = yield from self._report_claim(attempt, outcome)
                granted = isinstance(outcome, Claimed)
            if granted:
                attempt.engine, attempt.completing, attempt.process = self, [], getpid()
                if attempt.asks:
                    outcome = yield from self._ask(attempt, outcome)
                    granted = isinstance(outcome, Claimed)
                if granted and not attempt.asks:
                    if self._renews and execution is None:
                        yield from self._begin_renewal(attempt)
                    yield attempt
        except GeneratorExit:
            if attempt.renewal is not None:
                attempt.renewal.stopped = True
            raise  # no driver performs commands any more
        except BaseException as failure:
            if not attempt.has_result and not self._is_final(attempt):
                yield from self._take_back(attempt, failure, granted=granted)
                raise
            attempt.note_interrupt(failure)
        if not granted:
            ran = False
            if execution is not None and attempt.replays_itself(outcome):
                again = RunBody()
                yield again
                if again.failure is not None:
                    return None  # as below
                ran = True
            if answered is not None:
                answered.append(outcome)
            if report is None:
                return self._answer(outcome, waiter=attempt.waiter)
            return (yield from self._answer_and_report(report, outcome, ran=ran, waiter=attempt.waiter))
        for _ in INTERRUPTS:
            try:
                if attempt.renewal is not None:
                    yield from self._end_renewal(attempt)
                if attempt.failure is None and type(attempt.result) not in PLAIN and not attempt.asks:
                    attempt.refuse_what_has_not_run(function or self._function)
                if attempt.completing and attempt.failure is None:
                    yield from self._confirm(attempt)  # which sets a failure unless the result is recorded
                    if attempt.failure is None:
                        if answered is not None:
                            answered.append(attempt.outcome)  # type: ignore[arg-type]  # it is settled
                        return attempt.completion.answer
                if attempt.failure is not None and not self._is_final(attempt):
                    yield from self._release_after_failure(attempt, attempt.failure)
                    return None  # the driver raises the body's exception
                answer = yield from self._finish(attempt)  # the driver raises a final error
                if answered is not None:
                    assert attempt.outcome is not None  # what it is answered with
                    answered.append(attempt.outcome)
                return answer  # noqa: TRY300 - what fails above is judged below
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

    def _from_cache(
        self, cache: LocalCache, key: str, payload_hash: str | None, report: Report | None
    ) -> Outcome | None:
        record = cache.get(key)
        if record is None:
            return None
        claim = Claim(None, None, 0, payload_hash, key)
        now = self._clock()
        _, outcome = (transition if report is None else report.decide)(record, claim, now)
        if isinstance(outcome, Claimed):  # it has expired
            cache.discard(record)
            return None
        return outcome

    def _answer(self, outcome: Outcome, *, cached: bool = False, waiter: Waiter | None = None) -> Any:
        """Return the answer without a run. An interrupt behind an error is raised instead of the error."""
        try:
            return self._answers.of(outcome, cached=cached, waiter=waiter)
        except IdempotencyError as error:
            refusal = error
        raise self._interrupts.behind(refusal) or refusal

    def _answer_and_report(
        self,
        report: Report,
        outcome: Outcome,
        *,
        ran: bool = False,
        cached: bool = False,
        waiter: Waiter | None = None,
    ) -> Steps:
        """Return the answer without a run, and report it."""
        kind, failure = kind_of_claim(outcome), None
        try:
            answer = self._answer(outcome, cached=cached, waiter=waiter)
        except BaseException as error:  # noqa: BLE001 - raised once it is reported
            failure = error
        if failure is not None and self._is_replayed(outcome, failure):
            yield report.of(kind, outcome, ran=ran, error=failure)
        elif failure is None or kind is not Kind.REPLAYED:
            yield report.of(kind, outcome, ran=ran)
        else:
            yield report.of(Kind.REPLAY_FAILED, outcome, ran=ran, error=failure)
        if failure is None:
            return answer
        try:
            raise failure
        finally:
            del failure  # its traceback refers to this frame

    def _is_replayed(self, outcome: Outcome, failure: BaseException) -> bool:
        """Return whether ``failure`` is the stored final error itself, and not why there is no answer."""
        stored = isinstance(outcome, Replay) and (outcome.record.response_data or "").startswith(FINAL_ERROR)
        return stored and self.finals.include(failure)

    def _report_claim(self, attempt: Attempt, outcome: Claimed) -> Steps:
        """Report a claim; return its outcome, or that of a new claim if the lease has ended (OBS-3)."""
        yield from self._report_before(attempt, kind_of_claim(outcome), outcome)
        if live(outcome.record, self._clock()):
            return outcome
        return (yield from self._claim_or_wait(attempt) if self._waits else self._claim(attempt))

    def _report_before(
        self,
        attempt: Attempt,
        kind: Kind,
        outcome: Outcome | None = None,
        error: BaseException | None = None,
    ) -> Steps:
        """Report an occurrence before the body. After an interrupt, the body does not begin."""
        yield from self._report(attempt, kind, outcome, error)
        if attempt.interrupt is not None:
            raise attempt.interrupt

    def _claim(self, attempt: Attempt) -> Steps:
        """Claim, and return the outcome: the claim, or the reason for the refusal."""
        claiming = self._claiming if attempt.execution is None else self._resuming
        return settle(claiming, attempt, attempt.key, None, self._clock, attempt.decide)
