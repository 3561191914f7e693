"""Each clause has one permanent address on the site, and a page that mentions it links there."""

import logging
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from idemproof.conformance.clauses import clauses_of, protocol_text
from pages import pages, site_hook

pytestmark = pytest.mark.once

RECORDED = Path(__file__).with_name("anchors.txt")
PROTOCOL = "project/idemproof/spec/protocol.md"
ANCHOR = re.compile(r"\{ #([\w-]+) \.clause \}")
TEXT = protocol_text()


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    return site_hook("clauses")


class Files:
    """The files of a site: a page, and the protocol."""

    def __init__(self, text: str = TEXT) -> None:
        self.protocol = SimpleNamespace(
            src_uri=PROTOCOL, dest_uri="project/idemproof/spec/protocol.html", content_string=text
        )

    def get_file_from_path(self, path: str) -> Any:
        return self.protocol if path == PROTOCOL else None


def page(path: str) -> Any:
    return SimpleNamespace(file=SimpleNamespace(src_uri=f"{path}.md", dest_uri=f"{path}.html"))


def linked(hook: ModuleType, content: str, path: str = "explanation/time") -> str:
    files = hook.on_files(Files(), None)
    shown: str = hook.on_page_content(content, page(path), files)
    return re.sub(r' title="[^"]*"', "", shown)


def anchors(hook: ModuleType) -> list[str]:
    protocol = SimpleNamespace(file=Files().protocol)
    return ANCHOR.findall(hook.on_page_markdown(TEXT, protocol))


def test_every_clause_has_exactly_one_anchor(hook: ModuleType) -> None:
    assert anchors(hook) == [clause.lower() for clause in clauses_of(TEXT)]
    assert len(set(anchors(hook))) == len(anchors(hook))


def test_an_anchor_that_was_published_stays(hook: ModuleType) -> None:
    recorded = [line for line in RECORDED.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert sorted(set(recorded)) == sorted(recorded)
    gone = sorted(set(recorded) - set(anchors(hook)))
    assert gone == [], "others link to these clauses: keep each id, and say that the clause is withdrawn"
    new = sorted(set(anchors(hook)) - set(recorded))
    assert new == [], f"add these anchors to {RECORDED.name}"


def test_an_anchor_survives_rewording(hook: ModuleType) -> None:
    protocol = SimpleNamespace(file=Files().protocol)
    reworded = "- **INV-1** Other words MUST NOT move it.\n\n| ROW-3 | a | b | c | d |\n"
    assert ANCHOR.findall(hook.on_page_markdown(reworded, protocol)) == ["inv-1", "row-3"]


def test_an_anchor_is_shown_as_a_link_to_itself(hook: ModuleType) -> None:
    shown = hook.on_page_markdown("- **INV-1** One MUST.\n", SimpleNamespace(file=Files().protocol))
    assert shown == '- **[INV-1](#inv-1 "Permanent link to INV-1"){ #inv-1 .clause }** One MUST.\n'


def test_other_pages_are_not_given_anchors(hook: ModuleType) -> None:
    assert hook.on_page_markdown("- **INV-1** Quoted.\n", page("evidence")) == "- **INV-1** Quoted.\n"


def test_a_mention_is_a_link_that_shows_the_clause(hook: ModuleType) -> None:
    files = hook.on_files(Files('- **INV-1** A "body" MUST.\n'), None)
    assert hook.on_page_content("<p>See INV-1.</p>", page("explanation/time"), files) == (
        '<p>See <a class="clause" href="../protocol/index.html#inv-1" '
        'title="A &quot;body&quot; MUST.">INV-1</a>.</p>'
    )


def test_a_mention_in_the_protocol_stays_on_its_page(hook: ModuleType) -> None:
    files = hook.on_files(Files(), None)
    own = SimpleNamespace(file=files.protocol)
    shown = hook.on_page_content("<p>(REC-6)</p>", own, files)
    assert 'href="#rec-6"' in shown


@pytest.mark.parametrize(
    "content",
    [
        "<h2>ROW-1, ROW-2</h2>",
        "<pre><span>idemproof spec ROW-7</span></pre>",
        "<p><code>ROW-7</code></p>",
        '<p><a href="x.html"><em>ROW-7</em></a></p>',
        '<p id="ROW-7">no mention</p>',
        "<!-- ROW-7 -->",
        "<p>RFC-2119, X-ROW-7, ROW-7-b</p>",
    ],
)
def test_code_headings_and_links_stay(hook: ModuleType, content: str) -> None:
    assert linked(hook, content) == content


def test_text_after_code_is_linked(hook: ModuleType) -> None:
    shown = linked(hook, "<p><code>x</code> ENG-3 to ENG-5<br/></p><td>ROW-7</td>")
    assert re.findall(r'index\.html#([\w-]+)"', shown) == ["eng-3", "eng-5", "row-7"]


def test_a_mention_of_no_clause_fails_the_build(hook: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert linked(hook, "<p>ROW-99</p>") == "<p>ROW-99</p>"
    assert caplog.messages == ["explanation/time.md mentions ROW-99, which is no clause"]


def test_an_anchor_that_is_not_rendered_fails_the_build(
    hook: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    files = hook.on_files(Files("- **INV-1** One MUST.\n"), None)
    own = SimpleNamespace(file=files.protocol)
    with caplog.at_level(logging.WARNING):
        hook.on_page_content('<li><a id="inv-1">', own, files)
        assert caplog.messages == []
        hook.on_page_content("<li>", own, files)
        hook.on_page_content('<li><a id="inv-1"><a id="inv-1">', own, files)
    assert caplog.messages == ["the page of the protocol must have one anchor #inv-1"] * 2


def test_pages_mention_only_clauses_that_exist() -> None:
    clauses = clauses_of(TEXT)
    mention = re.compile(rf"\b(?:{'|'.join({name.partition('-')[0] for name in clauses})})-\d+\b")
    mentioned = {
        (path.name, found) for path in pages() for found in mention.findall(path.read_text(encoding="utf-8"))
    }
    assert len(mentioned) > 100
    assert [(name, found) for name, found in sorted(mentioned) if found not in clauses] == []


def test_no_page_links_to_a_clause_by_hand() -> None:
    """A mention is a link already, and one by hand would work on the site only."""
    wanted = {clause.lower() for clause in clauses_of(TEXT)}
    by_hand = [
        (path.name, found)
        for path in pages()
        for found in re.findall(r"protocol\.md#([\w-]+)", path.read_text(encoding="utf-8"))
        if found in wanted
    ]
    assert by_hand == []
