"""The page: self-contained, well-formed, escaped, and with a diagram of each finding."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from idemproof import Record
from idemproof.conformance.suite.html import page
from idemproof.conformance.suite.report import CheckResult, Finding, Report
from idemproof.conformance.suite.trace import CLOCK, NOT_LOOKED_AT, STORE, Line
from idemproof.conformance.suite.trace_diagram import diagram

CLAIM = Record("key", "INPROGRESS", 2, 1000, owner="alice")
RESULT = Record("key", "COMPLETED", 2, response_data='"<script>"', owner="bob")
TRACE = (
    Line(0, "client 1", "claims", CLAIM),
    Line(30_000, CLOCK, "30,000 ms pass", CLAIM),
    Line(30_000, STORE, "forgets", None),
    Line(30_500, "client 2", "completes with <b>&amp;", RESULT),
)
EVIL = '"><script>alert(1)</script>'
FINDING = Finding("a-check", "contract", ("CAS-4", "INV-1"), f"It let {EVIL} in.", TRACE, f"Software {EVIL}")


def report(*findings: Finding, **options: Any) -> Report:
    checks = (
        CheckResult("a-check", "contract", ("CAS-4",), "It asks.", "broken", None, findings, 12, 3, 0.5),
        CheckResult("b-check", "time", ("TIME-2",), "It asks.", "kept", None, (), 1, 0, 0.1),
        CheckResult("c-check", "time", ("TIME-3",), "It asks.", "not offered", f"no {EVIL}", (), 0, 0, 0),
    )
    made = Report(f"Layer {EVIL}", "quick", 7, "1.0", checks, notes=(f"It printed {EVIL}",))
    return made._replace(**options)


class Elements(HTMLParser):
    """Checks that elements are closed in order, and collects them with the text."""

    VOID = ("meta", "rect", "path", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.texts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data
        if self.open[-1:] == ["text"]:
            self.texts.append((self.seen[-1][1], data))

    def tags(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.seen if name == tag]


def test_the_page_is_self_contained() -> None:
    text = page(report(FINDING))
    elements = Elements(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert not {"script", "link", "img", "iframe", "b"} & {tag for tag, _ in elements.seen}
    assert not any("src" in attrs or "href" in attrs for _, attrs in elements.seen)
    assert "url(" not in text
    assert "http" not in text
    assert "prefers-color-scheme: dark" in text
    assert "@media (max-width: 720px)" in text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in elements.tags("meta")


def test_the_page_contains_all_findings_escaped() -> None:
    elements = Elements(page(report(FINDING), "idemproof check shop:layer"))
    said = " ".join(elements.text.split())
    for words in (
        f"Conformance of Layer {EVIL}",
        "BROKEN: 2 clauses (INV-1, CAS-4); 1 kept.",
        "idemproof check shop:layer",
        f"1. It let {EVIL} in.",
        f"Seen in: Software {EVIL}",
        "Found by a-check (contract).",
        "Two bodies of one key MUST NOT run under live leases at the same time.",
        f"not offered because no {EVIL}: c-check",
        f"It printed {EVIL}",
        "completes with <b>&amp;",
    ):
        assert words in said or words in "".join(said.split("  "))


def test_every_clause_has_its_line_with_verdict_and_text() -> None:
    text = page(report(FINDING))
    rows = dict(re.findall(r'<tr id="([A-Z]+-\d+)">.+?<span class="badge ([a-z-]+)">', text))
    assert rows == {"TIME-2": "kept", "TIME-3": "not-offered", "INV-1": "broken", "CAS-4": "broken"}
    assert "A record is live before its deadline" in text


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"checks": report().checks[1:2]}, "kept"), ({}, "broken"), ({"finished": False}, "not-judged")],
)
def test_the_verdict_has_its_colour(options: dict[str, Any], kind: str) -> None:
    made = report(*([FINDING] if kind == "broken" else []), **options)
    assert f'<p class="verdict {kind}">' in page(made)


def test_each_finding_has_a_diagram_for_desktops_and_one_for_phones() -> None:
    drawings = Elements(page(report(FINDING))).tags("svg")
    desktop, phone = (float(str(each["width"])) for each in drawings)
    assert desktop == 840
    assert 344 <= phone < 400
    assert all("It let" in str(each["aria-label"]) for each in drawings)
    assert Elements(page(report(FINDING._replace(lines=())))).tags("svg") == []


# The diagram.


def test_there_is_a_lane_for_each_actor_and_the_store() -> None:
    drawing = Elements(diagram(TRACE, 800, "a trace"))
    for words in ("client 1", "client 2", "stored", "claims", "30,000 ms pass", "the store forgets", "30 s"):
        assert words in drawing.text
    kinds = [each["class"] for each in drawing.tags("rect")]
    for status in ("INPROGRESS", "ABSENT", "COMPLETED", "jump", "busy"):
        assert status in kinds


def test_everything_is_inside_the_diagram() -> None:
    lines = [
        Line(3_600_000 + number, f"client {number}", "does " * 20 + "x" * 80, RESULT) for number in range(6)
    ]
    for width in (344, 840):
        drawing = Elements(diagram(lines, width, "many"))
        (svg,) = drawing.tags("svg")
        _, _, wide, high = map(float, str(svg["viewbox"]).split())
        assert wide >= width
        for each in drawing.tags("rect"):
            x, y, w, h = (float(str(each[name])) for name in ("x", "y", "width", "height"))
            assert x >= 0
            assert x + w <= wide
            assert y + h <= high
        for each in drawing.tags("text"):
            assert 0 <= float(str(each["y"])) <= high
            if each["text-anchor"] == "end":
                assert float(str(each["x"])) >= 7 * len("3,600,005 ms")


@pytest.mark.parametrize("width", [344, 840])
def test_times_are_not_clipped_and_heads_stay_in_their_boxes(width: int) -> None:
    wide = 9.0  # of a letter such as m, in a wide font
    lines = [Line(0, who, "looks", None) for who in ("the final reader", "a new layer object")]
    drawing = Elements(diagram([*lines, *TRACE], width, "long names"))
    times = [(each, words) for each, words in drawing.texts if words.endswith((" ms", " s"))]
    assert times
    for each, words in times:
        right = float(str(each["x"])) + (0 if each["text-anchor"] == "end" else wide * len(words))
        assert right >= 0.85 * wide * len(words)
    heads = [each for each in drawing.tags("rect") if each["class"] == "lane"]
    bottom = max(float(str(each["y"])) + float(str(each["height"])) for each in heads)
    narrowest = min(float(str(each["width"])) for each in heads)
    strong = [(each, words) for each, words in drawing.texts if "strong" in str(each["class"])]
    assert len(strong) > len(heads)
    for each, words in strong:
        assert 7.5 * len(words) <= narrowest
        assert float(str(each["y"])) < bottom


def test_a_status_is_never_broken_in_two() -> None:
    many = [
        Line(0, f"client {number}", "looks", current) for number in range(6) for current in (CLAIM, RESULT)
    ]
    text = diagram(many, 344, "narrow")
    assert text.count(">INPROGRESS") == text.count(">COMPLETED") == 6


def test_the_stored_record_is_shown_where_it_changes() -> None:
    drawing = Elements(diagram([TRACE[0], TRACE[0], TRACE[3]], 800, "a trace"))
    assert drawing.text.count("INPROGRESS of alice") == 1
    assert drawing.text.count("COMPLETED of bob") == 1


def test_a_trace_without_looks_has_no_lane_for_the_store() -> None:
    unseen = [line._replace(current=NOT_LOOKED_AT) for line in TRACE]
    assert "stored" not in Elements(diagram(unseen, 800, "a trace")).text
    assert "the store forgets" in Elements(diagram(unseen[1:3], 800, "a trace")).text
