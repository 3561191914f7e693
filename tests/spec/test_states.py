"""How moves, time and the store change a state, and which clients may begin in it."""

import pytest

from idemproof.spec.events import Evict, Kept
from idemproof.spec.moves import Move, ask, forget
from idemproof.spec.record import Record
from idemproof.spec.states import Client, State, broken_by_beginning, canonical, remembering, renamed, tick
from model_states import ABANDONED, ABANDONED_RESULT, CLAIMED, STORED, client

pytestmark = pytest.mark.once


def test_a_move_changes_only_its_client_and_what_blocks_others() -> None:
    state = State(CLAIMED, (client("running", 1, owns=True), Client()), crashed=1, stored=1)
    moved = Move("dies", Client(), CLAIMED, crashed=2).applied_to(state, 1)
    assert moved == State(CLAIMED, state.clients, 2, 1)
    left = client("gone", late=("claim", 1, 1))
    moved = Move("is over", client("claiming"), CLAIMED, left=left, stored=3).applied_to(state, 1)
    assert moved == State(CLAIMED, (state.clients[0], client("claiming"), left), 1, 3)


def test_the_effect_of_a_move_counts_from_then_on() -> None:
    state = State(CLAIMED, (client("running", 1, owns=True),))
    moved = Move("acts", client("acted", 1, owns=True), CLAIMED, acts=True).applied_to(state, 0)
    assert moved == State(CLAIMED, (client("acted", 1, owns=True),), effect=3)


def test_what_an_invocation_leaves_blocks_all_but_its_execution() -> None:
    ends = Client(durable=True)
    state = State(CLAIMED, (client("running", 2, durable=True), Client()), 1, 1, suspended=1, done=1)
    moved = Move("is suspended", ends, CLAIMED, crashed=2).applied_to(state, 0)
    assert moved == State(CLAIMED, (ends, Client()), 1, 1, suspended=2, done=1)
    moved = Move("gets Completed", ends, STORED, stored=3).applied_to(state, 0)
    assert moved == State(STORED, (ends, Client()), 1, 1, suspended=1, done=3)


def test_a_release_ends_all_invocations_of_the_execution() -> None:
    others = (client("running", 2, durable=True), client("granted", 2))
    state = State(CLAIMED, (client("releasing", durable=True), *others), 1, 1, suspended=2, done=1)
    moved = Move("gets Released", Client(durable=True), None, released=True).applied_to(state, 0)
    left = (Client(durable=True), client("running", 0, durable=True), client("granted", 2))
    assert moved == State(None, left, 1, 1, suspended=0, done=1)


def test_whose_record_is_replaced_owns_it_no_longer() -> None:
    state = State(CLAIMED, (client("running", 1, owns=True), Client()))
    moved = Move("claims", client("granted", 2, owns=True), STORED, replaced=True).applied_to(state, 1)
    assert moved == State(STORED, (client("running", 1), client("granted", 2, owns=True)))


def test_the_owner_of_the_stored_record_still_owns_it() -> None:
    # A move may be remembered from another state, in which an equal record stood.
    state = State(CLAIMED, (client("running", 1, owns=True), Client()))
    moved = Move("calls", client("claiming"), CLAIMED._replace()).applied_to(state, 1)
    assert moved == State(CLAIMED, (client("running", 1, owns=True), client("claiming")))


def test_a_second_passes_for_everything_that_waits() -> None:
    waiting = client("completing", 2, 3, owns=True, late=("complete", 1, 2))
    state = State(CLAIMED, (waiting, Client(late=("claim", 2, 1))), crashed=2, stored=3)
    once = tick(state)
    assert once.record == CLAIMED._replace(expiry_timestamp=2, in_progress_expiry_timestamp=1000)
    assert once.clients == (
        client("completing", 1, 2, owns=True, late=("complete", 0, 1)),
        Client(late=("claim", 1, 0)),
    )
    assert (once.crashed, once.stored) == (1, 2)


