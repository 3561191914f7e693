"""Completes attempts within transactions of the application (TXN-1 to TXN-11).

Such a transaction contains the effect of a body and its result, so that both are committed or neither is. The
claim was committed before, by the layer. When the body has returned, the engine reads, and writes nothing.
"""

from collections.abc import Callable
from typing import Any

from ..backends.within import (
    HAS_FAILED,
    IN_SAVEPOINT,
    POSTGRESQL,
    ROLLED_BACK,
    SQLITE,
    Client,
    Problem,
    Records,
    Refusal,
    abort,
    is_aborted,
    is_locked,
    is_same,
    read,
    write,
)
from ..drivers.exchanges import Ask, Exchange
from ..spec.commands import AskWithin, Load, Sleep, Steps
from ..spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
    IdempotencySerializationError,
    IdempotencyTransactionError,
)
from ..spec.events import Completed, CompleteWithin, LeaseLost
from ..spec.invariants import is_result_of
from ..spec.occurrences import Kind
from ..spec.record import Record, ceil_seconds, holds
from ..spec.transition import transition
from .attempt import Attempt, append_context
from .changes import Releasing, milliseconds, pause_ms
from .config import IdempotencyConfig
from .finishing import Finishing
from .observers import Report
from .results.custom import ResultChangedError
from .transaction_errors import (
    LEASE_REQUIRED,
    completed_before,
    differs,
    not_visible,
    of_another,
    rolled_back,
    unrecorded,
    unusable,
)

TRIES = 3
"""How often the record is read at the end of a call, before its outcome counts as unknown."""


class Completion:
    """A completion within a transaction that was sent, or will be.

    Parameters
    ----------
    event
        What the table is asked.
    claim
        The claim that it replaces.
    now
        When it was decided (epoch milliseconds).
    client
        The connection; None if the application sends the completion itself.
    records
        Where the records are; None without a connection.
    """

    __slots__ = (
        "answer",
        "claim",
        "client",
        "event",
        "is_committed",
        "may_arrive",
        "may_be_torn",
        "now",
        "records",
        "refusal",
        "transaction",
        "was_rolled_back",
    )

    def __init__(
        self,
        event: CompleteWithin,
        claim: Record,
        now: int,
        client: Client | None = None,
        records: Records | None = None,
    ) -> None:
        self.event = event
        self.claim = claim
        self.now = now
        self.client = client
        self.records = records
        # Why nothing was written, so that the transaction cannot commit.
        self.refusal: IdempotencyError | None = None
        # Whether a savepoint may be rolled back alone, so that the effect is committed without a record.
        self.may_be_torn = False
        # Whether the record was found committed.
        self.is_committed = False
        # Whether it was over and not recorded, so that its commit may still arrive if the release fails.
        self.may_arrive = False
        # What the caller gets, once the result is found recorded.
        self.answer: Any = None
        # The number of the transaction, if the database tells.
        self.transaction: int | None = None
        # Whether a refusal has rolled the transaction back, so that what is open now is a later one.
        self.was_rolled_back = False

    @property
    def table(self) -> Records:
        """Where the records are, as the connection finds them."""
        assert self.records is not None  # there is a connection
        return self.records

    @property
    def is_open(self) -> bool:
        """Whether the transaction may still be open."""
        if self.client is None or self.was_rolled_back:
            return False
        return self.client.is_open() and not self.client.is_over()


