"""Draw the ratios as a chart: a row for each case, a mark for each contestant, on a logarithmic axis."""

import math

from libraries import BARE, IDEMKIT, IDEMPROOF, POWERTOOLS
from measuring import Outcome, Summary

from idemproof.conformance.suite import svg

_COLOURS = {BARE: "lane", IDEMPROOF: "COMPLETED", POWERTOOLS: "body", IDEMKIT: "INPROGRESS"}

_OWNERS = {BARE: "the bare store's time", POWERTOOLS: "the time of Powertools"}

_LEFT, _RIGHT = 330, svg.WIDTH - 40
_TOP, _ROW, _MARK = 118, 26, 12

_Row = tuple[str, dict[str, Summary]]


def picture(outcomes: list[Outcome], reference: str) -> str | None:
    """Return the chart of times as multiples of those of ``reference``, or None without a comparison."""
    rows = [row for outcome in outcomes for row in _rows(outcome, reference)]
    if not rows:
        return None
    found = [value for _, ratios in rows for ratio in ratios.values() for value in ratio]
    low, high = math.floor(math.log2(min(*found, 1))), math.ceil(math.log2(max(*found, 1)))
    high = max(high, low + 1)

    def place(ratio: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (math.log2(ratio) - low) / (high - low)

    bottom = _TOP + _ROW * len(rows)
    parts = _legend(rows)
    for power in range(low, high + 1):
        x = place(2.0**power)
        parts.append(svg.path([(x, _TOP - 12), (x, bottom)], "line" if power == 0 else "life", arrow=False))
        parts.append(svg.text(x, _TOP - 20, _spelt(power), "quiet"))
    for number, (name, ratios) in enumerate(rows):
        y = _TOP + _ROW * number + _ROW / 2
        parts.append(svg.text(_LEFT - 16, y + 4, name, "ink", "end"))
        for contestant, ratio in ratios.items():
            parts.append(svg.path([(place(ratio.low), y), (place(ratio.high), y)], "line", arrow=False))
            corner = place(ratio.median) - _MARK / 2, y - _MARK / 2
            parts.append(svg.box(*corner, _MARK, _MARK, _COLOURS[contestant]))
    return svg.document(
        f"Time, as a multiple of {_OWNERS[reference]}",
        "A mark is the median of the rounds' ratios; its line spans the quartiles. Further left is faster.",
        bottom + 24,
        parts,
    )


def _rows(outcome: Outcome, reference: str) -> list[_Row]:
    """Return the cases that have a comparison with ``reference``, with the ratios."""
    if outcome.scenario.reference != reference or outcome.scenario.unit == "bytes":
        return []
    found = []
    for case in outcome.values:
        ratios = {
            name: ratio
            for name in _COLOURS
            if name != reference
            and not any((case, either) in outcome.wrong for either in (name, reference))
            and (ratio := outcome.ratio(case, name, reference))
        }
        if ratios:
            found.append((f"{outcome.scenario.name}: {case}", ratios))
    return found


def _spelt(power: int) -> str:
    return str(2**power) if power >= 0 else f"1/{2**-power}"


def _legend(rows: list[_Row]) -> list[str]:
    parts, x = [], 24.0
    for name, colour in _COLOURS.items():
        if any(name in ratios for _, ratios in rows):
            parts.append(svg.box(x, 56, _MARK, _MARK, colour))
            parts.append(svg.text(x + _MARK + 8, 67, name, "ink", "start"))
            x += _MARK + 30 + svg.width_of([name])
    return parts
