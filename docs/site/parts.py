"""Keeps the navigation short: a page outside it is part of a page inside it, and links to it.

``extra.parts`` of ``mkdocs.yml`` lists the parts of each page. Every page is in the navigation or a part.
"""

import logging
import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page
from mkdocs.utils.templates import TemplateContext

logger = logging.getLogger("mkdocs.hooks.parts")
HEADING = re.compile(r"^# (.+)$", re.MULTILINE)


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> None:
    """Warn of pages that no reader finds, and of parts that are not there."""
    hubs = _hubs(config)
    listed = {page.file.src_uri for page in nav.pages}
    existing = {file.src_uri for file in files.documentation_pages()}
    for path in sorted(existing - listed - set(hubs)):
        logger.warning("%s is in no navigation: add it to nav, or to a page's parts, in mkdocs.yml", path)
    for path in sorted(set(hubs) - existing | set(hubs.values()) - listed | set(hubs) & listed):
        logger.warning("%s of extra.parts in mkdocs.yml is no part of a page in nav", path)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link a part to its page, below the heading, and a page to its parts, at its end."""
    own = page.file.src_uri
    hub = files.get_file_from_path(_hubs(config).get(own, ""))
    if hub is not None:
        line = f"[Part of: {_title(hub)}]({_way(own, hub)}){{ .part }}"
        markdown = HEADING.sub(lambda heading: f"{heading[0]}\n\n{line}", markdown, count=1)
    parts = [files.get_file_from_path(part) for part in config.extra["parts"].get(own, [])]
    links = " · ".join(f"[{_title(part)}]({_way(own, part)})" for part in parts if part is not None)
    return f"{markdown}\n\n---\n\n**Related pages:** {links}\n" if links else markdown


def on_page_context(context: TemplateContext, page: Page, config: MkDocsConfig, nav: Navigation) -> None:  # noqa: ARG001 - given by name
    """Lead the footer of a part to its page and to its other parts, and show where it belongs."""
    hub = _hubs(config).get(page.file.src_uri)
    if hub is not None:
        pages = {file.src_uri: file.page for file in _FILES}
        _activate(pages[hub], active=True)
        row = [hub, *config.extra["parts"][hub]]
        place = row.index(page.file.src_uri)
        page.previous_page = pages[row[place - 1]]
        page.next_page = pages[row[place + 1]] if place + 1 < len(row) else None


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Let the next page begin with a navigation in which nothing is active."""
    hub = _hubs(config).get(page.file.src_uri)
    for file in _FILES:
        if file.src_uri == hub:
            _activate(file.page, active=False)
    return output


def _activate(page: Page | None, *, active: bool) -> None:
    if page is not None:
        page.active = active


_FILES: list[File] = []


def on_env(env: object, config: MkDocsConfig, files: Files) -> None:  # noqa: ARG001 - given by name
    """Remember the pages, which are all read by now."""
    _FILES[:] = files.documentation_pages()


def _hubs(config: MkDocsConfig) -> dict[str, str]:
    return {part: hub for hub, parts in config.extra["parts"].items() for part in parts}


def _way(own: str, to: File) -> str:
    return posixpath.relpath(to.src_uri, posixpath.dirname(own) or ".")


def _title(file: File) -> str:
    heading = HEADING.search(file.content_string)
    return heading[1] if heading else file.name
