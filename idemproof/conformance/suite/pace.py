"""Paces a run, so that it ends in the time that its profile promises, however slow the store is.

A run on a fast store is never shortened. On a slow store, the checks that find the most faults in the time
that is left keep their place, and share what remains of it. The report names the others, which are not run.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .needs import NEEDS, Need
from .profiles import Profile

Now = Callable[[], float]
"""Returns the seconds of a clock that only goes forwards."""

SLOW = 0.005
"""A request that takes longer waits for its store (seconds). A loaded machine delays only few requests so."""
_PENDING = 1.0
"""A request that is pending for so long waits for its store, or is stuck in the layer (seconds)."""
_RECENT = 40
"""How many requests say how fast the store is now."""
_ENOUGH = 20
"""How many of them have a meaningful mean; fewer may be mostly first requests, which connect."""
_SHARE = 0.5
"""The share of the promised time after which the store has taken long enough to be slow."""
_ALONE = 1 / 3
"""The share of the promised time that no single check takes unless it waits for something slow."""
_PLANNED = 0.9
"""The share of the promised time for the checks; the rest is for closing the layers and the report."""
_LATEST = 0.95
"""The share of the promised time after which a check that does not end is left behind."""
_OWN_SECONDS = 0.1
"""How long a check takes for itself (seconds)."""
_PROCESS_SECONDS = 1.5
"""How long another process takes to start (seconds)."""
AT_ONCE = frozenset({"concurrency", "exclusion"})
"""The tiers whose checks have several requests pending at once."""

_RACES = 5
"""How many races say how fast they are."""
_SLOW_RACE = 0.15
"""How long an interleaving takes whose requests wait for the store (seconds); others take milliseconds."""
_REQUESTS_OF_A_RACE = 5

_USUALLY = Need(least=30, fixed=30, full=300)


class Limit:
    """A time limit, by a clock that a layer cannot replace: it is kept from before the layer was imported.

    Parameters
    ----------
    until
        When it is over; never by default.
    now
        The clock.
    """

    def __init__(self, until: float = math.inf, now: Now = time.perf_counter) -> None:
        self._until = until
        self._now = now

    @property
    def left(self) -> float:
        """How much time is left (seconds)."""
        return self._until - self._now()

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return self._now() > self._until

    def within(self, seconds: float) -> "Limit":
        """Return a limit that is over after ``seconds``, or when this one is."""
        return Limit(min(self._until, self._now() + seconds), self._now)


class Share(NamedTuple):
    """The time of one check.

    Parameters
    ----------
    seconds
        How much it gets, if the plan shortens it; None if the profile's own bounds are enough.
    why_not
        Why it does not run, or None.
    """

    seconds: float | None = None
    why_not: str | None = None


class Asked(NamedTuple):
    """What the plan knows about a check: its name, and its tier."""

    name: str
    tier: str


class _Cost(NamedTuple):
    least: float
    full: float


class Pace:
    """Measures the store, and plans the rest of a run before each check.

    Parameters
    ----------
    profile
        The profile, with the promised time.
    began
        When the run began, by ``now``; at this moment if None.
    now
        A clock that only goes forwards.
    """

    def __init__(self, profile: Profile, began: float | None = None, now: Now = time.perf_counter) -> None:
        self.now = now
        self._profile = profile
        self._began = now() if began is None else began
        self._check_began: float | None = None
        self._resumes_at: float | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._waited = 0.0
        self._at_once = 0.0
        self._racing = 0.0
        self._opening = 0.0
        self._why: str | None = None

    def note(self, seconds: float) -> None:
        """Note how long a request took that was alone."""
        self._recent.append(seconds)
        self._waited += seconds

    def note_opening(self, seconds: float) -> None:
        """Note how long the factory took."""
        self._opening = seconds

    def note_at_once(self, seconds: float) -> None:
        """Note how long requests took that were sent at once, divided by their number."""
        self._at_once = seconds

    def note_races(self, seconds: float, schedules: int) -> None:
        """Note how long some races took: their requests may wait for each other, and only then."""
        if schedules >= _RACES and seconds / schedules > _SLOW_RACE:
            self._racing = max(self._racing, seconds / schedules / _REQUESTS_OF_A_RACE)

    def begin_check(self) -> None:
        """Go on. The time since the last check has ended does not count: it is not the suite's."""
        if self._resumes_at is not None:
            self._began += self.now() - self._resumes_at
        self._resumes_at = None
        self._check_began = self.now()

    def end_check(self) -> None:
        """Stop counting the time."""
        self._check_began = None
        self._resumes_at = self.now()

    def share(self, asked: Asked, others: Sequence[Asked]) -> Share:
        """Return the time of ``asked``, which runs next; ``others`` want to run after it."""
        if not self._waits_for_the_store():
            return Share()
        left = self._until(_PLANNED) - self.now()
        costs = {each.name: self._cost(each) for each in (asked, *others)}
        if sum(each.full for each in costs.values()) <= left:
            return Share()
        kept, spare = [], left
        for name in sorted(costs, key=_rank):
            if costs[name].least <= spare:
                kept.append(name)
                spare -= costs[name].least
        if asked.name not in kept:
            return Share(None, self._reason())
        wanted = sum(costs[name].full - costs[name].least for name in kept)
        cost = costs[asked.name]
        more = (cost.full - cost.least) * min(1.0, spare / wanted) if wanted else 0.0
        return Share(cost.least + more)

    def limit(self, seconds: float | None) -> Limit:
        """Return a time limit by this clock; without an end if ``seconds`` is None."""
        return Limit(math.inf if seconds is None else self.now() + seconds, self.now)

    def is_over(self, pending: float = 0.0) -> bool:
        """Return whether the time is over because of the store, which has not answered for ``pending``."""
        return self.now() > self._until(_PLANNED) and self._waits_for_the_store(pending)

    @property
    def promises(self) -> bool:
        """Whether the profile promises an end."""
        return self._profile.total_seconds < math.inf

    @property
    def is_late(self) -> bool:
        """Whether it is too late to wait for a check that should have ended."""
        return self.now() > self._until(_LATEST)

    @property
    def in_the_middle(self) -> str:
        """Why a check has ended in the middle."""
        return f"the time of the profile {self._profile.name} was over in the middle of it"

    @property
    def too_late(self) -> str:
        """Why a check does not run after the time is over."""
        return f"the time of the profile {self._profile.name} was over"

    def _until(self, share: float) -> float:
        return self._began + self._profile.total_seconds * share

    def _waits_for_the_store(self, pending: float = 0.0) -> bool:
        promise = self._profile.total_seconds
        alone = 0.0 if self._check_began is None else self.now() - self._check_began
        return self.promises and (
            self._typical > SLOW
            or self._together > SLOW
            or self._opening > _PENDING
            or pending > _PENDING
            or self._waited > promise * _SHARE
            or alone > promise * _ALONE
        )

    @property
    def _typical(self) -> float:
        """How long a request takes, without those that a loaded machine delays."""
        known = sorted(self._recent)
        return known[len(known) // 4] if known else 0.0

    @property
    def _usual(self) -> float:
        """How long a request takes on average."""
        return sum(self._recent) / len(self._recent) if len(self._recent) >= _ENOUGH else self._typical

    @property
    def _together(self) -> float:
        """How long each of several requests at once takes."""
        return max(self._at_once, self._racing)

    def _cost(self, asked: Asked) -> _Cost:
        need = NEEDS.get(asked.name, _USUALLY)
        each = self._usual
        if asked.tier in AT_ONCE and self._together:
            each = self._together if need.at_once else max(each, self._together)
        own = _OWN_SECONDS + need.opens * self._opening + need.processes * (_PROCESS_SECONDS + self._opening)
        limit = self._profile.tour_seconds + self._profile.race_seconds
        more = min((need.full - need.fixed) * each, limit)
        return _Cost(own + need.least * each, own + need.fixed * each + more)

    def _reason(self) -> str:
        if self._why is None:
            slow = max(self._usual, self._together)
            what = f"a request takes {1000 * slow:,.0f} ms" if slow > SLOW else "the layer is slow"
            if self._opening > _PENDING:
                what += f", the factory {self._opening:.0f} s"
            self._why = (
                f"{what}, and the profile {self._profile.name} ends within "
                f"{self._profile.total_seconds:g} seconds"
            )
        return self._why


def _rank(name: str) -> int:
    return _RANKS.get(name, len(_RANKS))


_RANKS = {name: number for number, name in enumerate(NEEDS)}
