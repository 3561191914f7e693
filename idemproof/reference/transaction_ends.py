"""Ends calls that have completed within a transaction: finds out what was committed (TXN-4, TXN-7)."""

from typing import Any

from ..backends.within import POSTGRESQL, SQLITE, abort, is_aborted, is_locked, is_same, read
from ..spec.commands import AskWithin, Load, Sleep, Steps
from ..spec.errors import (
    IdempotencyAlreadyInProgressError,
    IdempotencyLeaseLostError,
    IdempotencyPersistenceLayerError,
)
from ..spec.events import Completed
from ..spec.invariants import is_result_of
from ..spec.occurrences import Kind
from ..spec.record import Record, holds
from .attempt import Attempt, append_context
from .changes import Releasing, pause_ms
from .releases import Releases
from .transaction_completion import Completion
from .transaction_errors import differs, unrecorded

TRIES = 3
"""How often the record is read at the end of a call, before its outcome counts as unknown."""


class TransactionEnds(Releases):
    """The part of an engine that finds out what became of a transaction, after the body has ended."""

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
