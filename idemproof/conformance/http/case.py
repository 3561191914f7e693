"""What a check works with: it sends requests, counts effects, keeps the trace, and reports what is broken."""

import contextlib
import random
import re
import threading
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from ..suite.checks import Broken, NotJudged
from ..suite.consequences import DIFFERS, LEAKED, LOCKED_OUT, LOST, TWICE, WRONG, Consequence
from ..suite.trace import COUNTER, NOT_LOOKED_AT, OWNER, Line
from . import owner
from .answers import difference, is_busy
from .baseline import Service
from .budget import Spent
from .expectations import Expectations
from .places import Place
from .requests import Maker
from .shell import curl
from .target import Target, Template
from .texts import shown
from .wire import Answer, Link, Request

_OVERLOADED = (429, 503)
_MOST_OVERLOADS = 3
_MOST_CUTS = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_PATIENCE = 4.0
"""How long a request may be refused as still in progress, if the target states no lease (seconds)."""
_SLACK = 2.0
"""How much longer than the stated lease that may last (seconds)."""
_BETWEEN_COUNTS = 0.03


_BY_WINDOW = (TWICE, LEAKED, WRONG, LOST, DIFFERS)
"""What may be the consequence of a window that has ended."""


class HttpCase:
    """The input of a check, and its trace. Each check gets a new one.

    Parameters
    ----------
    service
        The service, and what is known about it.
    seed
        The seed of all random choices of this check.
    clauses
        The clauses of the check.
    """

    def __init__(self, service: Service, seed: int, clauses: Sequence[str]) -> None:
        self.service = service
        self.target: Target = service.target
        self.expects: Expectations = service.expects
        self.random = random.Random(seed)  # noqa: S311 - draws examples, no secrets
        self.make = Maker(service.target, service.expects, service.texts)
        self.make.quoted = service.quoted
        self.clauses = tuple(clauses)
        self.findings: list[Broken] = []
        self.notes: set[str] = set()
        """Remarks for the reader of the report, which are no findings."""
        self.cases = 0
        self.outlives_window = False
        """Whether the check lasts longer than the window on purpose."""
        self.unique = ""
        """The unique text of the current trace."""
        self._lines: list[Line] = []
        self._commands: list[str] = []
        self._began = 0.0
        self._base: int | None = None
        self.begin()

    def begin(self) -> None:
        """Begin a new trace, with a new unique text."""
        self.cases += 1
        self.unique = self.make.unique()
        self._lines, self._commands = [], []
        self._began = time.monotonic()
        self._base = self.service.count()

    def request(self, key: str | None, **changes: Any) -> Request:
        """Return a request of the current trace; see :meth:`Maker.make`."""
        return self.make.make(changes.pop("unique", self.unique), key, **changes)

    def send(self, request: Request, who: str = "client 1", place: Place | None = None) -> Answer:
        """Send a request, and return the answer."""
        answer = self.service.exchange(request, place)
        self.log(who, f"{self.described(request)} → {self.outcome(answer)}")
        self.repeatable(curl(self.masked(request), place or self.service.place))
        return answer

    def open(self) -> Link:
        """Return a connection to the service for one request, which counts."""
        self.service.budget.spend(self.service.place.origin)
        try:
            return Link(self.service.place, self.service.budget)
        except OSError as failure:
            raise NotJudged(f"the service accepts no connection: {failure}") from None

    def first(self, request: Request, who: str = "client 1") -> Answer:
        """Send the first request of a key; raise :class:`NotJudged` unless it succeeds."""
        answer = self.send(request, who)
        for _ in range(_MOST_OVERLOADS):
            if answer.status not in _OVERLOADED:
                break
            self.service.budget.wait(min(_retry_after(answer) or _FIRST_PAUSE, _LONGEST_PAUSE))
            answer = self.send(request, who)
        if not answer.succeeded:
            raise NotJudged(f"the first request with a new key got {self.outcome(answer)}")
        return answer

    def until_decided(self, request: Request, who: str = "client 1", *, running: float = 0) -> Answer:
        """Send a request until the answer is not "in progress"; break a clause if that takes too long.

        Parameters
        ----------
        request, who
            The request, and who sends it.
        running
            How long an earlier request with its key may still run (seconds).
        """
        answer, sent = self.tried(request, who, running=running)
        if is_busy(answer):
            lease = self.target.lease_seconds
            refused = f"The key is still refused with {answer.status} after {sent} requests"
            if lease is not None:
                seconds = round(lease + _SLACK + running)
                self.fail(f"{refused}, {seconds} seconds after its first one.", LOCKED_OUT)
            raise NotJudged(
                f"the key was still refused with {answer.status} after {_PATIENCE:g} seconds, and the target "
                "does not say how long a claim may block a key: lease_seconds"
            )
        return answer

    def tried(self, request: Request, who: str = "client 1", *, running: float = 0) -> tuple[Answer, int]:
        """Send a request until the answer is not "in progress" or the lease must have ended.

        A connection that ends without an answer says nothing, so the request is sent again.

        Returns
        -------
        tuple
            The last answer, and how many requests were sent.
        """
        lease = self.target.lease_seconds
        ends = time.monotonic() + running + (_PATIENCE if lease is None else lease + _SLACK)
        pause, sent = _FIRST_PAUSE, 1
        answer = self.send(request, who)
        cuts = int(answer.is_cut)
        while (is_busy(answer) and time.monotonic() < ends) or (answer.is_cut and cuts < _MOST_CUTS):
            self.service.budget.wait(min(_retry_after(answer) or pause, max(0.01, ends - time.monotonic())))
            pause = min(2 * pause, _LONGEST_PAUSE)
            answer, sent = self.service.exchange(request), sent + 1
            cuts += answer.is_cut
        if sent > 1:
            self.log(who, f"sends it {sent - 1} times more → {self.outcome(answer)}")
        return answer, sent

    def together(self, requests: Sequence[Request]) -> list[Answer]:
        """Send requests at the same time, each on its own connection, and return their answers."""
        self.service.budget.require_time()
        place = self.service.place
        sent = [request.head(place.authority) + request.payload() for request in requests]
        links: list[Link] = []
        answers: list[Answer] = [Answer(None, failure="it did not end")] * len(requests)
        gate = threading.Barrier(len(requests))
        jitter = [self.random.random() * 0.002 if self.random.random() < 0.5 else 0.0 for _ in requests]  # noqa: PLR2004

        def race(index: int) -> None:
            link, data = links[index], sent[index]
            link.send(data[:-1])
            gate.wait()
            time.sleep(jitter[index])
            link.send(data[-1:])
            with contextlib.suppress(Spent):  # the end of the race shows that
                answers[index] = link.read(requests[index].method)

        threads = [
            threading.Thread(target=race, args=(index,), name="http-judge", daemon=True)
            for index in range(len(requests))
        ]
        try:
            for _ in requests:
                links.append(self.open())  # noqa: PERF401 - those before one that fails are closed
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(self.target.limits.timeout_seconds + 1)
        finally:
            for link in links:
                link.close()
        self.service.budget.require_time()
        for index, (request, answer) in enumerate(zip(requests, answers, strict=True), 1):
            self.log(f"client {index}", f"{self.described(request)} → {self.outcome(answer)}")
            self.repeatable(curl(self.masked(request), place, in_background=True))
        self.repeatable("wait")
        return answers

    def command(self, command: str, what: str) -> None:
        """Run a command of the owner."""
        self.log(OWNER, what)
        self.repeatable(command)
        try:
            owner.run(command, min(self.target.process.ready_seconds, self.service.budget.seconds_left))
        except owner.CommandFailedError as failure:
            raise NotJudged(f"a command of the owner failed: {failure}") from None

    def longest_request(self) -> tuple[Template | None, float]:
        """Return the slow request of the target, or None for the main one, and its duration (seconds)."""
        template = self.target.requests.get("slow")
        if template is None:
            return None, self.service.seconds
        answer = self.first(self.request(self.make.new_key(), template=template))
        return template, answer.seconds

    def wait_for_effect(self, longest: float) -> None:
        """Wait until an effect of this trace is counted, but not longer than ``longest`` (seconds)."""
        ends = time.monotonic() + longest
        while time.monotonic() < ends and (self.service.count_now() or 0) <= (self._base or 0):
            self.service.budget.wait(_BETWEEN_COUNTS)

    def effects(self) -> int | None:
        """Return how many effects happened in this trace, and add it to the trace; None without a counter."""
        if self._base is None:
            return None
        count = self.service.count()
        assert count is not None
        if count < self._base:
            raise NotJudged("the counter of effects went back: it does not survive the end of the process")
        number = -(-(count - self._base) // self.service.unit)
        self.log(COUNTER, f"counts {number} effect{'s' * (number != 1)} in this trace")
        return number

    def require_once(self, why: str, most: int = 1) -> int | None:
        """Return the number of effects; break the clause if there are more than ``most``."""
        number = self.effects()
        if number is not None and number > most:
            self.fail(f"{why}, and the effect happened {number} times.", TWICE)
        return number

    def require_repeat(self, first: Answer, repeat: Answer, why: str) -> None:
        """Break the clause unless ``repeat`` is the answer that ``first`` was, and nothing ran twice."""
        self.require_once(why)
        if repeat.failure is not None:
            self.fail(f"{why}, and got no complete answer: {repeat.failure}.", LOST)
        differs = difference(first, repeat, self.target.ignore)
        if differs is not None:
            severity = DIFFERS if repeat.succeeded else LOST
            self.fail(f"{why}, and the answer differs: {differs}.", severity)

    def is_replay(self, first: Answer, other: Answer, *, is_counted: bool = True) -> bool | None:
        """Return whether ``other`` is the stored answer of ``first``; None if that cannot be known.

        Parameters
        ----------
        first, other
            The only answers of the trace.
        is_counted
            Whether the counter counts the effect of the second request too, if it runs.
        """
        if not other.succeeded or difference(first, other, self.target.ignore) is not None:
            return False
        number = self.effects()
        if number is not None and number > 1:
            return False
        if number is not None and is_counted:
            return True
        if self.service.has_marker(other):
            return True
        return True if self.service.answers_vary else None

    def log(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        at_ms = round((time.monotonic() - self._began) * 1000)
        self._lines.append(Line(at_ms, who, self.service.texts.masked(what), NOT_LOOKED_AT))

    def repeatable(self, command: str) -> None:
        """Add a shell command that repeats the last line."""
        self._commands.append(command)

    def fail(self, why: str, severity: Consequence) -> NoReturn:
        """Record that the clauses of the check are broken, and end the check."""
        raise self.broken(why, severity)

    def found(self, why: str, severity: Consequence) -> None:
        """Record that the clauses of the check are broken. The check continues."""
        self.findings.append(self.broken(why, severity))

    @property
    def seconds(self) -> float:
        """How long ago the current trace began (seconds)."""
        return time.monotonic() - self._began

    def broken(self, why: str, severity: Consequence) -> Broken:
        """Return that the clauses of the check are broken, with the trace so far.

        Raises
        ------
        NotJudged
            The window of the target may have ended during the trace, which would explain it.
        """
        window = self.target.window_seconds
        if (
            window is not None
            and not self.outlives_window
            and self.seconds > window
            and severity in _BY_WINDOW
        ):
            raise NotJudged(f"the window of {window:g} seconds ended during the check: make it longer")
        sentence = self.service.texts.masked(why)
        return Broken(sentence, self.clauses, list(self._lines), severity, list(self._commands))

    def note(self, sentence: str) -> None:
        """Add a remark to the report."""
        self.notes.add(self.service.texts.masked(sentence))

    def masked(self, request: Request) -> Request:
        """Return a request as the report may show it."""
        masked = self.service.texts.masked
        headers = tuple((name, masked(value)) for name, value in request.headers)
        try:
            body = masked(request.body.decode()).encode()
        except UnicodeDecodeError:
            body = request.body
        return request._replace(path=masked(request.path), headers=headers, body=body)

    def described(self, request: Request) -> str:
        """Return a request as a short text: the lines of its key, what it changes, and its body."""
        usual = {(name, value) for name, value in self.target.request.headers}
        lines = [
            f"{name}: {value[:80] + '…' if len(value) > 80 else value}"  # noqa: PLR2004
            for name, value in request.headers
            if (name, value) not in usual and name.lower() != "content-type"
        ]
        keyed = any(name.lower() == self.make.header.lower() for name, _ in request.headers)
        if not keyed:
            lines.append(f"no {self.make.header}")
        return ", ".join([f"{request.method} {request.path}", *lines, shown(request.body)])

    def outcome(self, answer: Answer) -> str:
        """Return an answer as a short text."""
        if answer.status is None:
            return f"no answer: {answer.failure}"
        text = f"{answer.status} {shown(answer.body)}"
        return text if answer.failure is None else f"{text}, but {answer.failure}"


def _retry_after(answer: Answer) -> float | None:
    """Return the seconds of Retry-After, if it is a number of seconds that is worth waiting."""
    value = answer.header("retry-after") or ""
    return float(value) if re.fullmatch("[1-9]|[1-5][0-9]|60", value) else None
