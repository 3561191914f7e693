"""The search finds engines and stores that are wrong about completion within transactions (INV-11)."""

from typing import Any

import pytest

from idemproof.backends.within import Records
from idemproof.conformance.search.engine_explorer import search_engine
from idemproof.conformance.simulator import World
from idemproof.drivers.exchanges import Ask
from idemproof.reference import transactions
from idemproof.reference.attempt import Attempt
from idemproof.reference.changes import Releasing
from idemproof.reference.engine import Engine
from idemproof.reference.transaction_completion import Completion
from idemproof.spec.commands import Swap
from idemproof.spec.record import INPROGRESS, Record
from idemproof.spec.transition import transition

pytestmark = pytest.mark.once


class CompletesOutside(Engine):
    """The result is stored by the layer, while the transaction is open."""

    def complete_steps(self, attempt: Attempt, result: Any, *given: Any, savepoint: bool) -> Any:
        completion = self._completion(attempt, result, *given[:2])
        attempt.completing.append(completion)
        new, _ = transition(completion.claim, completion.event, completion.now)
        yield Swap(attempt.key, completion.claim, new, 1)


class WritesAgain(Engine):
    """The result is stored once more, after the commit (TXN-8)."""

    def _confirm(self, attempt: Attempt) -> Any:
        yield from super()._confirm(attempt)
        if attempt.completion.is_committed:
            yield Swap(attempt.key, attempt.held, attempt.held, 1)


class TakesARollbackForACommit(Engine):
    """What was completed counts as recorded, without a look (TXN-7)."""

    def _confirm(self, attempt: Attempt) -> Any:
        completion = attempt.completion
        new, _ = transition(completion.claim, completion.event, completion.now)
        assert new is not None
        completion.answer = attempt.result
        yield from self._note_recorded(attempt, completion, new, committed=False)


class ReleasesWhateverIsStored(Engine):
    """The key is released after a commit whose outcome is unknown (TXN-7)."""

    def _ending_after(self, attempt: Attempt, failure: BaseException) -> Releasing | None:
        return TakesAnyRecord(self._interrupts)


class TakesAnyRecord(Releasing):
    def acting(self, subject: Attempt, current: Record | None) -> Record | None:  # type: ignore[override]
        return current and current._replace(status=INPROGRESS, owner=subject.owner)


class DeniesACommitOnItsWay(Engine):
    """A transaction whose commit may still arrive is reported as rolled back (TXN-7)."""

    def _release_after_transaction(self, attempt: Attempt, failure: BaseException) -> Any:
        attempt.completion.may_arrive = False
        yield from super()._release_after_transaction(attempt, failure)


class LeavesItOpen(Engine):
    """A transaction whose result differs from what is returned stays able to commit (TXN-7)."""

    def _abort(self, completion: Completion) -> Any:
        yield from ()


class CachesBeforeTheCommit(Engine):
    """The result is cached while the transaction is open (TXN-8)."""

    def _note_recorded(self, attempt: Attempt, completion: Completion, found: Record, **_: bool) -> Any:
        return super()._note_recorded(attempt, completion, found, committed=True)


class RenewsWhileItCompletes(Engine):
    """The heartbeat goes on while the completion is written (TXN-3)."""

    def _stop_renewal(self, attempt: Attempt) -> Any:
        yield from ()


class AnswersWithAFinalError(Engine):
    """A final error after a completion within a transaction is stored (TXN-9)."""

    def _is_final(self, attempt: Attempt) -> bool:
        failure = attempt.failure
        return failure is not None and self.finals.include(failure)


class DoesNotReport(Engine):
    """A completion is not reported if its body returns something else after the commit (OBS-1)."""

    def _report_completed(self, attempt: Attempt, completion: Completion, found: Record) -> Any:
        if attempt.completion.event.response == f'"{attempt.result}"':
            yield from super()._report_completed(attempt, completion, found)


@pytest.mark.parametrize(
    ("wrong", "bounds", "clause"),
    [
        (CompletesOutside, {}, "INV-11"),
        (WritesAgain, {}, "TXN-2"),
        (TakesARollbackForACommit, {}, "ENG-7"),
        (ReleasesWhateverIsStored, {"faults": 1}, "INV-2"),
        (DeniesACommitOnItsWay, {"faults": 1}, "TXN-7"),
        (LeavesItOpen, {}, "TXN-7"),
        (LeavesItOpen, {"transactions": "mysql"}, "TXN-7"),
        (CachesBeforeTheCommit, {"cached": True, "calls": 2}, "ENG-7"),
        (RenewsWhileItCompletes, {"renews": True}, "REN-3"),
        (AnswersWithAFinalError, {"final_errors": True}, "TXN-2"),
        (DoesNotReport, {}, "OBS-1"),
    ],
)
def test_a_wrong_engine_is_found(wrong: type[Engine], bounds: dict[str, Any], clause: str) -> None:
    given = {"clients": 1, "faults": 0, "crashes": 0, "calls": 1, "ticks": 0, "transactions": "postgresql"}
    found = search_engine(**given | bounds, engine=wrong).counterexample
    assert found is not None
    assert clause in {name.split()[0] for name in found.broken}


class DoesNotLock(World):
    """A record may be replaced while a transaction has written it (TXN-4)."""

    def swap(self, command: Swap) -> Record | None:
        transaction, self.transaction = self.transaction, None
        found = super().swap(command)
        self.transaction = transaction
        return found


class CommitsTheEffectAlone(World):
    """The effect of a transaction is committed without its record."""

    def commit(self, owner: str) -> None:
        self.transaction = None
        super().commit(owner)


class ShowsWhatIsNotCommitted(World):
    """A claim finds the result of a transaction that is open."""

    def swap(self, command: Swap) -> Record | None:
        transaction = self.transaction
        return super().swap(command) if transaction is None else transaction.new


@pytest.mark.parametrize(
    ("wrong", "clause"),
    [(DoesNotLock, "INV-3"), (CommitsTheEffectAlone, "INV-11"), (ShowsWhatIsNotCommitted, "ENG-7")],
)
def test_a_wrong_store_is_found(wrong: type[World], clause: str) -> None:
    found = search_engine(1, 0, 0, calls=2, ticks=2, transactions="postgresql", world=wrong).counterexample
    assert found is not None
    assert clause in {name.split()[0] for name in found.broken}


@pytest.mark.clause("TXN-6")
def test_a_completion_that_does_not_see_that_its_claim_is_lost_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write(records: Records, new: Record, *, savepoint: bool) -> Any:
        given = {"key": new.idempotency_key, "expiration": new.expiry_timestamp}
        yield Ask(
            "changed", ("UPDATE", given | dict(zip(("data", "validation", "owner"), new[4:], strict=True)))
        )

    monkeypatch.setattr(transactions, "write", write)
    found = search_engine(1, 0, 0, calls=1, ticks=3, transactions="mysql").counterexample
    assert found is not None
    assert "INV-11" in {name.split()[0] for name in found.broken}
