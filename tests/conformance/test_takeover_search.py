"""The searches of effects: each rule of the takeovers that an engine or a client leaves out is found."""

from pathlib import Path
from typing import Any

import pytest

from failing_requests import noting_failures
from fault_report import REPORT, searched_in_clients
from idemproof.conformance.search.engine_explorer import search_engine
from idemproof.reference.attempt import Attempt
from idemproof.reference.changes import Releasing
from idemproof.reference.engine import Engine
from idemproof.reference.not_done import NOT_DONE
from idemproof.spec.events import ASK, REFUSE
from takeover_faults import CLIENT_FAULTS, ClientFault, found_in_clients

pytestmark = pytest.mark.once

PAGE = (Path(__file__).resolve().parents[2] / "docs" / REPORT).read_text(encoding="utf-8")


@pytest.mark.parametrize("fault", CLIENT_FAULTS, ids=lambda fault: fault.what)
def test_a_fault_of_clients_is_found_and_the_page_says_how(fault: ClientFault) -> None:
    trace = found_in_clients(fault)
    assert trace is not None
    assert {name.partition(" ")[0] for name in trace.broken} <= {"INV-10", "INV-11", "ENG-3"}
    assert searched_in_clients(fault) in PAGE


class NeverAsks(Engine):
    """A takeover begins its body (TAKE-3)."""

    def _ask(self, attempt: Attempt, outcome: Any) -> Any:
        attempt.asks = False
        return outcome
        yield


class ForgetsATakeoverWhoseReplyIsLost(Engine):
    """What was sent counts only if it was answered (TAKE-3)."""

    def _claim(self, attempt: Attempt) -> Any:
        def forget() -> None:
            attempt.asks = False

        return noting_failures(super()._claim(attempt), forget)


class ReleasesWhatItDidNotAskAbout(Engine):
    """An attempt that ends before it asks releases (TAKE-4)."""

    def _ending_before_the_body(self, attempt: Attempt, *, stopped: bool) -> Releasing | None:
        attempt.asks = False
        return super()._ending_before_the_body(attempt, stopped=stopped)


class ReleasesWhenItCannotTell(Engine):
    """An attempt whose question raised releases (TAKE-4)."""

    def _ending_after(self, attempt: Attempt, failure: BaseException) -> Releasing | None:
        return None if attempt.asks else super()._ending_after(attempt, failure)


class TakesAnExceptionForNo(Engine):
    """A question that raised counts as the answer that nothing was done (TAKE-5)."""

    def _put_the_question(self, attempt: Attempt) -> Any:
        yield from super()._put_the_question(attempt)
        if attempt.failure is not None:
            attempt.failure, attempt.result = None, NOT_DONE


class ReleasesWhateverIsRaised(Engine):
    """What a body raises releases, as under the policy run (TAKE-6)."""

    def _abandons_after(self, attempt: Attempt, failure: BaseException) -> bool:
        return attempt.asks


class ReleasesWhenStopped(Engine):
    """An interrupt of a body releases (TAKE-6)."""

    def _abandons_after(self, attempt: Attempt, failure: BaseException) -> bool:
        return not isinstance(failure, KeyboardInterrupt) and super()._abandons_after(attempt, failure)


@pytest.mark.parametrize(
    ("wrong", "policy", "bounds", "clause"),
    [
        (NeverAsks, ASK, {"crashes": 1}, "INV-10"),
        (ForgetsATakeoverWhoseReplyIsLost, ASK, {"crashes": 1, "faults": 1}, "INV-10"),
        (ReleasesWhatItDidNotAskAbout, ASK, {"crashes": 1, "interrupts": 1}, "INV-10"),
        (ReleasesWhenItCannotTell, ASK, {"crashes": 1}, "INV-10"),
        (TakesAnExceptionForNo, ASK, {"crashes": 1}, "INV-10"),
        (ReleasesWhateverIsRaised, ASK, {}, "INV-10"),
        (ReleasesWhateverIsRaised, REFUSE, {}, "INV-10"),
        (ReleasesWhenStopped, ASK, {"interrupts": 1}, "INV-10"),
        (ReleasesWhenStopped, REFUSE, {"interrupts": 1}, "INV-10"),
    ],
)
def test_a_fault_of_the_engine_is_found(
    wrong: type[Engine], policy: str, bounds: dict[str, Any], clause: str
) -> None:
    given = {"clients": 1, "faults": 0, "crashes": 0, "ticks": 3} | bounds
    found = search_engine(**given, engine=wrong, policy=policy).counterexample
    assert found is not None
    assert clause in {name.split()[0] for name in found.broken}


@pytest.mark.clause("ENG-3", "TAKE-5")
def test_an_engine_that_does_not_look_at_the_lease_after_the_answer_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("idemproof.reference.takeover.live", lambda record, now: True)
    found = search_engine(1, 0, 1, ticks=4, policy=ASK).counterexample
    assert found is not None
    # It begins at once, or would if it went on without faults, which is judged first.
    assert {"ENG-3", "INV-8"} & {name.split()[0] for name in found.broken}
