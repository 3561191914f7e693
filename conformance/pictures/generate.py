"""Generates the diagrams of the documentation from the specification and the engine.

``python -m idemproof.conformance.pictures``, at the top of the repository, writes ``docs/diagrams``; with
``--check`` it writes nothing, and lists stale files.
"""

import argparse
import sys
from pathlib import Path

from ...spec.diagrams import state_diagram
from .. import generated
from . import state_drawing
from .flow_drawing import mermaid, svg
from .flows import record_flows
from .state_drawing import state_svg

FOLDER = Path("docs") / "diagrams"
INDEX = "README.md"

_INTRODUCTION = """\
# Diagrams

All diagrams are generated. The states are computed from the
[transition table](../../spec/protocol.md#the-transition). The flows are recorded while the production engine
runs in a simulation. A test fails if a diagram is stale. `python -m idemproof.conformance.pictures`
regenerates all of them.

In the flows, a claim, a completion and a release are compare-and-swaps. Each request names the row of the
table that proposed it. If the store had a different record, the worker's lane shows the row that decided.
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


_STATES_SENTENCE = "All states of a record, and the events that change them."


def stale(folder: Path) -> list[str]:
    """Return the names of files in ``folder`` that are missing, differ, or are no longer generated."""
    return sorted(generated.stale(folder, pictures(), alone=True))


def write(folder: Path) -> None:
    """Write every diagram into ``folder``."""
    generated.write(folder, pictures())


def main(arguments: list[str] | None = None) -> int:
    """Write the diagrams, or check them, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m idemproof.conformance.pictures", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if any is stale")
    if not parser.parse_args(arguments).check:
        write(FOLDER)
    found = stale(FOLDER)
    for name in found:
        sys.stderr.write(f"stale: {FOLDER / name}\n")
    return 1 if found else 0
