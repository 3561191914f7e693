"""The concurrency tier: neither a request, whatever its outcome, nor a closed layer leaves things behind."""

import contextlib
import time
from collections.abc import Callable, Iterator

from ...spec.commands import Load
from ..harness import requests
from ..harness.client_failures import FailureMode, Saboteur
from ..harness.interception import Interception
from ..harness.leftovers import FilesMade, Growth, Held, growth, held_by_this_process
from ..harness.linearizability import Get, Request
from ..harness.scheduled_client import reporting_to
from ..suite.checks import Case, NotJudged, check
from ..suite.subjects import Subject
from ..suite.trace import NOT_LOOKED_AT, Line
from .exclusion import Scene

_FEWEST, _MOST = 2, 12
"""How many rounds are a window of work: as many as take a tenth of a second, while pools are filled."""
_FILLS_SECONDS = 0.1
_SECONDS = 20.0
"""How long to repeat the work while something grows."""
_CALLS = 3
"""How many calls of the layer's client fail, one in each request."""
_FAILURES: tuple[FailureMode, ...] = ("fails before", "fails after")
_LAYERS = 12
"""How many layers must leave something behind, though they are closed."""


@check("concurrency", "CAS-12", needs=("inside",))
def a_request_leaves_nothing_behind(case: Case) -> None:
    """No request leaves a file, connection, thread, process or task behind, be it done, refused or failed."""
    layer = case.layer
    with FilesMade() as files:

        def held() -> Held:
            # A store may keep a file for each key. So files are counted for one key, which is deleted.
            return {**held_by_this_process(), "files": files.left()}

        one_key = case.new_key()

        def work(rounds: int) -> None:
            for _ in range(rounds):
                _send(case, layer, case.new_key())
                with files.noted():
                    _send(case, layer, one_key)

        _require_no_growth(case, work, held, "requests")
        with Interception([layer.layer], case.capabilities.client_methods):
            if _calls(case, layer):
                _require_no_growth(case, lambda rounds: _fail(case, rounds), held, "requests that fail")


@check("concurrency", "CAS-12", needs=("inside", "closes"))
def a_closed_layer_leaves_nothing_behind(case: Case) -> None:
    """A layer that is used, closed and dropped leaves no file, connection, thread, process or task behind."""
    assert case.temporary is not None
    temporary = case.temporary

    def work() -> None:
        with temporary() as layer:
            _send(case, layer, case.new_key())

    for _ in range(2):
        work()
    found = growth(work, held_by_this_process, _SECONDS, at_least=_LAYERS, slowly=_LAYERS, quiet=2)
    if found is not None:
        _report(case, found, f"{found.windows} layers were made, used and closed")


def _require_no_growth(case: Case, work: Callable[[int], None], held: Callable[[], Held], what: str) -> None:
    began, rounds = time.perf_counter(), 0
    while rounds < _MOST and (rounds < _FEWEST or time.perf_counter() - began < _FILLS_SECONDS):
        work(1)
        rounds += 1
    case.histories += rounds
    found = growth(lambda: work(rounds), held, _SECONDS)
    if found is not None:
        _report(case, found, f"{found.windows * rounds:,} rounds of {what}")


def _report(case: Case, found: Growth, work: str) -> None:
    lines = [Line(0, "client 1", f"{work}: {found.number:,} more {found.kind} are left", NOT_LOOKED_AT)]
    case.fail(
        f"{found.number:,} more {found.kind} were left after {work}, and their number grows steadily. One of "
        f"them: {found.example}. End what a request begins, on each of its paths; a pool needs a bound.",
        lines,
    )


def _round(key: str, now: int, *, swaps: bool) -> Iterator[Request]:
    """Yield requests with every outcome; the last ones delete the record."""
    scene = Scene(key, now, swaps)
    read: Request = Load(key) if swaps else Get(key)
    alice, bob = scene.claim("alice"), scene.claim("bob", 1)
    done = scene.result(alice)
    yield read
    yield scene.ask(None, alice)
    yield read
    for _ in range(2):
        yield scene.ask(None, bob)
    if swaps:
        yield scene.ask(alice, bob)
        yield scene.ask(alice, done)
        yield scene.ask(bob, alice)
    yield scene.ask(alice, done)
    yield scene.ask(None, bob)
    yield read
    yield scene.ask(done, None)


def _no_text(key: str, now: int, *, swaps: bool) -> Iterator[Request]:
    """Yield requests that most stores refuse with an error, because UTF-8 does not have half a surrogate."""
    scene = Scene(f"{key}-no-text", now, swaps)
    claim = scene.claim("carol")._replace(response_data="\ud800", payload_hash="\ud800")
    yield scene.ask(None, claim)
    yield scene.ask(claim, None)


def _send(case: Case, layer: Subject, key: str) -> None:
    """Send the requests of a round. A layer that no longer reads after them raises here."""
    until = time.perf_counter() + case.profile.patience
    form = {"swaps": layer.swaps}
    for request in (*_no_text(key, case.now, **form), *_round(key, case.now, **form)):
        if isinstance(request, Load | Get):
            requests.ask(case, layer, request)
        else:
            with contextlib.suppress(Exception):  # the answers are judged by other checks
                requests.ask(case, layer, request)
        if time.perf_counter() > until:
            raise NotJudged(f"a few requests took longer than {case.profile.patience:.0f} seconds")


def _calls(case: Case, layer: Subject) -> int:
    """Return how many calls of the layer's client one read needs."""
    saboteur = Saboteur()
    with reporting_to(saboteur), contextlib.suppress(Exception):
        layer.load(case.new_key())
    return saboteur.calls


def _fail(case: Case, rounds: int) -> None:
    """Send each request twice: first one call of the layer's client fails, before or after its effect."""
    layer = case.layer
    for number in range(rounds):
        key = case.new_key()
        # Each combination comes in each round: on a slow store there are few.
        for turn, request in enumerate(_round(key, case.now, swaps=layer.swaps), number):
            way = _FAILURES[turn % len(_FAILURES)]
            with reporting_to(Saboteur(1 + turn % _CALLS, way)), contextlib.suppress(Exception):
                requests.ask(case, layer, request)
            with contextlib.suppress(Exception):
                requests.ask(case, layer, request)
