"""Generates the diagrams of the documentation from the specification and the engine."""

from pathlib import Path

from . import state_drawing
from .flow_drawing import mermaid, svg
from .flows import record_flows
from .state_drawing import state_svg
from .states import state_diagram

INDEX = "README.md"

_INTRODUCTION = """\
# Diagrams

All diagrams are generated. The states are computed from the
[transition table](../../idemproof/spec/protocol.md#the-transition). The flows are recorded while the
production engine runs in a simulation. A test fails if a diagram is stale.
`python tools/regenerate.py diagrams` regenerates all of them.

In the flows, a claim, a completion and a release are compare-and-swaps. Each request names the row of the
table that proposed it. If the store had a different record, the worker's lane shows the row that decided.
"""


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - they come from the code
    """Return the text of every file of ``docs/diagrams``, by its name."""
    files: dict[str, str] = {}
    index = [_INTRODUCTION]

    def add(name: str, title: str, sentence: str, mermaid_text: str, svg_text: str) -> None:
        files[f"{name}.mmd"] = mermaid_text
        files[f"{name}.svg"] = svg_text
        index.append(
            f"## {title}\n\n{sentence} ([SVG]({name}.svg))\n\n```mermaid\n{mermaid_text}```\n",
        )

    add("states", state_drawing.TITLE, _STATES_SENTENCE, state_diagram(), state_svg())
    for flow in record_flows():
        add(flow.name, flow.title, flow.sentence, mermaid(flow), svg(flow))
    files[INDEX] = "\n".join(index)
    return files


_STATES_SENTENCE = "All states of a record, and the events that change them."
