"""Completes attempts within transactions of the application (TXN-1 to TXN-11).

Such a transaction contains the effect of a body and its result, so that both are committed or neither is. The
claim was committed before, by the layer. When the body has returned, the engine reads, and writes nothing:
see ``transaction_ends.py``.
"""

from collections.abc import Callable
from typing import Any

from ..backends.within import (
    HAS_FAILED,
    IN_SAVEPOINT,
    POSTGRESQL,
    ROLLED_BACK,
    Client,
    Problem,
    Records,
    Refusal,
    is_aborted,
    write,
)
from ..drivers.exchanges import Ask, Exchange
from ..spec.commands import AskWithin, Load, Steps
from ..spec.errors import (
    IdempotencyError,
    IdempotencyLeaseLostError,
    IdempotencySerializationError,
    IdempotencyTransactionError,
)
from ..spec.events import Completed, CompleteWithin, LeaseLost
from ..spec.occurrences import Kind
from ..spec.record import Record, ceil_seconds
from ..spec.transition import transition
from .attempt import Attempt
from .changes import milliseconds
from .config import IdempotencyConfig
from .observers import Report
from .results.custom import ResultChangedError
from .transaction_completion import Completion
from .transaction_ends import TransactionEnds
from .transaction_errors import (
    LEASE_REQUIRED,
    completed_before,
    not_visible,
    of_another,
    rolled_back,
    unusable,
)


