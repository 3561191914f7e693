"""The exclusion tier: requests for different keys, sent at once, leave each other's records alone."""

from collections.abc import Callable, Sequence

from ...spec.commands import Load
from ...spec.record import COMPLETED, Record
from ..harness.course import Course
from ..harness.linearizability import Get, Operation, Refused, Request
from ..harness.races import Fault, Outcome, Race
from ..suite.checks import Case, NotOffered, check
from ..suite.subjects import Subject
from ..suite.trace import in_words
from .clock_control import check_by_the_clock
from .exclusion import LEASE_MS, Scene, staged

_CLAUSES = ("CAS-6", "INV-1", "INV-2")

_NEIGHBOURS = 5
"""How many other keys are written at once, for each round that the profile's stress tests have."""


@check("exclusion", *_CLAUSES)
def writes_of_two_keys_never_undo_each_other(case: Case) -> None:
    """If two clients write different keys at once, each write that was acknowledged is kept."""
    _race(case, [_claims, _completions, _release_and_claim, _release_and_completion])


@check("exclusion", *_CLAUSES)
def a_read_never_undoes_a_write_of_another_key(case: Case) -> None:
    """If one client reads a key while another writes a different key, the write is kept."""
    _race(case, [_read_and_claim, _read_and_completion])


@check_by_the_clock("exclusion", *_CLAUSES)
def a_write_never_undoes_the_takeover_of_another_key(case: Case) -> None:
    """If one client writes a key while another takes over an expired one, the takeover is kept."""
    _race(case, [_claim_and_takeover, _claim_and_replacement])


@check("exclusion", "CAS-1", *_CLAUSES)
def requests_for_two_keys_may_share_a_layer(case: Case) -> None:
    """If two clients use one layer object for different keys at once, each gets the answer for its key."""
    case.require_clients(2)
    if not case.capabilities.threads:
        raise NotOffered("several tasks may not use one layer object")
    stages = [_reads]
    if case.workers[0].layer is not case.workers[1].layer:  # else the other races have used one object
        stages += [_claims, _completions, _release_and_claim, _read_and_claim]
    _race(case, stages, workers=case.workers[:1])


@check("exclusion", *_CLAUSES)
def a_write_undoes_none_of_many(case: Case) -> None:
    """If a client writes a key while another writes many different ones, each write is kept."""
    count = 1 + _NEIGHBOURS * case.profile.stress

    def stage(scene: Scene) -> Race:
        others = [scene._replace(key=f"{scene.key}-{number}") for number in range(count)]
        claims = tuple(other.ask(None, other.claim("bob", 1)) for other in others)
        return Race(None, 0, ((scene.ask(None, scene.claim("alice")),), claims))

    _race(case, [stage], preempted=(0,))


def _race(
    case: Case,
    stages: Sequence[Callable[[Scene], Race]],
    preempted: Sequence[int] | None = None,
    workers: Sequence[Subject] | None = None,
) -> None:
    case.require_clients(2)
    seconds = case.profile.race_seconds / min(2, len(stages))
    with Course(case, workers) as course:
        for stage in stages:
            course.run(staged(stage, case.layer.swaps), _undone_write, seconds, preempted)


def _other(scene: Scene) -> Scene:
    return scene._replace(key=f"{scene.key}-other")


def _claims(scene: Scene) -> Race:
    other = _other(scene)
    return Race(
        None, 0, ((scene.ask(None, scene.claim("alice")),), (other.ask(None, other.claim("bob", 1)),))
    )


def _completions(scene: Scene) -> Race:
    one, other = scene.claim("alice"), _other(scene).claim("bob", 1)
    ends = (scene.ask(one, scene.result(one)),), (_other(scene).ask(other, scene.result(other)),)
    return Race(one, 0, ends, (other,))


def _release_and_claim(scene: Scene) -> Race:
    one, other = scene.claim("alice"), _other(scene)
    return Race(one, 0, ((scene.ask(one, None),), (other.ask(None, other.claim("bob", 1)),)))


def _release_and_completion(scene: Scene) -> Race:
    one, other = scene.claim("alice"), _other(scene).claim("bob", 1)
    ends = (scene.ask(one, None),), (_other(scene).ask(other, scene.result(other)),)
    return Race(one, 0, ends, (other,))


def _read_and_claim(scene: Scene) -> Race:
    one, other = scene.claim("alice"), _other(scene)
    return Race(one, 0, ((_read(scene),), (other.ask(None, other.claim("bob", 1)),)))


def _read_and_completion(scene: Scene) -> Race:
    other = _other(scene).claim("bob", 1)
    return Race(None, 0, ((_read(scene),), (_other(scene).ask(other, scene.result(other)),)), (other,))


def _reads(scene: Scene) -> Race:
    one, other = scene.claim("alice"), _other(scene).claim("bob", 1)
    return Race(one, 0, ((_read(scene),), (_read(_other(scene)),)), (other,))


def _claim_and_takeover(scene: Scene) -> Race:
    other = _other(scene)
    dead = other.claim("carol", lapses=True)
    takeover = other.ask(dead, other.claim("bob", 1))
    return Race(None, LEASE_MS + 1, ((scene.ask(None, scene.claim("alice")),), (takeover,)), (dead,))


def _claim_and_replacement(scene: Scene) -> Race:
    other = _other(scene)
    old = other.result(other.claim("carol"), expires=True)
    replacement = other.ask(old, other.claim("bob", 1))
    return Race(None, LEASE_MS + 1, ((scene.ask(None, scene.claim("alice")),), (replacement,)), (old,))


def _read(scene: Scene) -> Request:
    return Load(scene.key) if scene.swaps else Get(scene.key)


def _undone_write(outcome: Outcome) -> Fault | None:
    """Return a fault if an acknowledged write is gone, although no other client has written its key."""
    for each in outcome.operations:
        written, key = _written(each)
        final = outcome.finals.get(key)
        if written is None or final == written or each.answer not in (None, written):
            continue
        if final is not None and final._replace(owner=written.owner) == written:
            continue  # a layer without owners
        what = "result" if written.status == COMPLETED else "claim"
        return Fault(
            f"The {what} of {each.who} was acknowledged as stored, but {in_words(final)} is stored for its "
            "key: a request for another key at the same time has undone the write.",
            ("CAS-6", "INV-2" if written.status == COMPLETED else "INV-1"),
        )
    return None


def _written(operation: Operation) -> tuple[Record | None, str]:
    """Return the record that an acknowledged request has stored, or None, and its key."""
    request = operation.request
    record: Record | None = getattr(request, "new", None) or getattr(request, "record", None)
    if operation.end is None or isinstance(operation.answer, Refused) or record is None:
        return None, ""
    return record, record.idempotency_key
