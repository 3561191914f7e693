"""The possible moves of a client of the model, and the states after them."""

from typing import Any, NamedTuple

import pytest

from idemproof.spec.events import Claim, Claimed, Kept
from idemproof.spec.moves import FAULTS, LEASE, WINDOW, Attempt, Move, ask
from idemproof.spec.record import Record
from idemproof.spec.states import Client
from model_states import ABANDONED, ABANDONED_RESULT, CLAIMED, STORED, client

pytestmark = pytest.mark.once


def moves(
    at: Client, record: Record | None, *, faults: tuple[str, ...] = FAULTS, late: bool = False
) -> list[Move]:
    return list(Attempt(at, record, ("a", ""), frozenset(faults), may_be_late=late).moves())


def dies(record: Record | None, crashed: int = 0) -> Move:
    return Move("dies", Client(), record, crashed=crashed, faultless=False)


class Case(NamedTuple):
    name: str
    at: Client
    record: Record | None
    faultless: list[Move]
    faulty: list[Move]


def completing(name: str, lease: int, expiry: int) -> Case:
    """Return the case of an owner whose result is live for ``expiry`` more seconds."""
    at = client("completing", lease, expiry, owns=True)
    stores: dict[str, Any] = {"stored": expiry, "row": "ROW-7", "replaced": True}
    return Case(
        name,
        at,
        CLAIMED,
        [
            Move(
                "gets Completed",
                Client(),
                ABANDONED_RESULT._replace(expiry_timestamp=expiry),
                finishes=True,
                **stores,
            )
        ],
        [
            Move(
                "loses the reply to its completion",
                at,
                STORED._replace(expiry_timestamp=expiry),
                faultless=False,
                **stores,
            ),
            dies(ABANDONED, crashed=lease),
        ],
    )