class InTransactions(TransactionEnds):
    """The part of an engine that completes within transactions."""

    _config: IdempotencyConfig
    renewal_of: Callable[[Attempt], Any]

    def complete_steps(
        self,
        attempt: Attempt,
        result: Any,
        client: Client,
        records: Records,
        report: Report | None,
        *,
        savepoint: bool,
    ) -> Steps:
        """Write ``result`` through ``client``, or raise why that is refused."""
        completion = self._completion(attempt, result, client, records)
        problem: Problem | None = None
        try:
            yield AskWithin(client, _requirement(savepoint=savepoint))
        except Problem as error:
            problem = error
        except Exception as error:
            if not is_aborted(error):
                raise
            raise unusable(attempt.key, HAS_FAILED, ROLLED_BACK) from error
        if problem is not None:
            raise unusable(attempt.key, problem.what, problem.kind)
        if client.dialect != records.dialect:
            raise not_visible(attempt.key, of_another(client, records), unsent=True)
        _begin(attempt, completion)
        yield from self._stop_renewal(attempt)
        claim, event = completion.claim, completion.event
        new, _ = transition(claim, event, completion.now)  # ROW-22, because it is the attempt's own
        assert new is not None
        try:
            answer = yield AskWithin(
                client, write(records, new, savepoint=savepoint or client.knows_savepoints)
            )
        except GeneratorExit:
            raise
        except BaseException as error:
            completion.refusal = rolled_back(attempt.key, "the completion failed")
            completion.refusal.__cause__ = error
            raise
        completion.transaction = answer.transaction
        if isinstance(answer, Refusal):
            completion.was_rolled_back = not (answer.unsent or records.dialect == POSTGRESQL)
            yield from self._refuse(attempt, completion, answer, report)
        completion.may_be_torn = not answer.outermost

    def item_steps(self, attempt: Attempt, result: Any, item: Callable[[Record], Any]) -> Steps:
        """Return the ``item`` of the record to write in a transaction that the application sends."""
        completion = self._completion(attempt, result)
        new, _ = transition(completion.claim, completion.event, completion.now)
        assert new is not None  # ROW-22
        made = item(new)
        _begin(attempt, completion)
        yield from self._stop_renewal(attempt)
        return made

    def _completion(
        self, attempt: Attempt, result: Any, client: Client | None = None, records: Records | None = None
    ) -> Completion:
        claim = attempt.held if attempt.renewal is None else attempt.renewal.claim
        assert claim is not None  # the body runs under it
        key = attempt.key
        if attempt.completion is not None:
            raise completed_before(key)
        if claim.in_progress_expiry_timestamp is None:
            raise IdempotencyTransactionError(
                f"The claim on {key!r} has no lease, so after a crash before the commit it would stand for "
                "the whole window. Nothing was written. Set in_progress_expires_after_seconds, or pass a "
                "Lambda context.",
                kind=LEASE_REQUIRED,
            )
        try:
            text, _ = self._answers.encode(result)
        except (IdempotencyError, TypeError, ValueError, RecursionError, ResultChangedError) as error:
            trouble = error
        else:
            now = self._clock()
            expiry = ceil_seconds(now + milliseconds(self._config.expires_after_seconds))
            event = CompleteWithin(attempt.owner, text, attempt.payload_hash, expiry, key)
            return Completion(event, claim, now, client, records)
        raise self._interrupts.behind(trouble) or IdempotencySerializationError(
            f"The result of {key!r} cannot be stored: {trouble}. Nothing was written, and the transaction is "
            "as it was.",
            trouble,
        ) from trouble

    def _stop_renewal(self, attempt: Attempt) -> Steps:
        """Stop the heartbeat (TXN-3). An interrupt meanwhile ends the body."""
        if attempt.renewal is None:
            return
        yield from self._end_renewal(attempt)
        if attempt.interrupt is not None:
            raise attempt.interrupt

    def _refuse(
        self, attempt: Attempt, completion: Completion, refused: Refusal, report: Report | None
    ) -> Steps:
        """Raise why nothing was written. The transaction cannot commit any more (TXN-6)."""
        key = attempt.key
        error: IdempotencyError
        if refused.why == "savepoint":
            error = IdempotencyTransactionError(
                f"The transaction for {key!r} is in a savepoint, which could be rolled back alone. The "
                "savepoint cannot be released any more. Complete outside of it, or pass savepoint=True.",
                kind=IN_SAVEPOINT,
            )
        elif refused.why == "failed":
            error = unusable(key, HAS_FAILED, ROLLED_BACK)
        elif refused.why in ("database", "no table"):
            error = not_visible(key, "it is of another database than the records", unsent=refused.unsent)
        else:
            error = yield from self._explain(attempt, completion, report)
        if refused.unsent:
            attempt.completing.clear()
        completion.refusal = error
        raise error from refused.error

    def _explain(self, attempt: Attempt, completion: Completion, report: Report | None) -> Steps:
        """Return the error for a claim that the transaction does not see, and report a loss."""
        key = attempt.key
        try:
            found = yield Load(key)
        except Exception as error:  # noqa: BLE001 - then the transaction alone decides
            interrupt = self._interrupts.behind(error)
            if interrupt is not None:
                raise interrupt from None
            found = None
        _, outcome = transition(found, completion.event, completion.now)
        if isinstance(outcome, Completed):
            return not_visible(
                key,
                "it is of another database than the records or, with repeatable reads, began before the call "
                "or a renewal",
            )
        assert isinstance(outcome, LeaseLost)
        self.renewal_of(attempt).lost = True
        if attempt.report is not None and report is not None:
            report.decide(found, completion.event, completion.now)
            yield report.of(Kind.LEASE_LOST, outcome, record=found)
        return IdempotencyLeaseLostError(
            f"The attempt on {key!r} has lost its claim: its lease ended, or the store lost it, and another "
            "attempt may have taken over. Its transaction cannot commit. The function has run up to here. "
            "Use a longer lease."
        )

        # The connection is of no use any more, so the database rolls back.


def _begin(attempt: Attempt, completion: Completion) -> None:
    """Make ``completion`` the one of the attempt, or raise if another thread was faster (TXN-2)."""
    attempt.completing.append(completion)
    if attempt.completing[0] is not completion:
        raise completed_before(attempt.key)


def _requirement(*, savepoint: bool) -> Exchange:
    """Raise a problem unless the connection is in a transaction that may be used."""
    yield Ask("require", kwargs={"savepoint": savepoint})
