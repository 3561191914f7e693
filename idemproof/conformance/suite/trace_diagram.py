"""A trace as a space-time diagram in SVG: a lane for each client and for the store; time runs downward."""

from collections.abc import Sequence
from html import escape

from . import svg
from .svg import LINE, box, lines_of_text, number, path, text, width_of
from .trace import NOT_LOOKED_AT, Line, in_words
from .trace_table import across, kind_of, lanes_of, looked_at, moment, wrapped
from .wording import clean

STYLE = svg.STYLE
"""The style rules of the classes in a diagram, light and dark."""

_HEAD = 13
"""The vertical padding of the heads of the lanes (pixels)."""
_GAP = 12
_PADDING = 7
_STORE_LANE = "stored"
_NARROWEST = 100
_WIDEST_HEAD = 150
_CAUTION = 0.94
_CAUTION_IN_FIGURES = 0.83
"""Safety factors for wide fonts: for words, and for text that is bold or has wide letters such as "ms"."""


def diagram(lines: Sequence[Line], width: float, name: str) -> str:
    """Return a trace as an ``svg`` element for a page that has :data:`STYLE`.

    Parameters
    ----------
    lines
        The trace.
    width
        The minimum width (pixels). The diagram is wider if its lanes would be too narrow.
    name
        The accessible name, for screen readers.
    """
    sheet = _Sheet(lines, width)
    for line in lines:
        sheet.add(line)
    return sheet.finished(name)


class _Sheet:
    def __init__(self, lines: Sequence[Line], width: float) -> None:
        self._lanes = [*lanes_of(lines), *([_STORE_LANE] if looked_at(lines) else [])]
        times = width_of([moment(line.at_ms) for line in lines] or [""]) / _CAUTION_IN_FIGURES
        self._margin = times + 6 + _PADDING
        self._times_apart = self._margin + _NARROWEST * len(self._lanes) > width
        """Whether the times are above the steps, because there is no space on the left of the lanes."""
        if self._times_apart:
            self._margin = 0
        self._width = max(width, self._margin + _NARROWEST * len(self._lanes))
        self._each = (self._width - self._margin) / max(1, len(self._lanes))
        self._x = {lane: self._margin + self._each * (index + 0.5) for index, lane in enumerate(self._lanes)}
        space = (min(self._each - 8, _WIDEST_HEAD) - 2 * _PADDING) * _CAUTION_IN_FIGURES
        self._heads = {lane: _wrapped(lane, space) for lane in self._lanes}
        self._head = _HEAD + LINE * max(map(len, self._heads.values()), default=1)
        self._y: float = self._head + _GAP
        self._parts: list[str] = []
        self._bars: list[str] = []
        self._time: str | None = None
        self._current: tuple[str, str] | None = None
        self._since: float = 0

    def add(self, line: Line) -> None:
        """Draw one line of the trace."""
        time = moment(line.at_ms)
        if time != self._time:
            self._time = time
            if self._times_apart:
                self._parts += lines_of_text(4, self._y + LINE - 6, [time], halo=True, anchor="start")
                self._y += LINE
            else:
                self._parts.append(text(self._margin - 6, self._y + LINE, time, "quiet", "end"))
        words = across(line)
        height = self._across(words) if words is not None else self._mark(line)
        if _STORE_LANE in self._x and line.current != NOT_LOOKED_AT:
            stored = self._stored(line)
            if stored and words is None:
                ends = [(self._x[lane], self._y + LINE / 2 + 3) for lane in (clean(line.who), _STORE_LANE)]
                self._bars.append(path(ends, "line", arrow=False))
            height = max(height, stored)
        self._y += height + _GAP

    def finished(self, name: str) -> str:
        """Return the complete ``svg`` element."""
        self._end_bar()
        heads = []
        for lane, x in self._x.items():
            width = min(self._each - 8, _WIDEST_HEAD)
            heads.append(box(x - width / 2, 2, width, self._head - 4, "lane"))
            heads += [
                text(x, 20 + LINE * index, part, "ink strong") for index, part in enumerate(self._heads[lane])
            ]
        lives = [path([(x, self._head), (x, self._y)], "life", arrow=False) for x in self._x.values()]
        size = f"{number(self._width)} {number(self._y + 4)}"
        parts = "\n".join([*lives, *self._bars, *heads, *self._parts])
        return (
            f'<svg viewBox="0 0 {size}" width="{number(self._width)}" role="img" '
            f'aria-label="{escape(name, quote=True)}">\n{parts}\n</svg>'
        )

    def _mark(self, line: Line) -> float:
        x = self._x[clean(line.who)]
        return self._boxed(x, [("ink", part) for part in self._fitted(clean(line.what))], "busy")

    def _across(self, words: str) -> float:
        lanes = [x for lane, x in self._x.items() if lane != _STORE_LANE] or [self._width / 2]
        left, right = lanes[0] - self._each / 2 + 4, lanes[-1] + self._each / 2 - 4
        parts = _wrapped(words, right - left - 4 * _PADDING)
        height, middle = LINE * len(parts) + _PADDING, (left + right) / 2
        self._parts.append(
            path([(left, self._y + height / 2), (right, self._y + height / 2)], "line reply", arrow=False)
        )
        width = width_of(parts) + 2 * _PADDING
        self._parts.append(box(middle - width / 2, self._y, width, height, "jump"))
        self._parts += lines_of_text(middle, self._y + LINE - 2, parts)
        return height

    def _stored(self, line: Line) -> float:
        words, kind = clean(in_words(line.current)), kind_of(line.current)
        kind = kind if kind != "quiet" else "ABSENT"
        if (words, kind) == self._current:
            return 0
        self._end_bar()
        self._current, self._since = (words, kind), self._y
        return self._boxed(self._x[_STORE_LANE], [("ink", part) for part in self._fitted(words)], kind)

    def _end_bar(self) -> None:
        if self._current is not None:
            x = self._x[_STORE_LANE]
            self._bars.append(box(x - 5, self._since, 10, self._y - self._since, self._current[1]))

    def _fitted(self, words: str) -> list[str]:
        return _wrapped(words, (self._each - 8 - 2 * _PADDING) * _CAUTION)

    def _boxed(self, x: float, parts: list[tuple[str, str]], kind: str) -> float:
        height = LINE * len(parts) + _PADDING
        width = min(self._each - 8, width_of([part for _, part in parts]) + 2 * _PADDING)
        self._parts.append(box(x - width / 2, self._y, width, height, kind))
        self._parts += [
            text(x, self._y + LINE - 2 + LINE * index, part, its) for index, (its, part) in enumerate(parts)
        ]
        return height


def _wrapped(words: str, width: float) -> list[str]:
    """Return ``words`` as lines that fit into ``width``."""
    return wrapped(words, max(1, int(width / width_of(["x"]))))
