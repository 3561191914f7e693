"""Gives each clause of the protocol a permanent address, and links to it wherever a page mentions it.

The address of INV-1 is ``protocol/#inv-1``. It is made from the id alone, so it survives any change of words.
"""

from __future__ import annotations

import html
import logging
import posixpath
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

logger = logging.getLogger("mkdocs.hooks.clauses")
PROTOCOL = "project/idemproof/spec/protocol.md"
ADDRESS = "protocol/index.html"
DEFINED = re.compile(
    r"^(?:- \*\*(?P<bullet>[A-Z]+-\d+)\*\* (?P<text>.+)|\| (?P<row>[A-Z]+-\d+) \| (?P<cells>.+) \|)$",
    re.MULTILINE,
)
TAG = re.compile(r"(<!--.*?-->|<[^>]*>)", re.DOTALL)
WITHOUT_LINKS = re.compile(r"<(?P<end>/?)(?:a|code|pre|h[1-6]|script|style|svg|title)\b")


def on_files(files: Files, config: MkDocsConfig) -> Files:  # noqa: ARG001 - given by name
    """Give the protocol a short address."""
    protocol = files.get_file_from_path(PROTOCOL)
    assert protocol is not None
    protocol.dest_uri = ADDRESS
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Make the id of each clause of the protocol an anchor, and a link to itself."""
    if page.file.src_uri != PROTOCOL:
        return markdown
    return DEFINED.sub(_with_anchor, markdown)


def on_page_content(content: str, page: Page, files: Files, **_: object) -> str:
    """Link the ids of clauses that a page mentions, and warn of ids that no clause has."""
    protocol = files.get_file_from_path(PROTOCOL)
    assert protocol is not None
    clauses = clauses_of(protocol.content_string)
    if page.file is protocol:
        for clause in clauses:
            if content.count(f'id="{anchor(clause)}"') != 1:
                logger.warning("the page of the protocol must have one anchor #%s", anchor(clause))
    here = posixpath.dirname(page.file.dest_uri) or "."
    way = "" if page.file is protocol else posixpath.relpath(protocol.dest_uri, here)
    families = "|".join(sorted({clause.partition("-")[0] for clause in clauses}))
    mention = re.compile(rf"(?<![\w-])(?:{families})-\d+\b(?!-)")

    def linked(found: re.Match[str]) -> str:
        text = clauses.get(found[0])
        if text is None:
            logger.warning("%s mentions %s, which is no clause", page.file.src_uri, found[0])
            return found[0]
        title = html.escape(text, quote=True)
        return f'<a class="clause" href="{way}#{anchor(found[0])}" title="{title}">{found[0]}</a>'

    pieces, depth = [], 0
    for piece in TAG.split(content):
        if not piece.startswith("<"):
            pieces.append(piece if depth else mention.sub(linked, piece))
            continue
        quiet = WITHOUT_LINKS.match(piece)
        if quiet is not None and not piece.endswith("/>"):
            depth += -1 if quiet["end"] else 1
        pieces.append(piece)
    return "".join(pieces)


def anchor(clause: str) -> str:
    """Return the anchor of a clause."""
    return clause.lower()


@cache
def clauses_of(protocol: str) -> dict[str, str]:
    """Return the text of each clause, as a link shows it when the pointer is on it."""
    return {
        found["bullet"] or found["row"]: found["text"] or _row(found["cells"])
        for found in DEFINED.finditer(protocol)
    }


def _row(cells: str) -> str:
    event, when, then, outcome = cells.split(" | ")
    return f"{event}, {when}: {then}; {outcome}"


def _with_anchor(found: re.Match[str]) -> str:
    clause = found["bullet"] or found["row"]
    link = f'[{clause}](#{anchor(clause)} "Permanent link to {clause}"){{ #{anchor(clause)} .clause }}'
    return found[0].replace(clause, link, 1)
