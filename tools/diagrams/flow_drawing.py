"""Draws recorded flows as the text of a Mermaid ``sequenceDiagram``, and as SVG."""

from idemproof.conformance.suite.svg import (
    LINE,
    WIDTH,
    box,
    document,
    lines_of_text,
    path,
    text,
    width_of,
    wrapped,
)

from .recorder import CLIENT, STORE, Flow, Jump, Message, Note, Stored

_TOP = 56
_LANE_HEIGHT = 30
_GAP = 14
_PADDING = 8
_CLIENT_X, _STORE_X = 94, 798
_RECORD_WIDTH = 180


def mermaid(flow: Flow) -> str:
    """Return a flow as the text of a Mermaid ``sequenceDiagram``."""
    names = {lane: lane.replace(" ", "") for lane in flow.lanes}
    lines = ["sequenceDiagram"]
    lines += [f"    participant {names[lane]} as {lane}" for lane in flow.lanes]
    first, last = names[flow.lanes[0]], names[flow.lanes[-1]]
    for step in flow.steps:
        if isinstance(step, Message):
            arrow = "-->>" if step.reply else "->>"
            lines.append(f"    {names[step.source]}{arrow}{names[step.target]}: {step.text}")
        elif isinstance(step, Note):
            lines.append(f"    Note over {names[step.lane]}: {step.text}")
        elif isinstance(step, Stored):
            lines.append(f"    Note over {names[STORE]}: {'<br/>'.join((step.state, *step.details))}")
        else:
            lines.append(f"    Note over {first},{last}: {step.text}")
    return "\n".join(lines) + "\n"


def svg(flow: Flow) -> str:
    """Return a flow as a diagram in SVG."""
    sheet = _Sheet(flow.lanes)
    for step in flow.steps:
        if isinstance(step, Message):
            sheet.message(step)
        elif isinstance(step, Note):
            sheet.note(step)
        elif isinstance(step, Stored):
            sheet.current(step)
        else:
            sheet.jump(step)
    return document(flow.title, flow.sentence.replace("`", ""), *sheet.finished())


class _Sheet:
    """A sequence diagram that grows downwards, step by step."""

    def __init__(self, lanes: tuple[str, ...]) -> None:
        self._spacing = (_STORE_X - _CLIENT_X) / (len(lanes) - 1)
        self._x = {lane: _CLIENT_X + index * self._spacing for index, lane in enumerate(lanes)}
        self._y: float = _TOP + _LANE_HEIGHT + _GAP
        self._front: list[str] = []
        self._busy: list[str] = []
        self._since: dict[str, float] = {}

    def message(self, message: Message) -> None:
        """Draw an arrow with its text above it."""
        start, stop = self._x[message.source], self._x[message.target]
        lines = wrapped(message.text, min(abs(stop - start) - 24, 300))
        self._front += lines_of_text((start + stop) / 2, self._y + LINE - 4, lines, halo=True)
        self._y += LINE * len(lines) + 4
        if message.source == CLIENT:
            self._since[message.target] = self._y
        kind = "line reply" if message.reply else "line"
        self._front.append(path([(start, self._y), (stop, self._y)], kind, arrow=True))
        if message.target == CLIENT:
            self._idle(message.source, self._y)
        self._y += _GAP

    def note(self, note: Note) -> None:
        """Draw a box over a lane."""
        self._boxed(self._x[note.lane], wrapped(note.text, min(self._spacing - 24, 270)), note.kind)
        if note.kind == "crash":
            self._idle(note.lane, self._y - _GAP)

    def current(self, current: Stored) -> None:
        """Draw the stored record in the lane of the store."""
        space = _RECORD_WIDTH - 2 * _PADDING
        lines = [line for detail in current.details for line in wrapped(detail, space)]
        self._boxed(self._x[STORE], lines, current.state, heading=current.state, width=_RECORD_WIDTH)

    def jump(self, jump: Jump) -> None:
        """Draw a line across all lanes."""
        height = LINE + _PADDING
        middle = self._y + height / 2
        self._front.append(path([(24, middle), (WIDTH - 24, middle)], "line reply", arrow=False))
        width = width_of([jump.text]) + 4 * _PADDING
        self._front.append(box((WIDTH - width) / 2, self._y, width, height, "jump"))
        self._front.append(text(WIDTH / 2, middle + 4.5, jump.text))
        self._y += height + _GAP

    def finished(self) -> tuple[float, list[str]]:
        """Return the height of the diagram, and its parts from back to front."""
        for lane in list(self._since):
            self._idle(lane, self._y)
        heads: list[str] = []
        width = min(140, self._spacing - 16)
        for lane, x in self._x.items():
            heads.append(box(x - width / 2, _TOP, width, _LANE_HEIGHT, "lane"))
            heads.append(text(x, _TOP + 20, lane, "ink strong"))
        lives = [
            path([(x, _TOP + _LANE_HEIGHT), (x, self._y)], "life", arrow=False) for x in self._x.values()
        ]
        return self._y + _GAP, [*lives, *self._busy, *heads, *self._front]

    def _idle(self, lane: str, until: float) -> None:
        since = self._since.pop(lane)
        self._busy.append(box(self._x[lane] - 4, since, 8, until - since, "busy"))

    def _boxed(
        self, x: float, lines: list[str], kind: str, *, heading: str | None = None, width: float = 0
    ) -> None:
        count = len(lines) + (heading is not None)
        height = LINE * count + _PADDING
        width = width or width_of(lines) + 2 * _PADDING
        self._front.append(box(x - width / 2, self._y, width, height, kind))
        baseline = self._y + LINE
        if heading is not None:
            self._front.append(text(x, baseline, heading, "ink strong"))
            baseline += LINE
        self._front += lines_of_text(x, baseline, lines)
        self._y += height + _GAP
