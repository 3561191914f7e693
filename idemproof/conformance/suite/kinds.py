"""The kinds of subjects that a report can be about, and what a report calls them."""

from typing import NamedTuple

LAYER_TIERS = ("contract", "time", "exclusion", "fencing", "faults", "concurrency", "durability")
"""The tiers of a persistence layer in the order in which they run. Later tiers rely on earlier ones."""

HTTP_TIERS = (
    "keys",
    "repeats",
    "payloads",
    "scope",
    "errors",
    "races",
    "connections",
    "expiry",
    "crashes",
)
"""The tiers of an HTTP service in the order in which they run."""

_RANKS = {tier: rank for rank, tier in enumerate((*LAYER_TIERS, *HTTP_TIERS))}


def rank_of(tier: str) -> int:
    """Return the place of a tier in the order of all tiers."""
    return _RANKS[tier]


class Kind(NamedTuple):
    """A kind of subject.

    Parameters
    ----------
    noun
        What a sentence calls it.
    tiers
        Its tiers, in order.
    purpose
        What a report about it shows, as HTML.
    is_slow
        Why a check had too little time, as part of a sentence.
    not_offered, not_run
        What these verdicts mean.
    counts
        What a check counts: the headings of two columns.
    terms
        What words of the clauses mean here, as a sentence; or an empty text.
    """

    noun: str
    tiers: tuple[str, ...]
    purpose: str
    is_slow: str
    not_offered: str
    not_run: str
    counts: tuple[str, str]
    terms: str = ""


LAYER = Kind(
    "layer",
    LAYER_TIERS,
    "This page lists the clauses of the idempotency protocol that a persistence layer keeps. For each broken "
    "clause, it shows the shortest trace that breaks it. A <em>persistence layer</em> stores the records "
    "that let an operation run once even if it is called twice.",
    "because the store is slow",
    "Not offered: the layer does not claim it, so it was not tested. That is no fault, but do not "
    "rely on it.",
    "Not run: the profile's time was not enough for it, so nothing is known about it. The profile thorough "
    "has no time limit for the whole run, and a tier that is judged alone gets all the time of a profile.",
    ("histories", "schedules"),
)

HTTP_SERVICE = Kind(
    "service",
    HTTP_TIERS,
    "This page lists the clauses about HTTP of the idempotency protocol that a running service keeps. For "
    "each broken clause, it shows the requests that break it, and commands that send them again.",
    "because the requests or the time of the target were spent",
    "Not offered: the profile does not require it, or the target does not describe it, so it was not tested. "
    "That is no fault, but do not rely on it.",
    "Not run: the requests or the time that the target allows were spent, so nothing is known about it. "
    "Raise the limits in the target.",
    ("cases", "requests"),
    "In the clauses INV, a body is the work that a request starts, not its bytes. A lease is how long that "
    "work blocks its key.",
)
