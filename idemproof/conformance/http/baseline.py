"""The service under test, and what its first answers show about it."""

import itertools
import statistics
from collections.abc import Mapping

from .answers import is_equal, marker_of
from .budget import Budget, Spent
from .counting import Counter, CounterError
from .expectations import Expectations
from .places import Place
from .requests import Maker
from .target import Target
from .texts import Texts, shown
from .wire import Answer, Link, Request


class NothingToJudge(Exception):  # noqa: N818 - an outcome, not an error
    """The service does not answer the request of the target, or the effects cannot be counted."""


class Service:
    """A running service.

    Parameters
    ----------
    target, expects
        The target, and what its profile requires.
    places
        The servers of the service, the counter and the second service, by the name of the setting.
    budget, texts, counter
        What bounds the requests, fills the placeholders, and counts the effects, or None.
    """

    def __init__(
        self,
        target: Target,
        expects: Expectations,
        places: Mapping[str, Place],
        budget: Budget,
        texts: Texts,
        counter: Counter | None,
    ) -> None:
        self.target = target
        self.expects = expects
        self.places = places
        self.place = places["url"]
        self.budget = budget
        self.texts = texts
        self.quoted = expects.quoted
        """Whether the service is sent quoted keys."""
        self.unit = 1
        """How many effects one request counts."""
        self.answers_vary = False
        """Whether requests with different keys get different answers."""
        self.seconds = 0.02
        """How long a request takes (seconds)."""
        self.notes: list[str] = []
        self.late = 0
        """How many effects happened after the last check had ended."""
        self._at_rest: int | None = None
        self._counter = counter

    def exchange(self, request: Request, place: Place | None = None) -> Answer:
        """Send a request, and return the answer."""
        there = place or self.place
        self.budget.spend(there.origin)
        try:
            with Link(there, self.budget) as link:
                link.send(request.head(there.authority) + request.payload())
                return link.read(request.method)
        except OSError as failure:
            self.budget.require_time()
            return Answer(None, failure=f"the connection failed: {failure.strerror or failure}", is_cut=True)

    def count(self) -> int | None:
        """Return the number of all effects when it has settled; None without a counter."""
        if self._counter is None:
            return None
        count = self._counter.settled()
        if self._at_rest is not None:
            self.late, self._at_rest = max(0, count - self._at_rest), None
        return count

    def count_now(self) -> int | None:
        """Return the number of all effects at this moment; None without a counter."""
        return None if self._counter is None else self._counter.now()

    def rest(self) -> None:
        """End a check: effects that are counted before the next request came too late."""
        self.late = 0
        try:
            self._at_rest = self.count()
        except (CounterError, Spent):
            self._at_rest = None

    def has_marker(self, answer: Answer) -> bool:
        """Return whether an answer is marked as a replay."""
        wanted = self.expects.marker
        found = marker_of(answer)
        return (wanted is not None and answer.header(wanted) is not None) or (
            found is not None and "true" in found.lower()
        )

    def learn(self, make: Maker) -> None:
        """Send a few first requests, and learn how the service answers them.

        Raises
        ------
        NothingToJudge
            They do not succeed, or they have no effect that is counted.
        """
        before = self._counted()
        answer = self._first(make)
        after = self._counted()
        self.unit = 1
        if before is not None and after is not None:
            if after <= before:
                raise NothingToJudge(
                    f"The first request succeeded, but the number of effects stayed {after}. Check effects "
                    "in "
                    "the target, or raise settle_ms if effects happen later. Nothing was judged."
                )
            self.unit = after - before
            self.budget.wait(4 * self.target.effects.settle_ms / 1000 if self.target.effects else 0)
            if (self._counted() or 0) > after:
                raise NothingToJudge(
                    "An effect of the first request was counted after the number had settled. Raise "
                    "settle_ms in "
                    "the target. Nothing was judged."
                )
        # Three, because answers with a time in seconds may differ once by chance.
        more = [self.exchange(make.make(make.unique(), make.new_key())) for _ in range(2)]
        ignore = self.target.ignore
        self.answers_vary = all(
            one.succeeded and other.succeeded and not is_equal(one, other, ignore)
            for one, other in itertools.combinations([answer, *more], 2)
        )
        self.seconds = statistics.median([answer.seconds, *(each.seconds for each in more)])
        if self._counter is not None:
            self._counter.pause_seconds = max(self._counter.pause_seconds, self.seconds / 4)
        if before is None:
            self.notes.append(
                "The target counts no effects, so the judge compares only answers: it cannot see an effect "
                "that "
                "happens twice behind one answer."
            )

    def _first(self, make: Maker) -> Answer:
        """Return the answer to the first request, with a key in the form that the service accepts."""
        answer = self.exchange(make.make(make.unique(), make.new_key()))
        if answer.refused and self.quoted:
            make.quoted = False
            bare = self.exchange(make.make(make.unique(), make.new_key()))
            if bare.succeeded:
                self.quoted = False
                self.notes.append(
                    f"The service refused a quoted key with {answer.status}, and accepted a bare one. All "
                    "other "
                    "requests had bare keys."
                )
                return bare
            make.quoted = True
        if not answer.succeeded:
            got = f"{answer.status} {shown(answer.body)}" if answer.failure is None else answer.failure
            raise NothingToJudge(
                f"The request of the target did not succeed: {self.texts.masked(got)}. Nothing was judged."
            )
        return answer

    def _counted(self) -> int | None:
        try:
            return self.count()
        except CounterError as failure:
            raise NothingToJudge(f"The effects cannot be counted: {failure}. Nothing was judged.") from None
