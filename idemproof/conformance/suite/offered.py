"""What a layer offers, of what a check needs."""

from ..commands.layer import CommandLayer
from .capabilities import Capabilities
from .checks import Broken, Check
from .factories import Bench


def commands(bench: Bench) -> list[CommandLayer]:
    """Return those of the layers that are commands."""
    return [subject.layer for subject in bench.subjects if isinstance(subject.layer, CommandLayer)]


def unmet(asked: Check, bench: Bench, claims: Capabilities) -> Broken | None:
    """Return which claim, made in so many words, the layer does not meet; or None."""
    if "processes" not in asked.needs or not claims.processes:
        return None
    if bench.shared or bench.is_one_object:
        return None
    return Broken(
        "The layer claims that other processes see its records (processes), but a second layer from the "
        "factory does not see the records of the first one.",
        ["CAS-1", "CAS-4"],
    )


def lacking(asked: Check, bench: Bench, claims: Capabilities) -> str | None:
    """Return why the layer does not offer what the check needs, or None if it does."""
    is_command = bool(commands(bench))
    reasons: dict[str, tuple[bool, str]] = {
        "swaps": (bench.layer.swaps, "the layer has the four documented methods only"),
        "shared": (
            # Whether processes share the store, one object cannot show; a claim is tested.
            bench.shared
            or ("processes" in asked.needs and bool(claims.processes))
            or ("forks" in asked.needs and bool(claims.forks or claims.processes)),
            "a second layer from the factory does not see the first one's records",
        ),
        "movable_clock": (
            claims.movable_clock and not is_command,
            "the suite cannot move the clock of a command"
            if is_command
            else "it is not claimed (movable_clock)",
        ),
        "fenced": (
            bench.layer.swaps if claims.fenced is None else claims.fenced,
            "the four documented methods name no owner that a store could compare"
            if claims.fenced is None
            else "it is not claimed (fenced)",
        ),
        "interruptible": (not is_command, "an interrupt does not reach a command"),
        "inside": (not is_command, "the suite does not see what a command holds"),
        "closes": (
            bench.closes,
            "the factory returns one object at each call"
            if bench.is_one_object
            else "the layer has no close method",
        ),
        "processes": (claims.processes is not False, "it is not claimed (processes)"),
        "forks": (
            claims.forks or (claims.forks is None and claims.processes is not False),
            "it is not claimed (forks)",
        ),
        "time": (
            bench.layer.swaps or claims.movable_clock,
            "the layer uses the wall clock, and does not allow the suite to move it",
        ),
    }
    for need in asked.needs:
        met, why = reasons.get(need, (getattr(claims, need, None), f"it is not claimed ({need})"))
        assert met is not None, f"the check {asked.name} needs the unknown {need!r}"
        if not met:
            return why
    return None