class InTransactions(Finishing):
    """The part of an engine that completes within transactions."""

    _config: IdempotencyConfig
    _end_renewal: Callable[[Attempt], Steps]
    _release: Callable[..., Steps]
    _ending_after: Callable[[Attempt, BaseException], Releasing | None]
    _report_beat: Callable[..., Steps]
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

    def _confirm(self, attempt: Attempt) -> Steps:
        """Find out whether the completion is recorded (TXN-7). Otherwise set the attempt's failure."""
        completion: Completion = attempt.completion
        text, answer = None, None
        try:
            text, answer = self._answers.encode(attempt.result)
        except Exception as error:
            if self._interrupts.behind(error) is not None:
                raise
            trouble: BaseException | None = error
        else:
            trouble = None
        event = completion.event
        if isinstance(completion.refusal, IdempotencyLeaseLostError):
            found, known, committed = None, True, False  # what is lost is not looked for again
        else:
            found, known, committed = yield from self._read_back(attempt, completion, text)
        completion.is_committed = committed and is_result_of(attempt.owner, found)
        completion.may_arrive = committed and holds(found, attempt.owner)
        if not known:
            yield from self._raise_unknown(attempt)
        own = found if is_result_of(attempt.owner, found) else None
        if own is not None and own.response_data == event.response == text:
            yield from self._note_recorded(attempt, completion, own, committed=committed)
            completion.answer = answer
            return
        if completion.is_committed:
            assert own is not None  # what is committed is what it completed with
            yield from self._report_completed(attempt, completion, own)
        if not committed:  # else it had ended, and what is open now is a later transaction
            yield from self._abort(completion)
        if own is not None and text != event.response:
            failure: Any = differs(attempt.key, committed=committed, stored=text is not None)
            failure.__cause__ = trouble
        else:
            failure = completion.refusal or unrecorded(
                attempt.key,
                sent=completion.client is not None,
                ended=committed,
                may_be_torn=completion.may_be_torn,
            )
        failure.carry(attempt.result)
        attempt.failure = failure

    def _raise_unknown(self, attempt: Attempt) -> Steps:
        """Raise that it is not known whether the transaction was committed (ENG-7)."""
        attempt.settled = True
        yield from self._report(attempt, Kind.OUTCOME_UNKNOWN, None, attempt.trouble)
        unknown = IdempotencyPersistenceLayerError(
            f"The function ran for {attempt.key!r} and completed within a transaction. It is not known "
            "whether that was committed. This error carries the result. Check the operation before repeating "
            "it.",
            attempt.trouble,
            result=attempt.result,
        )
        raise self._stopped(attempt, unknown, attempt.trouble)

    def _note_recorded(
        self, attempt: Attempt, completion: Completion, found: Record, *, committed: bool
    ) -> Steps:
        yield from self._report_completed(attempt, completion, found)
        attempt.settled = True
        if attempt.interrupt is not None:
            raise attempt.interrupt
        if committed and self._cache is not None:
            self._cache.put(found)

    def _report_completed(self, attempt: Attempt, completion: Completion, found: Record) -> Steps:
        outcome = attempt.outcome = Completed(found)
        attempt.held = found
        if attempt.decide is not None:
            attempt.decide(completion.claim, completion.event, completion.now)
        if attempt.report is not None:
            yield from self._report(attempt, Kind.COMPLETED, outcome)

    def _read_back(self, attempt: Attempt, completion: Completion, text: str | None) -> Steps:
        """Return the record, whether it is known, and whether the transaction has ended.

        What is open may be a later transaction of the same connection, perhaps another user's. So only the
        result itself counts there. If it is not found, what is committed is read too.
        """
        if not completion.is_open:
            return (yield from self._read_committed(attempt))
        failure: Exception | None = None
        found: Any = None
        same = True
        try:
            found = yield AskWithin(completion.client, read(completion.table, attempt.key))
            if not is_result_of(attempt.owner, found):
                same = yield AskWithin(completion.client, is_same(completion.table, completion.transaction))
        except Exception as error:
            if self._interrupts.behind(error) is not None:
                raise
            failure = error
        has_ended = not completion.is_open  # also if the connection broke, so that nothing can be committed
        if has_ended or not same:
            return (yield from self._read_committed(attempt))
        if is_result_of(attempt.owner, found) and found.response_data == text:
            return found, True, False
        committed, known, _ = yield from self._read_committed(attempt, tries=1)
        if known and is_result_of(attempt.owner, committed):
            return committed, True, True
        if failure is None or is_aborted(failure):
            return found, True, False
        attempt.trouble = failure
        return None, False, False

    def _read_committed(self, attempt: Attempt, tries: int = TRIES) -> Steps:
        for failures in range(1, tries + 1):
            try:
                found = yield Load(attempt.key)
            except Exception as error:
                if self._interrupts.behind(error) is not None:
                    raise
                attempt.trouble = error
            else:
                return found, True, True
            if failures < tries:
                yield Sleep(pause_ms(failures))
        return None, False, False

    def _abort(self, completion: Completion) -> Steps:
        """Leave a transaction that is still open unable to commit."""
        if not completion.is_open:
            return
        try:
            yield AskWithin(completion.client, abort(completion.table, completion.transaction))
        except Exception as error:
            if self._interrupts.behind(error) is not None:
                raise
            # The connection is of no use any more, so the database rolls back.

    def _is_locked(self, attempt: Attempt, completion: Completion) -> Steps:
        """Return whether a transaction that is open has locked the record. On SQLite a later one may have."""
        client = completion.client
        if client is None:
            return False
        if not (client.is_open() if completion.table.dialect == SQLITE else completion.is_open):
            return False
        try:
            return (
                yield AskWithin(completion.client, is_locked(completion.table, attempt.key, attempt.owner))
            )
        except Exception as error:
            if self._interrupts.behind(error) is not None:
                raise
            return completion.table.dialect != POSTGRESQL  # which unlocks as soon as a statement fails

    def _release_after_transaction(self, attempt: Attempt, failure: BaseException) -> Steps:
        """Release or abandon once, unless the record is locked, or its effect may be committed (TXN-4)."""
        trouble: Exception | None = None
        completion: Completion = attempt.completion
        torn = completion.may_be_torn and attempt.returned and completion.refusal is None
        if completion.is_committed:
            pass
        elif torn or (yield from self._is_locked(attempt, completion)):
            why = "its effect may be committed" if torn else "the transaction has locked its record"
            trouble = IdempotencyAlreadyInProgressError(
                f"The claim on {attempt.key!r} was not released, because {why}. It stands until its lease "
                "ends, or the transaction is committed.",
            )
        else:
            ending = self._ending_after(attempt, failure)
            kind = Releasing if ending is None else type(ending)
            try:
                yield from self._release(attempt, failure, kind(self._interrupts, tries=1, requests=2))
            except Exception as error:
                if self._interrupts.includes(error):
                    raise
                trouble = error
        attempt.settled = True
        if trouble is not None:
            failure.add_note(str(trouble))
            if attempt.report is not None:
                yield from self._report(attempt, Kind.RELEASE_FAILED, None, trouble)
            if completion.may_arrive and not torn:
                attempt.trouble = trouble
                yield from self._raise_unknown(attempt)
        if attempt.interrupt is not None and not self._interrupts.includes(failure):
            append_context(attempt.interrupt, failure)
            raise attempt.interrupt from failure


def _begin(attempt: Attempt, completion: Completion) -> None:
    """Make ``completion`` the one of the attempt, or raise if another thread was faster (TXN-2)."""
    attempt.completing.append(completion)
    if attempt.completing[0] is not completion:
        raise completed_before(attempt.key)


def _requirement(*, savepoint: bool) -> Exchange:
    """Raise a problem unless the connection is in a transaction that may be used."""
    yield Ask("require", kwargs={"savepoint": savepoint})
