"""Makes a finding of what a check has found."""

from typing import Any

from ...spec.record import Record
from .checks import Broken, Check
from .report import Finding
from .subjects import shortened
from .trace import Line


def finding_of(asked: Check, broken: Broken) -> Finding:
    """Return what broke in a check as a finding, with short texts."""
    # An error that the layer raises, which has no trace, is not the known fault.
    seen_in = (
        asked.seen_in if broken.lines and {*broken.clauses} & {*(asked.seen_as or broken.clauses)} else None
    )
    return finding_with(tuple(map(_short, broken.lines)), asked.name, asked.tier, broken, seen_in)


def finding_with(
    lines: tuple[Line, ...], name: str, tier: str, broken: Broken, seen_in: str | None = None
) -> Finding:
    """Return what broke in the check of this name and tier, with ``lines`` as its trace."""
    return Finding(
        name, tier, broken.clauses, shortened(broken.why), lines, seen_in, broken.severity, broken.commands
    )


def _short(line: Line) -> Line:
    """Return a line with short texts: a layer may return megabytes."""
    current = line.current
    if isinstance(current, Record):
        texts: dict[str, Any] = {
            name: shortened(each) for name, each in current._asdict().items() if isinstance(each, str)
        }
        current = current._replace(**texts)
    elif current is not None:
        current = shortened(current)
    return line._replace(what=shortened(line.what), current=current)
