"""Draws what `idemproof demo` prints: the same deliveries without protection, and with it.

A test compares the diagram with the output of a run.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROW = re.compile(r"^pay_\w+ +[\d.]+ [A-Z]{3} +(\d+) x +(\d+) x +(\d+) x ", re.MULTILINE)
_WIDTH, _LEFT, _STEP, _RADIUS = 600, 28, 43, 9

STYLE = """
.card { fill: #ffffff; stroke: #d0d7de }
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
.name { font-size: 18px; font-weight: 600 }
.what { font-size: 16px; fill: #59636e }
.bad { fill: #cf222e }
.good { fill: #1a7f37 }
.first { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
  .card { fill: #0d1117; stroke: #3d444d }
  text { fill: #f0f6fc }
  .what { fill: #9198a1 }
  .bad { fill: #f85149 }
  .good { fill: #3fb950 }
  .first { fill: #656c76 }
}
"""


def drawn(output: str) -> str:
    """Return the diagram of what the demo has printed: a column for each payment, a dot for each charge.

    Parameters
    ----------
    output
        The demo's output.
    """
    rows = [tuple(map(int, row)) for row in ROW.findall(output)]
    if not rows:
        raise ValueError("the demo has printed no ledger")
    delivered, unprotected, protected = (list(column) for column in zip(*rows, strict=True))
    parts: list[str] = []
    what = f"{sum(delivered)} webhook deliveries of {len(rows)} payments; a worker is killed"
    parts.append(_text(36, what, "what"))
    middle = _run(parts, 74, "Without protection", unprotected, "first")
    bottom = _run(parts, middle + 24, "With Idemproof", protected, "good")
    parts.append(_text(bottom + 22, "each column is a payment, each dot is a charge", "what"))
    height = bottom + 42
    title = f"{_summary(unprotected)} without protection, {_summary(protected)} with Idemproof"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img"><title>{title}</title><style>{STYLE}</style>\n'
        f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _run(parts: list[str], top: int, name: str, charges: list[int], first: str) -> int:
    """Draw one run, and return where it ends."""
    harm = any(count > 1 for count in charges)
    parts.append(_text(top, name, "name"))
    parts.append(_text(top, _summary(charges), "what bad" if harm else "what good", x=250))
    base = top + 2 + max(charges) * (2 * _RADIUS + 4)
    for column, count in enumerate(charges):
        for charge in range(count):
            x, y = _LEFT + _RADIUS + column * _STEP, base - charge * (2 * _RADIUS + 4)
            parts.append(f'<circle class="{"bad" if charge else first}" cx="{x}" cy="{y}" r="{_RADIUS}"/>')
    return base + _RADIUS + 12


def _summary(charges: list[int]) -> str:
    return f"{sum(count > 1 for count in charges)} of {len(charges)} charged more than once"


def _text(y: int, words: str, style: str, x: int = _LEFT) -> str:
    return f'<text class="{style}" x="{x}" y="{y}">{words}</text>'


def printed() -> str:
    """Run the demo, and return what it prints on a terminal of 80 columns without colours."""
    environment = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    command = [sys.executable, "-m", "idemproof", "demo"]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", check=True, env=environment | {"COLUMNS": "80"}
    ).stdout


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - it comes from the demo
    """Run the demo, and return the diagram by its name."""
    return {"contrast.svg": drawn(printed())}
