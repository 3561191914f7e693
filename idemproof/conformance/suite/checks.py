"""The definition of a check: what it tests, which clauses it covers, and how it reports findings."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from .capabilities import Capabilities
from .consequences import Consequence
from .kinds import LAYER_TIERS
from .pace import Limit
from .profiles import Profile
from .subjects import Subject
from .trace import CLOCK, Line, Trace

if TYPE_CHECKING:
    from .clock import MovedClock  # it imports a library of an extra

T = TypeVar("T")

TIERS = LAYER_TIERS
"""The tiers of a layer in the order in which they run. Later tiers rely on earlier ones."""


class Broken(Exception):  # noqa: N818 - an outcome, not an error
    """A clause is broken. It ends the check that raises it.

    Parameters
    ----------
    why
        What went wrong, as a sentence about the layer.
    clauses
        The ids of the broken clauses.
    lines
        The trace that shows it.
    severity
        The consequence that the check has seen; None if it follows from the clauses.
    commands
        Shell commands that repeat the trace by hand.
    """

    def __init__(
        self,
        why: str,
        clauses: Sequence[str],
        lines: Sequence[Line] = (),
        severity: Consequence | None = None,
        commands: Sequence[str] = (),
    ) -> None:
        super().__init__(why)
        self.why = why
        self.clauses = tuple(clauses)
        self.lines = tuple(lines)
        self.severity = severity
        self.commands = tuple(commands)


class NotOffered(Exception):  # noqa: N818 - as Broken
    """The layer does not claim the capability that the check tests; the message says which."""


class NotJudged(Exception):  # noqa: N818 - as Broken
    """The layer claims what the check tests, but the check could not run; the message says why."""


class Check(NamedTuple):
    """One check of a layer.

    Parameters
    ----------
    name
        The unique name in reports and tests, such as ``a-late-completion-is-refused``.
    tier
        One of :data:`TIERS`.
    clauses
        The clauses of ``protocol.md`` that a failure breaks, unless the finding names others.
    asks
        What it shows if it passes, as a sentence.
    run
        Runs the check; raises :class:`Broken` or calls :meth:`Case.found`.
    seen_in, seen_as
        The published software in which this fault was seen, or None; and the clauses that it breaks there.
    needs
        The names of the required :class:`Capabilities`. ``swaps`` requires a layer with the two methods,
        ``shared`` one whose records another layer object sees, ``time`` one whose clock can be moved,
        ``inside`` one that is in this process, ``closes`` one that can be closed. The last ones run last.
    """

    name: str
    tier: str
    clauses: tuple[str, ...]
    asks: str
    run: Callable[["Case"], None]
    seen_in: str | None = None
    seen_as: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


CHECKS: list[Check] = []
"""All checks, in the order of their definition. Importing :mod:`idemproof.conformance.tiers` fills it."""


def check(
    tier: str,
    *clauses: str,
    seen_in: str | None = None,
    seen_as: Sequence[str] = (),
    needs: Sequence[str] = (),
) -> Callable[[Callable[["Case"], None]], Callable[["Case"], None]]:
    """Register a function as a check. Its name and the first line of its docstring describe the check."""
    assert tier in TIERS

    def register(run: Callable[["Case"], None]) -> Callable[["Case"], None]:
        name = run.__name__.replace("_", "-")
        asks = (run.__doc__ or "").strip().splitlines()[0]
        CHECKS.append(Check(name, tier, clauses, asks, run, seen_in, tuple(seen_as) or clauses, tuple(needs)))
        return run

    return register


class Case:
    """The input of a check, and the collector of its findings. Each check gets a new one.

    Parameters
    ----------
    workers
        At least two clients of one store: two layers over it, or the same layer twice.
    clock
        The clock that all layers use. A check may only move it forwards.
    capabilities, profile, seed
        What the layer claims, how much to try, and the seed of all random choices.
    clauses
        The clauses of the check.
    restarted
        Makes another layer over the same store, as a new process would; None if that is not possible.
    factory
        The user's factory, for checks that start other processes; None if those would not share the store.
    prefix
        The prefix of the keys of this run.
    temporary
        Makes another layer for a ``with`` block, and closes it.
    allotted
        The time of the check.
    is_shortened
        Whether that time is short, by the plan of a run on a slow store.
    """

    def __init__(
        self,
        workers: Sequence[Subject],
        clock: "MovedClock",
        capabilities: Capabilities,
        profile: Profile,
        seed: int,
        clauses: Sequence[str],
        restarted: Callable[[], Subject] | None = None,
        factory: Callable[[], object] | None = None,
        prefix: str = "conformance",
        temporary: Callable[[], AbstractContextManager[Subject]] | None = None,
        allotted: Limit | None = None,
        *,
        is_shortened: bool = False,
    ) -> None:
        self.workers = list(workers)
        self.clock = clock
        self.capabilities = capabilities
        self.profile = profile
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311 - draws examples, no secrets
        self.clauses = tuple(clauses)
        self.restarted = restarted
        self.factory = factory
        self.temporary = temporary
        self.findings: list[Broken] = []
        self.notes: set[str] = set()
        """Remarks for the reader of the report, which are no findings."""
        self.histories = 0
        self.schedules = 0
        self.cut_short = False
        """Whether the profile's time ended before its other bounds were reached."""
        self.suspected: Broken | None = None
        """A fault whose trace is still being shortened: it counts if the time ends meanwhile."""
        self.is_shortened = is_shortened
        self._allotted = Limit() if allotted is None else allotted
        self._prefix = prefix
        self._keys = 0

    @property
    def layer(self) -> Subject:
        """The layer of the first worker."""
        return self.workers[0]

    @property
    def now(self) -> int:
        """The time by the moved clock (epoch milliseconds)."""
        return self.clock.ms()

    @property
    def fenced(self) -> bool:
        """Whether the layer is fenced: it says so, or has the two methods and does not deny it."""
        claim = self.capabilities.fenced
        return self.layer.swaps if claim is None else claim

    def new_key(self) -> str:
        """Return an unused key."""
        self._keys += 1
        return f"{self._prefix}#{self._keys}"

    def limit(self, seconds: float) -> Limit:
        """Return a time limit that is over after ``seconds``, or when the time of the check is."""
        return self._allotted.within(seconds)

    def some(self, items: Sequence[T], least: int) -> Iterator[T]:
        """Yield ``items``; if the check is shortened, as many as its time allows, but ``least`` at least."""
        chosen = self.random.sample(items, len(items)) if self.is_shortened else items
        for number, each in enumerate(chosen):
            if number >= least and self._allotted.over:
                self.cut_short = True
                return
            yield each

    def require_clients(self, count: int) -> None:
        """Raise :class:`NotOffered` unless ``count`` clients, each in a thread or task, may run at once."""
        if self.capabilities.threads:
            return
        if not self.layer.asynchronous:  # async layers run on one thread, however many clients they have
            raise NotOffered("only the thread that made the layer may use it")
        if count > len({id(worker.layer) for worker in self.workers}):
            raise NotOffered(
                "several tasks may not use one layer object, and there are fewer layer objects than clients"
            )

    def trace(self, key: str) -> Trace:
        """Return a new trace about ``key``. It counts as one history."""
        self.histories += 1
        return Trace(self.clock.ms, lambda: self.layer.load(key))

    def pass_time(self, ms: int, trace: Trace | None = None) -> None:
        """Move the clock by ``ms`` milliseconds, and add that to the trace."""
        self.clock.advance(ms)
        if trace is not None:
            trace.log(CLOCK, f"{ms:,} ms pass")

    def found(self, why: str, trace: Trace | Sequence[Line] = (), clauses: Sequence[str] = ()) -> None:
        """Record that clauses are broken, by default all of the check's. The check continues."""
        lines = trace.lines if isinstance(trace, Trace) else trace
        self.findings.append(Broken(why, clauses or self.clauses, lines))

    def fail(self, why: str, trace: Trace | Sequence[Line] = (), clauses: Sequence[str] = ()) -> NoReturn:
        """Record that clauses are broken, by default all of the check's, and end the check."""
        lines = trace.lines if isinstance(trace, Trace) else trace
        raise Broken(why, clauses or self.clauses, lines)

    def require(
        self,
        holds: object,
        why: str,
        trace: Trace | Sequence[Line] = (),
        clauses: Sequence[str] = (),
    ) -> None:
        """End the check unless ``holds``; ``why`` says what is wrong."""
        if not holds:
            self.fail(why, trace, clauses)
