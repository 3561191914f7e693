"""Draws the diagrams of the documentation from the specification and the engine as they are."""

from pathlib import Path

from . import state_drawing
from .flow_drawing import mermaid, svg
from .flows import record_flows
from .state_drawing import state_svg
from .states import state_diagram

INDEX = "README.md"

_INTRODUCTION = """\
# Pictures

Nothing here is drawn by hand. The states are computed from the
[transition table](../../idemproof/spec/protocol.md#the-transition); the flows were recorded while the
production engine ran them in a simulated world. A test fails when a diagram is stale;
`python tools/regenerate.py diagrams` draws them all anew.

In the flows, a claim, a completion and a release are compare-and-swaps. Each request carries the row that
proposed it; if something else stood in the store, the row that decided then is in the worker's lane.
"""


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - they come from the code
    """Return the text of every file of ``docs/diagrams``, by its name."""
    files: dict[str, str] = {}
    index = [_INTRODUCTION]

    def add(name: str, title: str, sentence: str, diagram: str, picture: str) -> None:
        files[f"{name}.mmd"] = diagram
        files[f"{name}.svg"] = picture
        index.append(
            f"## {title}\n\n{sentence} ([SVG]({name}.svg))\n\n```mermaid\n{diagram}```\n",
        )

    add("states", state_drawing.TITLE, _STATES_SENTENCE, state_diagram(), state_svg())
    for flow in record_flows():
        add(flow.name, flow.title, flow.sentence, mermaid(flow), svg(flow))
    files[INDEX] = "\n".join(index)
    return files


_STATES_SENTENCE = "Every state that a record can be in, and every event that leads from one to another."