def test_nothing_is_sooner_than_now() -> None:
    over = State(STORED._replace(expiry_timestamp=0), (Client(late=("release", 0, 0)),))
    assert tick(over) == over
    lapsed = State(CLAIMED._replace(expiry_timestamp=1, in_progress_expiry_timestamp=0), ())
    assert tick(lapsed).record == CLAIMED._replace(expiry_timestamp=0, in_progress_expiry_timestamp=0)
    assert tick(State(None, ())) == State(None, ())


def test_the_store_forgets_what_is_over_alone() -> None:
    live = State(CLAIMED, (client("running", 1, owns=True),), 1, 2)
    same, asked = forget(live)
    assert same is live
    assert (asked.outcome, asked.row) == (Kept(), "ROW-15")
    over = live._replace(record=CLAIMED._replace(expiry_timestamp=0, in_progress_expiry_timestamp=0))
    after, asked = forget(over)
    assert after == State(None, (client("running", 1),), 1, 2)
    assert (asked.row, asked.broken) == ("ROW-14", ())
    assert ask(None, Evict()).row == "ROW-15"


def test_states_that_differ_in_the_order_of_clients_are_one() -> None:
    one, other, gone = client("running", 1), client("claiming"), client("gone")
    late = client("gone", late=("claim", 1, 1))
    assert canonical(State(None, (one, gone, late, other), 1, 2)) == State(None, (other, late, one), 1, 2)


def test_an_owner_of_whom_nothing_is_left_has_another_name() -> None:
    owner = client("running", 1, owns=True)
    assert canonical(State(CLAIMED, (owner,))).record == CLAIMED
    assert canonical(State(CLAIMED, (Client(),))).record == ABANDONED
    assert canonical(State(STORED, (Client(),))).record == ABANDONED_RESULT
    assert canonical(State(STORED, (owner,))).record == STORED


@pytest.mark.parametrize(
    ("record", "effect", "acts", "after"),
    [
        (None, 2, True, 2),
        (CLAIMED, 0, False, 0),
        (CLAIMED, 0, True, 3),
        (CLAIMED, 1, False, 3),
        (CLAIMED, 5, False, 5),
        (STORED, 5, False, 3),
    ],
)
def test_an_effect_counts_until_the_record_of_it_expires(
    record: Record | None, effect: int, acts: bool, after: int
) -> None:
    given = {"acts": True} if acts else {}
    state = State(record, (Client(),), effect=effect)
    assert remembering(state, **given) == state._replace(effect=after)


@pytest.mark.parametrize("prefix", ["", "durable:execution/"])
def test_another_owner_is_of_the_same_execution(prefix: str) -> None:
    assert renamed(CLAIMED._replace(owner=f"{prefix}held"), "me") == CLAIMED._replace(owner=f"{prefix}me")
    result = STORED._replace(owner=f"{prefix}me", response_data=f"{prefix}me")
    assert renamed(STORED._replace(owner=f"{prefix}held"), "me") == result


# Who may begin.


@pytest.mark.clause("INV-1", "INV-5", "ENG-3")
@pytest.mark.parametrize(
    ("lease", "other", "crashed", "stored", "broken"),
    [
        (1, Client(), 0, 0, ()),
        (0, Client(), 0, 0, ("ENG-3 begins_under_its_lease",)),
        (1, client("running", 1), 0, 0, ("INV-1 one_live_run", "INV-5 rerun_has_a_reason")),
        (1, client("running", 0), 0, 0, ()),
        (1, client("completing", 1), 0, 0, ("INV-5 rerun_has_a_reason",)),
        (1, client("completing", 0), 0, 0, ()),
        (1, client("claiming", 1), 0, 0, ()),
        (1, client("granted", 1), 0, 0, ()),
        (1, Client(), 1, 0, ("INV-5 rerun_has_a_reason",)),
        (1, Client(), 0, 1, ("INV-5 rerun_has_a_reason",)),
    ],
)
def test_a_body_that_begins_too_soon_is_seen(
    lease: int, other: Client, crashed: int, stored: int, broken: tuple[str, ...]
) -> None:
    for place in (0, 1):
        clients = [other, other]
        clients[place] = client("granted", lease)
        assert broken_by_beginning(State(None, tuple(clients), crashed, stored), place) == broken
