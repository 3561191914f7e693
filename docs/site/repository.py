"""Puts what pages link to in the repository, but outside this folder, into the site.

A page keeps the links that work where it is read in the repository; the site has the same files below
``project/``, and links are led there.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
OUTSIDE = "project/"
PAGES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "idemproof/spec/README.md",
    "idemproof/spec/protocol.md",
    "idemproof/spec/vectors/README.md",
)
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r" \(\[SVG\]\((?P<file>[\w-]+\.svg)\)\)\n\n```mermaid\n.*?\n```", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and what any page links to."""
    for path in PAGES:
        files.append(_file(path, config))
    for page in files.documentation_pages():
        for path in _linked(page.src_uri, page.content_string):
            if (
                not path.startswith("docs/")
                and (ROOT / path).is_file()
                and not files.src_uris.get(OUTSIDE + path)
            ):
                files.append(_file(path, config))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - given by name
    """Rewrite links to the paths of the site, and embed diagrams as images."""
    source = page.file.src_uri

    def led(link: re.Match[str]) -> str:
        path = _in_repository(source, link["path"])
        if not (ROOT / path).is_file():
            return link[0]
        target = path.removeprefix("docs/") if path.startswith("docs/") else OUTSIDE + path
        return posixpath.relpath(target, posixpath.dirname(source) or ".") + (link["anchor"] or "")

    markdown = PICTURE.sub(r"\n\n![](\g<file>)", markdown)
    pieces = re.split(f"({FENCE.pattern})", markdown, flags=FENCE.flags)
    return "".join(piece if piece.startswith("```") else LINK.sub(led, piece) for piece in pieces)


def _file(path: str, config: MkDocsConfig) -> File:
    return File.generated(config, OUTSIDE + path, abs_src_path=str(ROOT / path))


def _in_repository(source: str, path: str) -> str:
    """Return the path in the repository that a link on a page of the site means."""
    own = source.removeprefix(OUTSIDE) if source.startswith(OUTSIDE) else "docs/" + source
    named = posixpath.normpath(posixpath.join(posixpath.dirname(own), path))
    package = posixpath.join(named, "__init__.py")
    return package if (ROOT / package).is_file() else named


def _linked(source: str, markdown: str) -> set[str]:
    return {_in_repository(source, link["path"]) for link in LINK.finditer(FENCE.sub("", markdown))}
