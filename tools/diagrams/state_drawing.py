"""Draws the states of a record, and the transitions between them, as SVG.

This module decides only the positions. The transitions and their labels come from ``states.py``.
"""

from idemproof.conformance.suite.svg import LINE, box, document, lines_of_text, path, text
from idemproof.spec.record import COMPLETED, EXPIRED, INPROGRESS

from .states import ABSENT, STATES, labels_between

Point = tuple[float, float]

TITLE = "The states of a record"
DESCRIPTION = (
    "Every state that a record can be in, and every event that leads from one to another. "
    "Each box lists the events that leave the record in its state."
)

_WIDTH, _HEIGHT = 268, 240
_LEFT, _RIGHT = 56, 576
_UPPER, _LOWER = 50, 410
_CORNERS: dict[str, Point] = {
    ABSENT: (_LEFT, _UPPER),
    INPROGRESS: (_RIGHT, _UPPER),
    COMPLETED: (_RIGHT, _LOWER),
    EXPIRED: (_LEFT, _LOWER),
}
_INNER, _OUTER = _LEFT + _WIDTH, _RIGHT
_MIDDLE = (_INNER + _OUTER) / 2
_ABOVE, _BELOW = _UPPER + _HEIGHT, _LOWER

_ROUTES: dict[tuple[str, str], tuple[list[Point], Point]] = {
    (ABSENT, INPROGRESS): ([(_INNER, 110), (_OUTER, 110)], (_MIDDLE, 102)),
    (INPROGRESS, ABSENT): ([(_OUTER, 170), (_INNER, 170)], (_MIDDLE, 162)),
    (INPROGRESS, COMPLETED): ([(660, _ABOVE), (660, _BELOW)], (670, 350)),
    (INPROGRESS, EXPIRED): ([(_OUTER, 258), (_INNER - 40, _BELOW)], (384, 322)),
    (EXPIRED, INPROGRESS): ([(_INNER, 428), (_OUTER + 40, _ABOVE)], (570, 380)),
    (EXPIRED, COMPLETED): ([(_INNER, 520), (_OUTER, 520)], (_MIDDLE, 512)),
    (COMPLETED, EXPIRED): ([(_OUTER, 580), (_INNER, 580)], (_MIDDLE, 572)),
    (EXPIRED, ABSENT): ([(80, _BELOW), (80, _ABOVE)], (92, 354)),
    (ABSENT, COMPLETED): (
        [(_LEFT, 170), (28, 170), (28, 672), (710, 672), (710, _LOWER + _HEIGHT)],
        (370, 664),
    ),
}
"""The path of each transition, and the position of the last line of its label."""


def state_svg() -> str:
    """Return the state diagram as SVG.

    Raises
    ------
    ValueError
        The table has a transition for which the diagram has no path.
    """
    between = labels_between()
    unplanned = [way for way in between if way[0] != way[1] and way not in _ROUTES]
    if unplanned:
        raise ValueError(f"The diagram has no place for the edges {unplanned}: add their paths.")
    ways: list[str] = []
    for (source, target), labels in between.items():
        if source != target:
            ways += _way(*_ROUTES[source, target], labels)
    boxes = [
        part for state in STATES for part in _state(state, STATES[state], between.get((state, state), []))
    ]
    return document(TITLE, DESCRIPTION, 700, ways + boxes)


def _way(course: list[Point], end_of_label: Point, labels: list[str]) -> list[str]:
    x, y = end_of_label
    sideways = len(course) == 2 and course[0][0] == course[1][0]  # noqa: PLR2004 - vertical: the label is on its right
    first = y - LINE * (len(labels) - 1)
    anchor = "start" if sideways else "middle"
    return [path(course, "line", arrow=True), *lines_of_text(x, first, labels, halo=True, anchor=anchor)]


def _state(state: str, meaning: str, stays: list[str]) -> list[str]:
    x, y = _CORNERS[state]
    middle = x + _WIDTH / 2
    return [
        box(x, y, _WIDTH, _HEIGHT, state),
        text(middle, y + 22, state, "ink strong"),
        text(middle, y + 22 + LINE, meaning, "quiet"),
        text(x + 14, y + 30 + 2 * LINE, "unchanged by:", "quiet", "start"),
        *lines_of_text(x + 14, y + 30 + 3 * LINE, stays, anchor="start"),
    ]
