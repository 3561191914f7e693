"""The moves of clients that refuse or ask before they take over, or complete within transactions."""

from typing import Any

import pytest

from idemproof.spec import takeover, transactions
from idemproof.spec.events import ASK, REFUSE, Complete, Completed, Evict
from idemproof.spec.explorer import Edge, Explorer
from idemproof.spec.happenings import Acted, Committed, Within
from idemproof.spec.moves import FAULTS, LEASE, WINDOW, Move, ask
from idemproof.spec.record import COMPLETED, Record
from idemproof.spec.states import Client, State, canonical
from idemproof.spec.takeover import CautiousAttempt, operated
from idemproof.spec.transactions import TransactionalAttempt, is_locked
from model_states import ABANDONED, CLAIMED, STORED, client

pytestmark = pytest.mark.once

ASKING: dict[str, Any] = {"policy": ASK}
REFUSING: dict[str, Any] = {"policy": REFUSE}
WITHIN: dict[str, Any] = {"transactions": True}
LONG = 17
"""Seconds that no effect of a search lasts, so that no other test uses the cache entry of these."""

LAPSED = CLAIMED._replace(in_progress_expiry_timestamp=0)


@pytest.mark.parametrize(
    ("kind", "bounds", "states", "steps", "rows"),
    [
        (ASKING, (1, 1, FAULTS), 312, 1292, "1 2 4 5 6 7 8 10 11 12 13 14 18 19 20"),
        (ASKING, (1, 1, ("raise", "renew"), 1), 3678, 13773, "1 2 4 5 6 7 8 9 10 11 12 13 14 18 19 20"),
        (ASKING, (2, 1, ()), 1490, 4869, "1 4 5 7 8 9 14 18 20"),
        (REFUSING, (1, 1, FAULTS), 214, 862, "1 2 4 5 6 7 8 10 11 12 13 14 17 19 20"),
        (REFUSING, (1, 1, ("raise", "renew"), 1), 1623, 6074, "1 2 4 5 6 7 8 9 10 11 12 13 14 17 19 20"),
        (REFUSING, (2, 1, ()), 563, 1813, "1 4 5 7 8 9 14 17 20"),
        (WITHIN, (1, 1, FAULTS), 161, 647, "1 2 4 5 6 7 10 11 12 13 14 22 23"),
        (WITHIN, (1, 1, ("raise", "renew"), 1), 1709, 6034, "1 2 4 5 6 7 8 9 10 11 12 13 22 23"),
        (WITHIN, (2, 1, ("raise", "renew")), 1458, 5738, "1 4 5 7 8 9 10 11 12 13 22 23"),
    ],
)
def test_a_complete_search_counts_every_state_and_step(
    kind: dict[str, Any], bounds: tuple[Any, ...], states: int, steps: int, rows: str
) -> None:
    found = Explorer(*bounds, **kind).search()
    assert (found.states, found.edges, found.complete) == (states, steps, True)
    assert (found.counterexample, found.stuck) == (None, None)
    assert " ".join(sorted((row.removeprefix("ROW-") for row in found.rows), key=int)) == rows


# What each move is called, and which of them need a fault or give a caller its result.

FAULTLESS = {
    *("a second passes", "the store forgets", "calls", "claims", "finds that its lease has ended"),
    *("begins its body", "returns", "cannot store its result in time"),
    *("gets Completed", "gets InProgress", "gets NotHeld", "gets Released", "gets Replay"),
}
FAULTY = {
    *("dies", "gives up", "raises", "renews its lease", "loses the reply to its claim"),
    *("loses the reply to its completion", "loses the reply to its release"),
}
CAUTIOUS = {"acts", "is kept from acting", "gets Abandoned", "gets Superseded"}
CAUTIOUS_FAULTY = {
    *("raises after its effect", "raises what was declared", "loses the reply to its abandonment"),
    *("an operator forgets it", "an operator resolves it"),
}
OF_A_QUESTION = {"asks", "finds it done", "finds it not done", "finds it not done, and its lease ended"}
OF_A_TRANSACTION = {
    *("writes its effect and its result", "is refused, and cannot commit", "gets its own result"),
    *("commits", "commits after its call"),
}
OF_A_TRANSACTION_FAULTY = {
    *("ends its call before its transaction", "rolls back", "rolls back after its call"),
    "raises after its commit",
}


