"""What a persistence layer claims, and what a suite may do to it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a layer claims. What it does not claim is reported as not offered, and never quietly left out."""

    fenced: bool = True
    """A run that outlived its lease can neither change nor remove what others have stored since."""

    durable: bool = False
    """What it has acknowledged outlives the process that wrote it."""

    threads: bool = True
    """One layer object may be used by several threads, or tasks, at once."""

    processes: bool = True
    """Layers of other processes see the same records. Only asked if another layer object sees them."""

    movable_clock: bool = True
    """The wall clock of this process may be moved under it. No, if its client signs requests or checks
    certificates by that clock: then what depends on time is not judged for layers that read it."""

    largest_response: int = 300_000
    """The longest response, in bytes of UTF-8, that it stores."""
