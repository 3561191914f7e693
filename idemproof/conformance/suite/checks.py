"""What a check is: a question to a persistence layer, the clauses it stands for, and what it finds."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from .capabilities import Capabilities
from .clock import MovedClock
from .profiles import Profile
from .subjects import Subject
from .trace import CLOCK, Line, Trace

TIERS = ("contract", "time", "exclusion", "fencing", "faults", "concurrency", "durability")
"""In the order in which they are judged: later ones build on what earlier ones have shown."""


class Broken(Exception):  # noqa: N818 - it reads as what happened
    """A clause is broken; ends the check that found it.

    Parameters
    ----------
    why
        What went wrong, as a sentence about the layer.
    clauses
        The clauses that this breaks.
    lines
        The trace that shows it.
    """

    def __init__(self, why: str, clauses: Sequence[str], lines: Sequence[Line] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.clauses = tuple(clauses)
        self.lines = tuple(lines)


class NotOffered(Exception):  # noqa: N818 - as Broken
    """The layer does not claim what the check is about; the message says what."""


class NotJudged(Exception):  # noqa: N818 - as Broken
    """What the check is about is offered, but could not be tried; the message says what stood in the way."""


class Check(NamedTuple):
    """One question to a layer.

    Parameters
    ----------
    name
        Its own, such as ``a-late-completion-is-refused``; reports and tests name it so.
    tier
        One of :data:`TIERS`.
    clauses
        The clauses of ``protocol.md`` that a failure breaks, unless the finding itself says others.
    asks
        What it shows if it passes, as a sentence.
    run
        Asks; raises :class:`Broken` or calls :meth:`Case.found`.
    seen_in, seen_as
        In which published software this fault was seen, for the report, or None; and the clauses that it
        breaks there.
    needs
        The names of the :class:`Capabilities` without which it is not asked, and ``swaps`` for layers by the
        two methods, ``shared`` for layers of which another object sees the same records.
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
"""All checks, in the order of their definition; :mod:`idemproof.conformance.tiers` fills it."""


def check(
    tier: str,
    *clauses: str,
    seen_in: str | None = None,
    seen_as: Sequence[str] = (),
    needs: Sequence[str] = (),
) -> Callable[[Callable[["Case"], None]], Callable[["Case"], None]]:
    """Register a function as a check: its name names it, the first line of its docstring is what it asks."""
    assert tier in TIERS

    def register(run: Callable[["Case"], None]) -> Callable[["Case"], None]:
        name = run.__name__.replace("_", "-")
        asks = (run.__doc__ or "").strip().splitlines()[0]
        CHECKS.append(Check(name, tier, clauses, asks, run, seen_in, tuple(seen_as) or clauses, tuple(needs)))
        return run

    return register


class Case:
    """What a check works with, and where it says what it has found. Each check gets a new one.

    Parameters
    ----------
    workers
        At least two faces of the same store: two layers over it, or the same layer twice.
    clock
        The clock that all of them live by; a check moves it, forwards.
    capabilities, profile, seed
        What is claimed, how much is tried, and what decides what is drawn.
    clauses
        The clauses of the check.
    restarted
        Makes another layer over the same store, as a new process would; None if that is not to be had.
    factory
        What the user gave, for checks that start other processes; None if they cannot.
    prefix
        What the keys of this run begin with.
    """

    def __init__(
        self,
        workers: Sequence[Subject],
        clock: MovedClock,
        capabilities: Capabilities,
        profile: Profile,
        seed: int,
        clauses: Sequence[str],
        restarted: Callable[[], Subject] | None = None,
        factory: Callable[[], object] | None = None,
        prefix: str = "conformance",
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
        self.findings: list[Broken] = []
        self.histories = 0
        self.schedules = 0
        self.cut_short = False
        """Whether the profile's time was over before all was tried that it bounds otherwise."""
        self._prefix = prefix
        self._keys = 0

    @property
    def layer(self) -> Subject:
        """The first worker's."""
        return self.workers[0]

    @property
    def now(self) -> int:
        """The epoch milliseconds that it is."""
        return self.clock.ms()

    def new_key(self) -> str:
        """Return a key that nobody has used."""
        self._keys += 1
        return f"{self._prefix}#{self._keys}"

    def require_clients(self, count: int) -> None:
        """Go on only if so many clients, in threads or tasks of their own, may use the layers at once."""
        if self.capabilities.threads:
            return
        if not self.layer.asynchronous:  # async ones live on one thread, whatever their clients
            raise NotOffered("the layer may not be used by other threads than its own")
        if count > len({id(worker.layer) for worker in self.workers}):
            raise NotOffered(
                "one layer object may not be used by several tasks, and there are too few of them"
            )

    def trace(self, key: str) -> Trace:
        """Begin a trace about ``key``, which counts as one history."""
        self.histories += 1
        return Trace(self.clock.ms, lambda: self.layer.load(key))

    def pass_time(self, ms: int, trace: Trace | None = None) -> None:
        """Let so many milliseconds pass, and tell of it."""
        self.clock.advance(ms)
        if trace is not None:
            trace.tell(CLOCK, f"{ms:,} ms pass")

    def found(self, why: str, trace: Trace | Sequence[Line] = (), clauses: Sequence[str] = ()) -> None:
        """Note that clauses are broken, by default all of the check's; the check goes on."""
        lines = trace.lines if isinstance(trace, Trace) else trace
        self.findings.append(Broken(why, clauses or self.clauses, lines))

    def fail(self, why: str, trace: Trace | Sequence[Line] = (), clauses: Sequence[str] = ()) -> NoReturn:
        """Say that clauses are broken, by default all of the check's, and end the check."""
        lines = trace.lines if isinstance(trace, Trace) else trace
        raise Broken(why, clauses or self.clauses, lines)

    def require(
        self,
        holds: object,
        why: str,
        trace: Trace | Sequence[Line] = (),
        clauses: Sequence[str] = (),
    ) -> None:
        """Go on only if ``holds``; ``why`` says what is wrong otherwise."""
        if not holds:
            self.fail(why, trace, clauses)