def reachable(explorer: Explorer) -> list[Edge]:
    """Return every step from every state that can be reached."""
    edges: list[Edge] = []
    seen, waiting = {explorer._start}, [explorer._start]
    while waiting:
        for edge in explorer._edges(waiting.pop()):
            edges.append(edge)
            after = canonical(edge.after)
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return edges


@pytest.mark.parametrize(
    ("kind", "faultless", "faulty"),
    [
        (ASKING, FAULTLESS | CAUTIOUS | OF_A_QUESTION, FAULTY | CAUTIOUS_FAULTY | {"cannot tell"}),
        (REFUSING, FAULTLESS | CAUTIOUS | {"gets UnknownOutcome"}, FAULTY | CAUTIOUS_FAULTY),
        (WITHIN, FAULTLESS | OF_A_TRANSACTION, FAULTY | OF_A_TRANSACTION_FAULTY),
    ],
)
def test_each_move_has_its_words_and_says_whether_it_needs_a_fault(
    kind: dict[str, Any], faultless: set[str], faulty: set[str]
) -> None:
    edges = reachable(Explorer(1, **kind))
    assert {edge.what for edge in edges if edge.faultless} == faultless
    assert {edge.what for edge in edges if not edge.faultless} == faulty
    finishes = {"gets Completed", "gets Replay", "gets Superseded", "gets its own result"}
    assert {edge.what for edge in edges if edge.finishes} == finishes & faultless
    assert {type(edge.faultless) for edge in edges} == {bool}


# Takeovers.


def cautious(at: Client, record: Record | None, policy: str = ASK, **more: Any) -> dict[str, Move]:
    """Return the moves of a client that does not repeat at once, by their words."""
    given = {"may_be_late": False, "effect": 0} | more
    attempt = CautiousAttempt(at, record, ("a",), frozenset(FAULTS), policy=policy, **given)
    return {move.what: move for move in attempt.moves()}


@pytest.mark.clause("TAKE-3")
def test_a_claim_that_takes_over_asks_also_if_its_reply_is_lost_or_it_is_late() -> None:
    moves = cautious(client("claiming"), LAPSED._replace(owner="gone"), may_be_late=True)
    assert moves["claims"].client == client("granted", LEASE, owns=True, asks=True)
    assert type(moves["claims"].client.lease) is int
    late = moves["sends a late claim"].client
    assert late == client("claiming", late=("claim", LEASE, WINDOW), asks=True)
    lost = cautious(client("granted", LEASE, owns=True, asks=True), CLAIMED)["loses the reply to its claim"]
    assert lost.client == client("claiming", owns=True, asks=True)


@pytest.mark.clause("TAKE-3")
def test_a_late_claim_takes_over_only_what_it_was_sent_to_take_over() -> None:
    """A compare-and-swap expects what it replaces."""
    sent = client("releasing", late=("claim", LEASE, WINDOW))
    lapsed = LAPSED._replace(owner="gone")
    refused = cautious(sent, lapsed)["has its late claim refused"]
    assert (refused.client, refused.record) == (client("releasing"), lapsed)
    arrives = cautious(sent._replace(asks=True), lapsed)["has its late claim arrive"]
    assert arrives.client == client("releasing", owns=True, asks=True)


@pytest.mark.clause("TAKE-3")
def test_a_claim_of_a_new_key_asks_nothing() -> None:
    moves = cautious(client("claiming"), None, may_be_late=True)
    assert moves["claims"].client == client("granted", LEASE, owns=True)
    assert not moves["sends a late claim"].client.asks


@pytest.mark.clause("INV-10")
@pytest.mark.parametrize(("effect", "broken"), [(0, ()), (1, ("INV-10 effect_happens_once",))])
def test_an_effect_that_happens_again_too_soon_is_seen(effect: int, broken: tuple[str, ...]) -> None:
    moves = cautious(client("running", LEASE, owns=True), CLAIMED, effect=effect)
    assert (moves["acts"].acts, moves["acts"].broken) == (True, broken)


