"""Draws the pictures of the documentation from the specification and the engine as they are.

``python -m diagrams``, at the top of the repository, writes ``docs/diagrams``; with
``--check`` it writes nothing, and tells what is stale.
"""

import argparse
import sys
from pathlib import Path

import generated

from . import state_drawing
from .flow_drawing import mermaid, svg
from .flows import record_flows
from .state_drawing import state_svg
from .states import state_diagram

FOLDER = Path("docs") / "diagrams"
INDEX = "README.md"

_INTRODUCTION = """\
# Pictures

Nothing here is drawn by hand. The states are computed from the
[transition table](../../spec/protocol.md#the-transition); the flows were recorded while the production engine
ran them in a simulated world. A test fails when a picture is stale;
`python -m diagrams` draws them all anew.

In the flows, a claim, a completion and a release are compare-and-swaps. Each request carries the row that
proposed it; if something else stood in the store, the row that decided then is in the worker's lane.
"""


def pictures() -> dict[str, str]:
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


def stale(folder: Path) -> list[str]:
    """Return the names of files in ``folder`` that are missing, differ, or are no longer drawn."""
    return sorted(generated.stale(folder, pictures(), alone=True))


def write(folder: Path) -> None:
    """Write every picture into ``folder``."""
    generated.write(folder, pictures())


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures, or check them, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m diagrams", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if any is stale")
    if not parser.parse_args(arguments).check:
        write(FOLDER)
    found = stale(FOLDER)
    for name in found:
        sys.stderr.write(f"stale: {FOLDER / name}\n")
    return 1 if found else 0
