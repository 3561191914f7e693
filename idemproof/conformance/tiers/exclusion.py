"""The exclusion tier: concurrent requests for one key are linearizable."""

from collections.abc import Callable
from typing import NamedTuple

from ...spec.commands import Swap
from ...spec.record import COMPLETED, INPROGRESS, Record
from ..harness.course import Course
from ..harness.linearizability import Delete, Put, Request, Update
from ..harness.race_traces import granted
from ..harness.races import RETENTION_MS, Explain, Fault, Make, Outcome, Race
from ..suite.checks import Case, check
from .clock_control import check_by_the_clock

LEASE_MS = 10_000
HOUR_MS = 3_600_000
_SEEN_IN_POWERTOOLS = (
    "Powertools for AWS Lambda 3.37: its Redis layer reads, and then overwrites; a result that is stored in "
    "between is lost, and the operation runs again"
)


class Scene(NamedTuple):
    """The records of a race.

    Parameters
    ----------
    key
        The key.
    began
        When the current record was put (epoch milliseconds).
    swaps
        Whether clients use the two methods, else the four documented ones.
    """

    key: str
    began: int
    swaps: bool

    @property
    def now(self) -> int:
        """When clients race for the record that has lapsed (epoch milliseconds)."""
        return self.began + LEASE_MS + 1

    def claim(self, owner: str, number: int = 0, *, lapses: bool = False) -> Record:
        """Return a claim; ``number`` gives different clients different deadlines."""
        lease = self.began + LEASE_MS if lapses else self.now + HOUR_MS + number * 1000
        return Record(self.key, INPROGRESS, (self.now + 2 * HOUR_MS) // 1000 + number, lease, owner=owner)

    def result(self, claim: Record, *, expires: bool = False) -> Record:
        """Return the result that a completion of ``claim`` stores."""
        expiry = (self.began + LEASE_MS) // 1000 if expires else claim.expiry_timestamp + 60
        return claim._replace(
            status=COMPLETED,
            expiry_timestamp=expiry,
            in_progress_expiry_timestamp=None,
            response_data=f'"of {claim.owner}"',
        )

    def ask(self, expected: Record | None, new: Record | None) -> Request:
        """Return the request that replaces ``expected`` with ``new``."""
        if self.swaps:
            return Swap(self.key, expected, new, 0 if new is None else RETENTION_MS)
        if new is None:
            assert expected is not None  # no race deletes an unused key
            return Delete(expected)
        return Update(new) if new.status == COMPLETED else Put(new)


def race(case: Case, stage: Callable[[Scene], Race], explain: Explain, *, clients: int = 2) -> None:
    """Run one race with each set of methods that the layer has: the two, and the four."""
    case.require_clients(clients)
    forms = [True, False] if case.layer.swaps else [False]
    with Course(case) as course:
        for swaps in forms:
            course.run(staged(stage, swaps), explain, case.profile.race_seconds / len(forms))


def staged(stage: Callable[[Scene], Race], swaps: bool) -> Make:
    """Return the function that makes a race of ``stage`` for each key."""
    return lambda key, began: stage(Scene(key, began, swaps))


def one_winner(outcome: Outcome) -> Fault | None:
    """Return a fault if several clients got the key."""
    won = [each for each in outcome.operations if granted(each)]
    if len(won) < 2:  # noqa: PLR2004 - several
        return None
    winners = " and ".join(sorted(each.who for each in won))
    return Fault(
        f"{winners} requested one key at the same time, and each of them got it.",
        ("CAS-7", "INV-1") if any(isinstance(each.request, Put) for each in won) else ("INV-1",),
    )


def result_stays(outcome: Outcome) -> Fault | None:
    """Return a fault if an acknowledged result is gone."""
    stored = [_result_of(each.request) for each in outcome.operations if each.end is not None]
    acknowledged = [
        result
        for result, each in zip(stored, (each for each in outcome.operations if each.end), strict=True)
        if result is not None and each.answer in (None, result)
    ]
    if acknowledged and (outcome.final is None or outcome.final.status != COMPLETED):
        whose = f" of {acknowledged[-1].owner}" if acknowledged[-1].owner else ""
        return Fault(
            f"The result{whose} was acknowledged as stored, but it is gone: the operation runs again.",
            ("INV-2",),
        )
    return one_winner(outcome)


def _against_a_successor(scene: Scene, late: Record, ends_with: Record | None) -> Race:
    """Let a late worker finish while another worker takes over and completes."""
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
    """If two clients claim an unused key at once, exactly one gets it."""

    def stage(scene: Scene) -> Race:
        claims = (scene.claim("alice"), scene.claim("bob", 1))
        return Race(None, 0, tuple((scene.ask(None, claim),) for claim in claims))

    race(case, stage, one_winner)


@check_by_the_clock("exclusion", "CAS-4", "CAS-7", "INV-1")
def two_takeovers_of_a_lapsed_claim_have_one_winner(case: Case) -> None:
    """If two clients take over from a dead worker at once, exactly one gets the key."""

    def stage(scene: Scene) -> Race:
        dead = scene.claim("alice", lapses=True)
        claims = (scene.claim("bob", 1), scene.claim("carol", 2))
        return Race(dead, LEASE_MS + 1, tuple((scene.ask(dead, claim),) for claim in claims))

    race(case, stage, one_winner)


@check_by_the_clock("exclusion", "CAS-4", "CAS-7", "INV-1")
def two_claims_of_an_expired_result_have_one_winner(case: Case) -> None:
    """If two clients claim a key whose result has expired, exactly one gets it."""

    def stage(scene: Scene) -> Race:
        old = scene.result(scene.claim("alice"), expires=True)
        claims = (scene.claim("bob", 1), scene.claim("carol", 2))
        return Race(old, LEASE_MS + 1, tuple((scene.ask(old, claim),) for claim in claims))

    race(case, stage, one_winner)


@check_by_the_clock("exclusion", "CAS-4", "INV-1", "INV-2", seen_in=_SEEN_IN_POWERTOOLS)
def a_takeover_never_overwrites_a_result_stored_meanwhile(case: Case) -> None:
    """If a late worker stores its result while another takes over, the result is either kept or refused."""

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
    """If a late worker releases its key while another takes over, the new claim remains stored."""

    def stage(scene: Scene) -> Race:
        late = scene.claim("alice", lapses=True)
        return Race(late, LEASE_MS + 1, ((scene.ask(late, scene.claim("bob", 1)),), (scene.ask(late, None),)))

    race(case, stage, one_winner)


@check_by_the_clock("exclusion", "CAS-4", "INV-2", "INV-3")
def a_late_result_never_replaces_its_successors(case: Case) -> None:
    """If a late worker stores its result while another takes over and completes, one result is kept."""

    def stage(scene: Scene) -> Race:
        late = scene.claim("alice", lapses=True)
        return _against_a_successor(scene, late, scene.result(late))

    race(case, stage, result_stays)


@check_by_the_clock("exclusion", "CAS-4", "INV-2", "INV-3")
def a_late_release_never_removes_its_successors_result(case: Case) -> None:
    """If a late worker releases its key while another takes over and completes, the result is kept."""

    def stage(scene: Scene) -> Race:
        return _against_a_successor(scene, scene.claim("alice", lapses=True), None)

    race(case, stage, result_stays)


@check_by_the_clock("exclusion", "CAS-4", "INV-1", "INV-3", needs=("swaps",))
def an_eviction_never_removes_the_claim_that_came_first(case: Case) -> None:
    """If an expired result is deleted while another client claims its key, the new claim remains stored."""

    def stage(scene: Scene) -> Race:
        old = scene.result(scene.claim("alice"), expires=True)
        return Race(
            old,
            LEASE_MS + 1,
            (
                (Swap(scene.key, old, None, 0),),
                (Swap(scene.key, old, scene.claim("bob", 1), RETENTION_MS),),
                (Swap(scene.key, None, scene.claim("carol", 2), RETENTION_MS),),
            ),
        )

    race(case, stage, one_winner, clients=3)
