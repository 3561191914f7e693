"""The faults tier: requests and replies are lost and workers die, but no key stays blocked."""

from ...spec.commands import Load
from ..harness.client_failures import FailureMode, interrupt
from ..harness.end_to_end import Bounds, walk, without_late_requests
from ..harness.interrupts import interrupt_everywhere
from ..harness.linearizability import Get, Request
from ..harness.races import Race
from ..suite.checks import Case, check
from .clock_control import check_by_the_clock
from .exclusion import Scene, staged

_RULES = ("CAS-2", "CAS-3", "INV-1", "INV-2", "INV-3", "INV-4", "INV-5", "INV-9")


@check_by_the_clock(
    "faults",
    *_RULES,
    "INV-6",
    seen_in="Powertools for AWS Lambda 3.37: if a put is applied but its reply is lost, its own caller is "
    "refused on retry, and no call can run until the lease ends",
    seen_as=("INV-6",),
)
def a_lost_request_or_reply_costs_a_retry_only(case: Case) -> None:
    """If any one request of two calls is lost, or its reply, a retry succeeds, and no body runs twice."""
    # Without owners two calls cannot be distinguished, so an unfenced layer is tested with one call.
    walk(case, Bounds(clients=2 if case.fenced else 1, faults=1), without_late_requests)


@check_by_the_clock("faults", *_RULES, needs=("fenced",))
def a_late_request_changes_nothing(case: Case) -> None:
    """If any one request of two calls arrives after its sender gave up, it costs time, but not safety."""
    walk(
        case, Bounds(faults=1, ticks=min(case.profile.depth, 1)), lambda path: not without_late_requests(path)
    )


@check_by_the_clock("faults", *_RULES)
def a_death_costs_a_lease_only(case: Case) -> None:
    """If the worker of either call dies at any point, the other takes over once the lease has ended."""
    walk(case, Bounds(crashes=1, ticks=1 if case.fenced else 0))


@check_by_the_clock("faults", "CAS-1", "CAS-3", "CAS-4", "CAS-7")
def a_failure_of_the_client_is_no_answer(case: Case) -> None:
    """If the layer's own client fails at any of its calls, the layer raises, and never makes up an answer."""
    _interrupt_all(case, ("fails before", "fails after"))


@check_by_the_clock(
    "faults",
    "CAS-2",
    "CAS-4",
    "CAS-7",
    "ROW-1",
    seen_in="Powertools for AWS Lambda 3.37: a worker that dies while it takes over on Redis leaves a lock "
    "that blocks all callers for ten seconds",
    seen_as=("ROW-1",),
)
def a_death_between_two_calls_blocks_no_caller(case: Case) -> None:
    """If a worker dies between two calls of the layer's client, others get the key after the deadlines."""
    _interrupt_all(case, ("dies before", "dies after"))


@check("faults", "CAS-10", needs=("interruptible",))
def an_interrupt_ends_a_request_as_what_it_is(case: Case) -> None:
    """What interrupts a request, such as Ctrl-C or a cancellation, is neither swallowed nor made an error."""
    stages = (_reads, _claims, _is_refused, _completes, _releases)
    interrupt_everywhere(case, [staged(stage, case.layer.swaps) for stage in stages])


def _interrupt_all(case: Case, ways: tuple[FailureMode, ...]) -> None:
    for stage in (_reads, _claims, _takes_over, _claims_what_has_expired, _is_refused, _completes, _releases):
        interrupt(case, lambda key, began, stage=stage: stage(Scene(key, began, case.layer.swaps)), ways)  # type: ignore[misc]


def _reads(scene: Scene) -> Race:
    request: Request = Load(scene.key) if scene.swaps else Get(scene.key)
    return Race(scene.claim("alice"), 0, ((request,),))


def _claims(scene: Scene) -> Race:
    return Race(None, 0, ((scene.ask(None, scene.claim("bob")),),))


def _takes_over(scene: Scene) -> Race:
    lapsed = scene.claim("alice", lapses=True)
    return Race(lapsed, scene.now - scene.began, ((scene.ask(lapsed, scene.claim("bob", 1)),),))


def _claims_what_has_expired(scene: Scene) -> Race:
    expired = scene.result(scene.claim("alice", lapses=True), expires=True)
    return Race(expired, scene.now - scene.began, ((scene.ask(expired, scene.claim("bob", 1)),),))


def _is_refused(scene: Scene) -> Race:
    return Race(scene.claim("alice"), 0, ((scene.ask(None, scene.claim("bob", 1)),),))


def _completes(scene: Scene) -> Race:
    claim = scene.claim("alice")
    return Race(claim, 0, ((scene.ask(claim, scene.result(claim)),),))


def _releases(scene: Scene) -> Race:
    claim = scene.claim("alice")
    return Race(claim, 0, ((scene.ask(claim, None),),))