MINE = {"owns": True}
CASES = [
    Case(
        "idle",
        Client(),
        None,
        [
            Move("calls with payload a", client("claiming"), None),
            Move("calls without a payload hash", Client("claiming"), None),
        ],
        [],
    ),
    Case(
        "claims what is absent",
        client("claiming"),
        None,
        [Move("claims", client("granted", LEASE, owns=True), CLAIMED, row="ROW-1", replaced=True)],
        [Move("gives up", client("releasing"), None, faultless=False), dies(None)],
    ),
    Case(
        "claims its own again, after a second",
        client("claiming", owns=True),
        CLAIMED._replace(in_progress_expiry_timestamp=1000),
        [
            Move(
                "claims",
                client("granted", 1, owns=True),
                CLAIMED._replace(in_progress_expiry_timestamp=1000),
                row="ROW-2",
            )
        ],
        [
            Move(
                "gives up",
                client("releasing", owns=True),
                CLAIMED._replace(in_progress_expiry_timestamp=1000),
                faultless=False,
            ),
            dies(ABANDONED._replace(in_progress_expiry_timestamp=1000)),
        ],
    ),
    Case(
        "claims what is claimed",
        client("claiming"),
        CLAIMED,
        [Move("gets InProgress", Client(), CLAIMED, row="ROW-4")],
        [Move("gives up", client("releasing"), CLAIMED, faultless=False), dies(CLAIMED)],
    ),
    Case(
        "claims what is stored",
        client("claiming"),
        STORED,
        [Move("gets Replay", Client(), STORED, finishes=True, row="ROW-5")],
        [Move("gives up", client("releasing"), STORED, faultless=False), dies(STORED)],
    ),
    Case(
        "granted",
        client("granted", 1, **MINE),
        CLAIMED,
        [Move("begins its body", client("running", 1, **MINE), CLAIMED)],
        [
            Move("loses the reply to its claim", client("claiming", **MINE), CLAIMED, faultless=False),
            dies(ABANDONED),
        ],
    ),
    Case(
        "granted a lease that is over",
        client("granted", 0, **MINE),
        CLAIMED,
        [Move("finds that its lease has ended", client("claiming", **MINE), CLAIMED)],
        [
            Move("loses the reply to its claim", client("claiming", **MINE), CLAIMED, faultless=False),
            dies(ABANDONED),
        ],
    ),
    Case(
        "runs",
        client("running", 1, **MINE),
        CLAIMED._replace(in_progress_expiry_timestamp=1000),
        [
            Move(
                "returns",
                client("completing", 1, WINDOW, **MINE),
                CLAIMED._replace(in_progress_expiry_timestamp=1000),
            )
        ],
        [
            Move(
                "raises",
                client("releasing", **MINE),
                CLAIMED._replace(in_progress_expiry_timestamp=1000),
                faultless=False,
            ),
            Move(
                "renews its lease",
                client("running", LEASE, **MINE),
                CLAIMED,
                faultless=False,
                row="ROW-12",
                replaced=True,
            ),
            dies(ABANDONED._replace(in_progress_expiry_timestamp=1000), crashed=1),
        ],
    ),
    Case(
        "runs on another's claim",
        client("running", 1),
        CLAIMED,
        [Move("returns", client("completing", 1, WINDOW), CLAIMED)],
        [
            Move("raises", client("releasing"), CLAIMED, faultless=False),
            Move("renews its lease", client("running", 1), CLAIMED, faultless=False, row="ROW-13"),
            dies(CLAIMED, crashed=1),
        ],
    ),
    completing("completes", lease=2, expiry=2),
    completing("completes in its last second", lease=0, expiry=1),
    Case(
        "completes when its result is over",
        client("completing", 1, 0, **MINE),
        CLAIMED,
        [Move("cannot store its result in time", Client(), ABANDONED, crashed=1)],
        [dies(ABANDONED, crashed=1)],
    ),
    Case(
        "completes after another",
        client("completing", 1, WINDOW),
        STORED,
        [Move("gets Superseded", Client(), STORED, crashed=1, finishes=True, row="ROW-8")],
        [dies(STORED, crashed=1)],
    ),
    Case(
        "completes while another runs",
        client("completing", 1, WINDOW),
        CLAIMED,
        [Move("gets LeaseLost", Client(), CLAIMED, crashed=1, row="ROW-9")],
        [dies(CLAIMED, crashed=1)],
    ),
    Case(
        "releases",
        client("releasing", **MINE),
        CLAIMED,
        [Move("gets Released", Client(), None, row="ROW-10", replaced=True, released=True)],
        [
            Move(
                "loses the reply to its release",
                client("releasing"),
                None,
                faultless=False,
                row="ROW-10",
                replaced=True,
                released=True,
            ),
            dies(ABANDONED),
        ],
    ),
    Case(
        "releases what another holds",
        client("releasing"),
        CLAIMED,
        [Move("gets NotHeld", Client(), CLAIMED, row="ROW-11")],
        [
            Move(
                "loses the reply to its release",
                client("releasing"),
                CLAIMED,
                faultless=False,
                row="ROW-11",
            ),
            dies(CLAIMED),
        ],
    ),
    Case("is gone", client("gone"), CLAIMED, [], []),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_client_may_do_this_and_nothing_else(case: Case) -> None:
    assert sorted(moves(case.at, case.record)) == sorted(case.faultless + case.faulty)
    assert moves(case.at, case.record, faults=()) == case.faultless


@pytest.mark.parametrize(
    ("at", "record", "request_"),
    [
        (client("claiming"), None, ("claim", LEASE, WINDOW)),
        (client("completing", 1, 2, owns=True), CLAIMED, ("complete", 0, 2)),
        (client("releasing", owns=True), CLAIMED, ("release", 0, 0)),
    ],
)
def test_a_request_may_be_late_if_none_of_the_client_is(
    at: Client, record: Record | None, request_: tuple[str, int, int]
) -> None:
    sent = Move(f"sends a late {request_[0]}", at._replace(late=request_), record, faultless=False)
    assert sent in moves(at, record, late=True)
    assert [move for move in moves(at, record) if "late" in move.what] == []
    waiting = moves(at._replace(late=request_), record, late=True)
    assert [move.what for move in waiting if "sends" in move.what] == []


@pytest.mark.parametrize("phase", ["running", "gone"])
@pytest.mark.parametrize(
    ("late", "owns", "before", "after", "owned", "stored", "row"),
    [
        (("claim", 1, 2), False, None, CLAIMED, True, 0, "ROW-1"),
        (("complete", 0, 2), True, CLAIMED, STORED, True, 2, "ROW-7"),
        (("complete", 0, 2), False, STORED, STORED, False, 0, "ROW-8"),
        (("release", 0, 0), True, CLAIMED, None, False, 0, "ROW-10"),
    ],
)
def test_a_late_request_arrives(
    phase: str,
    late: tuple[str, int, int],
    owns: bool,
    before: Record | None,
    after: Record | None,
    owned: bool,
    stored: int,
    row: str,
) -> None:
    if after is CLAIMED:
        after = CLAIMED._replace(in_progress_expiry_timestamp=1000, expiry_timestamp=2)
    elif after is STORED and before is CLAIMED:
        after = STORED._replace(expiry_timestamp=2)
    arrived = moves(client(phase, owns=owns, late=late), before)[0]
    assert arrived == Move(
        f"has its late {late[0]} arrive",
        client(phase, owns=owned),
        after,
        stored=stored,
        row=row,
        replaced=after != before,
        released=row == "ROW-10",
    )


def test_an_attempt_that_is_over_leaves_its_late_request_behind() -> None:
    late = ("release", 0, 0)
    over = moves(client("completing", 2, 0, owns=True, late=late), CLAIMED)[1]
    assert over.what == "cannot store its result in time"
    assert over.client == Client()
    assert over.left == client("gone", owns=True, late=late)
    assert over.record == CLAIMED


def test_an_invocation_claims_for_its_execution_and_may_be_suspended() -> None:
    held = CLAIMED._replace(owner="durable:execution/held")
    claims = moves(client("claiming", durable=True), None, faults=())
    assert [(move.what, move.record) for move in claims] == [("claims", held)]
    running = client("running", 2, owns=True, durable=True)
    suspended = next(move for move in moves(running, held) if move.what == "is suspended")
    gone = held._replace(owner="durable:execution/gone")
    assert suspended == Move("is suspended", Client(durable=True), gone, crashed=2, faultless=False)


def test_calls_with_the_only_payload_do_not_name_it() -> None:
    (calls,) = Attempt(Client(), None, ("a",), frozenset(), may_be_late=False).moves()
    assert calls.what == "calls"


def test_a_step_that_breaks_an_invariant_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idemproof.spec.moves.transition", lambda record, event, now: (None, Kept()))
    (released,) = moves(client("releasing"), CLAIMED, faults=())
    assert "INV-3 others_are_untouched" in released.broken


def test_asking_keeps_the_very_record_that_did_not_change() -> None:
    claim = Claim("held", LEASE * 1000, WINDOW, "a")
    again = ask(CLAIMED, claim)
    assert again.after is CLAIMED
    assert (again.outcome, again.row, again.broken) == (Claimed(CLAIMED), "ROW-2", ())
    assert ask(None, claim).after == CLAIMED
