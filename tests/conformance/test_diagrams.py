"""The diagrams match the specification and the engine, and are complete and legible."""

import re
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from diagrams import state_drawing
from diagrams.flow_drawing import mermaid, svg
from diagrams.flows import record_flows
from diagrams.generate import INDEX, files
from diagrams.recorder import Flow, Message, Note, Stored
from diagrams.states import STATES, edges, label
from idemproof.conformance.suite.svg import WIDTH, wrapped

ROOT = Path(__file__).resolve().parents[2]
FLOWS = {flow.name: flow for flow in record_flows()}
DRAWN = files(ROOT)
SVGS = [name for name in DRAWN if name.endswith(".svg")]
SVG = "{http://www.w3.org/2000/svg}"

each_flow = pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)


# The files.


def test_there_is_a_text_and_a_diagram_of_everything() -> None:
    assert set(DRAWN) == {INDEX} | {f"{name}{end}" for name in ["states", *FLOWS] for end in (".mmd", ".svg")}


def test_the_index_has_every_diagram_and_leads_to_every_diagram() -> None:
    index = DRAWN[INDEX]
    blocks = re.findall(r"^```mermaid\n(.+?)^```$", index, re.MULTILINE | re.DOTALL)
    assert sorted(blocks) == sorted(text for name, text in DRAWN.items() if name.endswith(".mmd"))
    targets = re.findall(r"\]\(([^)#]+)", index)
    assert set(SVGS) <= set(targets)
    for target in targets:
        assert (ROOT / "docs" / "diagrams" / target).exists(), target


# The drawings.

LANE = r"Client|Store|Worker\d"
LINES = (
    rf"participant (?:{LANE}) as [\w ]+",
    rf"(?:{LANE})-?->>(?:{LANE}): [^;#]+",
    rf"Note over (?:{LANE})(?:,(?:{LANE}))?: [^;#]+",
)


@each_flow
def test_the_mermaid_text_is_well_formed_and_complete(flow: Flow) -> None:
    first, *lines = mermaid(flow).splitlines()
    assert first == "sequenceDiagram"
    for line in lines:
        assert any(re.fullmatch("    " + form, line) for form in LINES), line
        assert not re.search(r"\bend\b", line), line
    assert len(lines) == len(flow.lanes) + len(flow.steps)


def words(diagram: str) -> str:
    """Return the distinct texts of a diagram."""
    texts = ET.fromstring(diagram).iter(f"{SVG}text")
    return " ".join(str(item.text) for item in texts if item.get("class") != "halo")


@each_flow
def test_the_diagram_contains_every_step(flow: Flow) -> None:
    written = words(svg(flow))
    for step in flow.steps:
        texts = [step.state, *step.details] if isinstance(step, Stored) else [step.text]
        for text in texts:
            assert text in written
    assert sum(
        item.get("marker-end") is not None for item in ET.fromstring(svg(flow)).iter(f"{SVG}path")
    ) == sum(isinstance(step, Message) for step in flow.steps)


def test_the_diagram_of_the_states_has_every_edge() -> None:
    diagram = DRAWN["states.svg"]
    written = words(diagram)
    for edge in edges():
        assert label(edge) in written
    assert all(state in written for state in STATES)
    arrows = [item for item in ET.fromstring(diagram).iter(f"{SVG}path") if item.get("marker-end")]
    assert len(arrows) == len({(e.source, e.target) for e in edges() if e.source != e.target})


def test_an_edge_without_a_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    way = {("COMPLETED", "ABSENT"): ["Evict ROW-14, Evicted"]}
    monkeypatch.setattr(state_drawing, "labels_between", lambda: way)
    with pytest.raises(ValueError, match=r"no place for the edges \[\('COMPLETED', 'ABSENT'\)\]"):
        state_drawing.state_svg()


@pytest.mark.parametrize("name", SVGS)
def test_an_svg_is_self_contained_described_and_has_both_colour_schemes(name: str) -> None:
    text = DRAWN[name]
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.get("width") == str(WIDTH)
    for part in ("title", "desc"):
        described = root.find(f"{SVG}{part}")
        assert described is not None
        assert described.text
    assert text.count("http") == 1  # its own namespace: nothing is fetched
    assert "url(" not in text.replace("url(#tip)", "")
    assert "@import" not in text
    style = str(root.findtext(f"{SVG}style"))
    assert "@media (prefers-color-scheme: dark)" in style
    light, dark = style.split("@media")
    used = {kind for item in root.iter() for kind in (item.get("class") or "").split()}
    for kind in used - {"title", "strong", "reply"}:
        assert f".{kind} {{" in light, kind
        assert f".{kind} {{" in dark, kind


class Area(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Area") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def within(self, other: "Area") -> bool:
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )


def boxes(name: str) -> list[Area]:
    """Return the areas of the boxes, without the background and the activity bars."""
    found = []
    for item in ET.fromstring(DRAWN[name]).iter(f"{SVG}rect"):
        if item.get("class") not in ("paper", "busy"):
            x, y, width, height = (float(item.get(part, "")) for part in ("x", "y", "width", "height"))
            found.append(Area(x, y, x + width, y + height))
    return found


def writings(name: str) -> list[Area]:
    """Return the areas of the texts, for a wide font."""
    found = []
    for item in ET.fromstring(DRAWN[name]).iter(f"{SVG}text"):
        if item.get("class") != "halo":
            x, y = float(item.get("x", "")), float(item.get("y", ""))
            width = len(str(item.text)) * 7
            left = x - width / 2 if item.get("text-anchor") == "middle" else x
            found.append(Area(left, y - 10, left + width, y + 3))
    return found


@pytest.mark.parametrize("name", SVGS)
def test_nothing_is_drawn_outside_the_diagram(name: str) -> None:
    sheet = Area(0, 0, WIDTH, float(ET.fromstring(DRAWN[name]).get("height", "")))
    assert [area for area in boxes(name) + writings(name) if not area.within(sheet)] == []


@pytest.mark.parametrize("name", SVGS)
def test_boxes_and_texts_do_not_overlap(name: str) -> None:
    for areas in (boxes(name), writings(name)):
        assert [(one, other) for one, other in combinations(areas, 2) if one.meets(other)] == []


@pytest.mark.parametrize("name", SVGS)
def test_text_does_not_cross_the_border_of_a_box(name: str) -> None:
    crossing = [
        (words, frame)
        for words, frame in product(writings(name), boxes(name))
        if words.meets(frame) and not words.within(frame)
    ]
    assert crossing == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a word", ["a word"]),
        ("two words here", ["two words", "here"]),
        ("unbreakablyLong", ["unbreakabl", "yLong"]),
        ("an unbreakablyLong one", ["an", "unbreakabl", "yLong one"]),
    ],
)
def test_text_is_wrapped_to_the_available_width(text: str, lines: list[str]) -> None:
    assert wrapped(text, 72) == lines


def test_text_is_escaped() -> None:
    flow = FLOWS["successful"]._replace(title="a < b & c", steps=(Note("Worker 1", "body", '<&">'),))
    root = ET.fromstring(svg(flow))
    assert root.findtext(f"{SVG}title") == "a < b & c"
    assert '<&">' in words(svg(flow))
