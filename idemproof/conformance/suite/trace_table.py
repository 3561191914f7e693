"""A trace as a text table: a column for each client, the stored record on the right; time runs downward."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...spec.record import Record
from .trace import CLOCK, COUNTER, NOT_LOOKED_AT, OWNER, STORE, Line, in_words
from .wording import clean

_NARROWEST = 14
"""The minimum width of a column (characters). If columns would be narrower, all clients share one."""

_PLACES_TO_BREAK = (re.compile(r"(?<=[(\[{,=:/])|(?=\.)"), re.compile(r"(?<=[_-])"))
"""Where to break a long word: between the parts of an expression, else between the words of a name."""

_ACROSS = (STORE, COUNTER, OWNER)
_BAR = " │ "
_STORED = "then stored"


class Piece(NamedTuple):
    """Part of a line of text. Its kind is ``frame``, ``head``, ``time``, ``act``, ``across`` or a status."""

    text: str
    kind: str


def plain(lines: Sequence[Line], width: int = 100) -> str:
    """Return a trace as text."""
    return "\n".join("".join(piece.text for piece in row).rstrip() for row in laid_out(lines, width))


def laid_out(lines: Sequence[Line], width: int) -> Iterator[list[Piece]]:
    """Yield the lines of text of a trace, none of them wider than ``width``."""
    if not lines:
        return
    sheet = _Sheet(lines, width)
    yield from sheet.head()
    for line in lines:
        yield from sheet.row(line)


def lanes_of(lines: Sequence[Line]) -> list[str]:
    """Return the actors of a trace, clients in the order of their numbers."""
    actors = dict.fromkeys(clean(line.who) for line in lines if line.who not in (CLOCK, *_ACROSS))
    return sorted(
        actors, key=lambda who: [int(part) if part.isdigit() else 0 for part in re.split(r"(\d+)", who)]
    )


def moment(ms: int) -> str:
    """Return the time since the start of the trace, in words."""
    return f"{ms // 1000:,} s" if ms and ms % 1000 == 0 else f"{ms:,} ms"


def kind_of(current: Record | str | None) -> str:
    """Return the colour class of a stored record: its status, or ``quiet`` if it was not read."""
    if current is None:
        return "ABSENT"
    if isinstance(current, str):
        return "quiet" if current == NOT_LOOKED_AT else "crash"
    return current[1] if current[1] in ("INPROGRESS", "COMPLETED") else "crash"


def looked_at(lines: Sequence[Line]) -> bool:
    """Return whether any line of the trace contains the stored record."""
    return any(line.current != NOT_LOOKED_AT for line in lines)


def across(line: Line) -> str | None:
    """Return the text of a line that belongs to no client, else None."""
    if line.who == CLOCK:
        return clean(line.what)
    return f"{line.who} {clean(line.what)}" if line.who in _ACROSS else None


class _Sheet:
    def __init__(self, lines: Sequence[Line], width: int) -> None:
        self._lanes = lanes_of(lines)
        self._time = max(len("time"), *(len(moment(line.at_ms)) for line in lines))
        self._looked = looked_at(lines)
        stored = max(len(clean(in_words(line.current))) for line in lines)
        self._each = self._share(width, len(self._lanes) or 1, stored)
        self._shared = len(self._lanes) > 1 and self._each < _NARROWEST
        if self._shared or not self._lanes:
            self._lanes = ["who does what"]
            self._each = self._share(width, 1, stored)
        own = (
            len(self._said(line)) if words is None else len(words) + 4
            for line, words in ((line, across(line)) for line in lines)
            if words is None or len(self._lanes) == 1
        )
        self._each = max(1, min(self._each, max(*own, *map(len, self._lanes), _NARROWEST)))

    def _share(self, width: int, columns: int, stored: int) -> int:
        """Set the width of the column for the stored record, and return the width of the others."""
        space = width - self._time - len(_BAR) * columns
        self._stored = 0
        if self._looked:
            space -= len(_BAR)
            self._stored = min(max(stored, len(_STORED)), max(2 * space // (columns + 3), len(_STORED)), 40)
        return (space - self._stored) // columns

    def head(self) -> Iterator[list[Piece]]:
        cells = [(lane.ljust(self._each), "head") for lane in self._lanes]
        yield self._joined("time".ljust(self._time), cells, _STORED, "head", _BAR)
        rules = [("─" * self._each, "frame")] * len(self._lanes)
        yield self._joined("─" * self._time, rules, "─" * self._stored, "frame", "─┼─")

    def row(self, line: Line) -> Iterator[list[Piece]]:
        stored = wrapped(clean(in_words(line.current)), self._stored) if self._looked else []
        words = across(line)
        if words is not None:
            whole = self._each * len(self._lanes) + len(_BAR) * (len(self._lanes) - 1)
            acts = [
                [(f" {part} ".center(whole, "─"), "across")] for part in wrapped(words, max(1, whole - 2))
            ]
            empty = [(" " * whole, "act")]
        else:
            lane = 0 if self._shared else self._lanes.index(clean(line.who))
            acts = [
                [
                    (part.ljust(self._each) if lane == index else " " * self._each, "act")
                    for index in range(len(self._lanes))
                ]
                for part in wrapped(self._said(line), self._each)
            ]
            empty = [(" " * self._each, "act")] * len(self._lanes)
        for index in range(max(len(acts), len(stored))):
            time = moment(line.at_ms) if index == 0 else ""
            yield self._joined(
                time.rjust(self._time),
                acts[index] if index < len(acts) else empty,
                stored[index] if index < len(stored) else "",
                kind_of(line.current),
                _BAR,
            )

    def _said(self, line: Line) -> str:
        return f"{clean(line.who)}: {clean(line.what)}" if self._shared else clean(line.what)

    def _joined(
        self, time: str, cells: Sequence[tuple[str, str]], stored: str, kind: str, bar: str
    ) -> list[Piece]:
        pieces = [Piece(time, "frame" if kind == "frame" else "time")]
        for text, its in cells:
            pieces += [Piece(bar, "frame"), Piece(text, its)]
        if self._looked:
            pieces += [Piece(bar, "frame"), Piece(stored.ljust(self._stored), kind)]
        return pieces


def wrapped(words: str, width: int) -> list[str]:
    """Return ``words`` as lines; a word that is longer than a line is split where code reads best."""
    lines = [""]
    for word in words.split():
        rest = word
        if lines[-1] and len(lines[-1]) + 1 + len(rest) > width:
            lines.append("")
        while len(rest) > width:
            cut = _place_to_break(rest, width)
            lines[-1], rest = rest[:cut], rest[cut:]
            lines.append("")
        lines[-1] = f"{lines[-1]} {rest}" if lines[-1] else rest
    return lines


def _place_to_break(word: str, width: int) -> int:
    for places in _PLACES_TO_BREAK:
        found = [match.start() for match in places.finditer(word) if 0 < match.start() <= width]
        if found:
            return found[-1]
    return width
