"""The exclusion tier: requests for one key that come at once are answered as if one came after the other."""

from collections.abc import Callable
from typing import NamedTuple

from ...spec.commands import Swap
from ...spec.record import COMPLETED, INPROGRESS, Record
from ..harness.linearizability import Delete, Put, Request, Update
from ..harness.race_traces import granted
from ..harness.races import KEEP_MS, Course, Explain, Fault, Outcome, Race
from ..suite.checks import Case, check
from .clock_control import check_by_the_clock

LEASE_MS = 10_000
HOUR_MS = 3_600_000
_SEEN_IN_POWERTOOLS = (
    "Powertools for AWS Lambda 3.37: its Redis layer looks, and then overwrites; a result that is stored in "
    "between is lost, and the operation runs again"
)


class Scene(NamedTuple):
    """The records that a race is about.

    Parameters
    ----------
    key
        The key.
    began
        The epoch milliseconds at which what stands was put.
    swaps
        Whether clients ask by the two methods, else by the documented ones.
    """

    key: str
    began: int
    swaps: bool

    @property
    def now(self) -> int:
        """The epoch milliseconds at which clients race for what has lapsed."""
        return self.began + LEASE_MS + 1

    def claim(self, owner: str, number: int = 0, *, lapses: bool = False) -> Record:
        """Return a claim; ``number`` keeps the deadlines of different clients apart."""
        lease = self.began + LEASE_MS if lapses else self.now + HOUR_MS + number * 1000
        return Record(self.key, INPROGRESS, (self.now + 2 * HOUR_MS) // 1000 + number, lease, owner=owner)

    def result(self, claim: Record, *, expires: bool = False) -> Record:
        """Return what a completion of ``claim`` stores."""
        expiry = (self.began + LEASE_MS) // 1000 if expires else claim.expiry_timestamp + 60
        return claim._replace(
            status=COMPLETED,
            expiry_timestamp=expiry,
            in_progress_expiry_timestamp=None,
            response_data=f'"of {claim.owner}"',
        )

    def ask(self, expected: Record | None, new: Record | None) -> Request:
        """Return the request that makes ``new`` stand where ``expected`` does."""
        if self.swaps:
            return Swap(self.key, expected, new, 0 if new is None else KEEP_MS)
        if new is None:
            assert expected is not None  # nobody releases nothing
            return Delete(expected)
        return Update(new) if new.status == COMPLETED else Put(new)


def race(case: Case, stage: Callable[[Scene], Race], explain: Explain, *, clients: int = 2) -> None:
    """Run one race by each contract that the layer has."""
    case.require_clients(clients)
    forms = [True, False] if case.layer.swaps else [False]
    with Course(case) as course:
        for swaps in forms:
            course.run(
                lambda key, began, swaps=swaps: stage(Scene(key, began, swaps)),  # type: ignore[misc]
                explain,
                case.profile.race_seconds / len(forms),
            )


def one_winner(outcome: Outcome) -> Fault | None:
    """Say that several were given the key, if they were."""
    won = [each for each in outcome.operations if granted(each)]
    if len(won) < 2:  # noqa: PLR2004 - several
        return None
    winners = " and ".join(sorted(each.who for each in won))
    return Fault(
        f"{winners} requested one key at the same time, and each of them got it.",
        ("CAS-7", "INV-1") if any(isinstance(each.request, Put) for each in won) else ("INV-1",),
    )


def result_stays(outcome: Outcome) -> Fault | None:
    """Say that a result that was stored is gone, if it is."""
    stored = [_result_of(each.request) for each in outcome.operations if each.end is not None]
    reported = [
        result
        for result, each in zip(stored, (each for each in outcome.operations if each.end), strict=True)
        if result is not None and each.answer in (None, result)
    ]
    if reported and (outcome.final is None or outcome.final.status != COMPLETED):
        whose = f" of {reported[-1].owner}" if reported[-1].owner else ""
        return Fault(
            f"The result{whose} was acknowledged as stored, and is gone: its operation runs again.",
            ("INV-2",),
        )
    return one_winner(outcome)


def _against_a_successor(scene: Scene, late: Record, ends_with: Record | None) -> Race:
    """Let a late worker end its run while another takes over and completes."""
    successor = scene.claim("bob", 1)
    return Race(
        late,
        LEASE_MS + 1,
        (
            (scene.ask(late, ends_with),),
            (scene.ask(late, successor), scene.ask(successor, scene.result(successor))),
        ),
    )


def _result_of(request: Request) -> Record | None:
    record = getattr(request, "new", None) if isinstance(request, Swap) else getattr(request, "record", None)
    return record if record is not None and record.status == COMPLETED else None


@check("exclusion", "CAS-4", "CAS-7", "INV-1")
def two_claims_of_an_unused_key_have_one_winner(case: Case) -> None:
    """Of two clients that claim an unused key at once, exactly one is given it."""

    def stage(scene: Scene) -> Race:
        claims = (scene.claim("alice"), scene.claim("bob", 1))
        return Race(None, 0, tuple((scene.ask(None, claim),) for claim in claims))

    race(case, stage, one_winner)


@check("exclusion", "CAS-4", "CAS-7", "INV-1")
def three_claims_of_an_unused_key_have_one_winner(case: Case) -> None:
    """Of three clients that claim an unused key at once, exactly one is given it."""

    def stage(scene: Scene) -> Race:
        claims = (scene.claim("alice"), scene.claim("bob", 1), scene.claim("carol", 2))
        return Race(None, 0, tuple((scene.ask(None, claim),) for claim in claims))

    race(case, stage, one_winner, clients=3)


@check_by_the_clock("exclusion", "CAS-4", "CAS-7", "INV-1")
def two_takeovers_of_a_lapsed_claim_have_one_winner(case: Case) -> None:
    """Of two clients that take over from a dead worker at once, exactly one is given the key."""

    def stage(scene: Scene) -> Race:
        dead = scene.claim("alice", lapses=True)
        claims = (scene.claim("bob", 1), scene.claim("carol", 2))
        return Race(dead, LEASE_MS + 1, tuple((scene.ask(dead, claim),) for claim in claims))

    race(case, stage, one_winner)


@check_by_the_clock("exclusion", "CAS-4", "CAS-7", "INV-1")
def two_claims_of_an_expired_result_have_one_winner(case: Case) -> None:
    """Of two clients that claim a key whose result has expired, exactly one is given it."""

    def stage(scene: Scene) -> Race:
        old = scene.result(scene.claim("alice"), expires=True)
        claims = (scene.claim("bob", 1), scene.claim("carol", 2))
        return Race(old, LEASE_MS + 1, tuple((scene.ask(old, claim),) for claim in claims))

    race(case, stage, one_winner)


@check_by_the_clock("exclusion", "CAS-4", "INV-1", "INV-2", seen_in=_SEEN_IN_POWERTOOLS)
def a_takeover_never_overwrites_a_result_stored_meanwhile(case: Case) -> None:
    """If a late worker stores its result while another takes over, either it is kept or it is refused."""

    def stage(scene: Scene) -> Race:
        late = scene.claim("alice", lapses=True)
        return Race(
            late,
            LEASE_MS + 1,
            ((scene.ask(late, scene.claim("bob", 1)),), (scene.ask(late, scene.result(late)),)),
        )

    race(case, stage, result_stays)


@check_by_the_clock("exclusion", "CAS-4", "INV-1", "INV-3")
def a_release_never_removes_the_claim_that_took_over(case: Case) -> None:
    """If a late worker releases its key while another takes over, the new claim stands."""

    def stage(scene: Scene) -> Race:
        late = scene.claim("alice", lapses=True)
        return Race(late, LEASE_MS + 1, ((scene.ask(late, scene.claim("bob", 1)),), (scene.ask(late, None),)))

    race(case, stage, one_winner)


@check_by_the_clock("exclusion", "CAS-4", "INV-2", "INV-3")
def a_late_result_never_replaces_its_successors(case: Case) -> None:
    """If a late worker stores its result while another takes over and completes, one of the two stays."""

    def stage(scene: Scene) -> Race:
        late = scene.claim("alice", lapses=True)
        return _against_a_successor(scene, late, scene.result(late))

    race(case, stage, result_stays)


@check_by_the_clock("exclusion", "CAS-4", "INV-2", "INV-3")
def a_late_release_never_removes_its_successors_result(case: Case) -> None:
    """If a late worker releases its key while another takes over and completes, the result stands."""

    def stage(scene: Scene) -> Race:
        return _against_a_successor(scene, scene.claim("alice", lapses=True), None)

    race(case, stage, result_stays)


@check_by_the_clock("exclusion", "CAS-4", "INV-1", "INV-3", needs=("swaps",))
def an_eviction_never_removes_the_claim_that_came_first(case: Case) -> None:
    """If an expired result is deleted while another client claims its key, the new claim stands."""

    def stage(scene: Scene) -> Race:
        old = scene.result(scene.claim("alice"), expires=True)
        return Race(
            old,
            LEASE_MS + 1,
            (
                (Swap(scene.key, old, None, 0),),
                (Swap(scene.key, old, scene.claim("bob", 1), KEEP_MS),),
                (Swap(scene.key, None, scene.claim("carol", 2), KEEP_MS),),
            ),
        )

    race(case, stage, one_winner, clients=3)