def test_an_effect_is_judged_after_the_one_that_happened_before(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[list[Any]] = []
    monkeypatch.setattr(takeover, "broken_by_history", lambda history: judged.append(history) or [])
    cautious(client("running", LEASE, owns=True), CLAIMED, effect=LONG)
    assert judged == [[Acted("other", -1, LONG * 1000), Acted("me", 0, 1000)]]


def test_only_who_holds_the_claim_acts() -> None:
    for at, record in (
        (client("running", LEASE), ABANDONED),
        (client("running", LEASE, owns=True), STORED),
        (client("running", LEASE, owns=True), None),
    ):
        moves = cautious(at, record)
        assert "acts" not in moves
        assert moves["is kept from acting"].client._replace(owns=at.owns) == at._replace(
            phase="abandoning", lease=0
        )


def test_an_operator_acts_on_what_has_lapsed_and_is_not_completed() -> None:
    live = CLAIMED._replace(in_progress_expiry_timestamp=1)
    for record in (None, CLAIMED, live, STORED, STORED._replace(expiry_timestamp=0)):
        assert list(operated(State(record, (Client(),)))) == []
    at = (client("running", owns=True), Client())
    (forgets,) = operated(State(LAPSED, at))
    assert forgets == (
        "an operator forgets it",
        State(None, (client("running"), Client())),
        "ROW-14",
        (),
    )
    (resolves,) = operated(State(LAPSED, at, effect=1))
    result = Record("", COMPLETED, WINDOW, None, "gone", "a", "gone")
    after = State(result, (client("running"), Client()), stored=WINDOW, effect=WINDOW)
    assert resolves == ("an operator resolves it", after, "ROW-7", ())


def test_an_operator_sends_what_the_operations_send(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(takeover, "ask", lambda *asked: sent.append(asked) or ask(*asked))
    for effect in (1, 0):
        list(operated(State(LAPSED, (Client(),), effect=effect)))
    over = LAPSED._replace(expiry_timestamp=0, in_progress_expiry_timestamp=None)
    assert sent == [(LAPSED, Complete("held", "resolved", "a", WINDOW)), (over, Evict())]


# Transactions.


def within(at: Client, record: Record | None, **more: Any) -> dict[str, Move]:
    """Return the moves of a client that may complete within a transaction, by their words."""
    given = {"may_be_late": False, "effect": 0, "locked": False} | more
    attempt = TransactionalAttempt(at, record, ("a",), frozenset(FAULTS), **given)
    return {move.what: move for move in attempt.moves()}


@pytest.mark.clause("TXN-4")
def test_the_transaction_of_another_client_locks_the_record() -> None:
    for phase, locks in (("written", True), ("left", True), ("committed", False), ("running", False)):
        state = State(CLAIMED, (Client(), client(phase, LEASE, owns=True)))
        assert (is_locked(state), is_locked(state, 0), is_locked(state, 1)) == (locks, locks, False)


@pytest.mark.clause("TXN-4")
@pytest.mark.parametrize(
    ("phase", "what"),
    [
        ("claiming", {"finds the record locked", "gives up", "dies"}),
        ("releasing", {"leaves the rest to the lease", "dies"}),
        ("completing", {"dies"}),
        ("running", {"raises", "returns", "is refused, and cannot commit", "dies"}),
    ],
)
def test_what_needs_a_locked_record_waits_or_fails(phase: str, what: set[str]) -> None:
    moves = within(client(phase, LEASE, WINDOW), ABANDONED, locked=True, may_be_late=True)
    assert moves.keys() == what
    faulty = {each for each in what if moves[each].faultless is False}
    assert faulty == what & {"gives up", "raises", "dies"}


@pytest.mark.clause("INV-11", "INV-10")
@pytest.mark.parametrize(
    ("record", "owns", "effect", "broken"),
    [
        (CLAIMED, True, 0, ()),
        (CLAIMED, True, 1, ("INV-10 effect_happens_once",)),
        (ABANDONED, False, 0, ("INV-11 effect_has_its_record",)),
    ],
)
@pytest.mark.parametrize("phase", ["written", "left"])
def test_a_commit_is_judged_by_what_is_stored_and_what_has_happened(
    record: Record, owns: bool, effect: int, broken: tuple[str, ...], phase: str
) -> None:
    moves = within(client(phase, LEASE, WINDOW, owns=owns), record, effect=effect)
    commits = moves["commits" if phase == "written" else "commits after its call"]
    assert (commits.acts, commits.broken, commits.stored) == (True, broken, WINDOW)
    if phase == "written":
        assert commits.client == client("committed", 0, WINDOW, owns=owns)


@pytest.mark.parametrize("stored", [True, False])
def test_a_commit_is_judged_after_the_effect_that_happened_before(
    monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    judged: list[list[Any]] = []
    monkeypatch.setattr(transactions, "broken_by_history", lambda history: judged.append(history) or [])
    held = client("written", LEASE, WINDOW, owns=stored)
    within(held, CLAIMED if stored else ABANDONED, effect=LONG)
    current = Record("", COMPLETED, WINDOW, owner="me") if stored else None
    commit = [Within("me", 0), Committed("me", 0, current), Acted("me", 0, 1000)]
    assert judged == [[Acted("other", -1, LONG * 1000), *commit]]


@pytest.mark.clause("INV-11")
@pytest.mark.parametrize("rolled_back", [False, True])
def test_a_result_that_is_stored_after_a_rollback_is_seen(rolled_back: bool) -> None:
    at = client("completing", LEASE, WINDOW, owns=True, within=rolled_back)
    broken = ("INV-11 effect_has_its_record",) if rolled_back else ()
    assert within(at, CLAIMED)["gets Completed"].broken == broken
    assert within(at._replace(owns=False), ABANDONED)["gets LeaseLost"].broken == ()


def test_what_ends_a_transaction_without_its_commit_blocks_others_as_a_crash_does() -> None:
    moves = within(client("left", LEASE, WINDOW, owns=True), CLAIMED)
    assert moves["rolls back after its call"].crashed == LEASE
    moves = within(client("written", LEASE, WINDOW, owns=True), CLAIMED)
    assert moves["rolls back"].client == client("releasing", 0, WINDOW, owns=True, within=True)
    assert moves["ends its call before its transaction"].client == client("left", LEASE, WINDOW, owns=True)


@pytest.mark.clause("TXN-4")
@pytest.mark.parametrize(("phase", "locked"), [("written", False), ("left", False), ("idle", True)])
def test_a_late_request_for_a_locked_record_is_refused(phase: str, locked: bool) -> None:
    at = client(phase, LEASE, WINDOW, owns=True, late=("release", 0, 0))
    refused = within(at, CLAIMED, locked=locked)["has its late request refused"]
    assert (refused.client, refused.record) == (at._replace(late=()), CLAIMED)
    free = within(at._replace(phase="idle"), CLAIMED)["has its late release arrive"]
    assert free.record is None


def test_a_commit_ends_the_claim_of_an_attempt_that_raises_after_it() -> None:
    moves = within(client("committed", LEASE, owns=True), STORED)
    assert moves["raises after its commit"].client == client("releasing", owns=True)


def test_a_completion_that_breaks_an_invariant_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    overwritten = Completed(STORED)
    monkeypatch.setattr("idemproof.spec.moves.transition", lambda *_: (None, overwritten))
    writes = within(client("running", LEASE), ABANDONED)["writes its effect and its result"]
    assert "INV-3 others_are_untouched" in writes.broken


def test_a_completion_within_needs_the_claim() -> None:
    writes = within(client("running", LEASE, owns=True), CLAIMED)["writes its effect and its result"]
    assert (writes.row, writes.record) == ("ROW-22", CLAIMED)
    assert writes.client == client("written", LEASE, WINDOW, owns=True)
    refused = within(client("running", LEASE), ABANDONED)["is refused, and cannot commit"]
    assert (refused.row, refused.client) == ("ROW-23", client("releasing", 0))
