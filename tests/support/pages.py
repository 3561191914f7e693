"""Reading the pages of the documentation: tables, links, headings, and what they include."""

import importlib.util
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^ *(`{3,}).*?^ *\1$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_OBJECT = re.compile(r"^::: +(\S+)", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_SNIPPET = re.compile(r'^ *--8<-- "([^"]+)"$', re.MULTILINE)
_LIKE_A_SNIPPET = re.compile(r"^ *-- *8.*$", re.MULTILINE)


class Link(NamedTuple):
    """A link to a file of the repository; ``anchor`` is empty for one to the whole of it."""

    text: str
    target: Path
    anchor: str


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


def rows(page: Path, first: str) -> list[list[str]]:
    """Return the cells of all tables whose first column is headed ``first``."""
    found = []
    wanted = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            wanted = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if wanted and set(cells[0]) != {"-"}:
            found.append(cells)
        wanted = wanted or cells[0] == first
    return found


def links(markdown: str, page: Path) -> Iterator[Link]:
    """Yield the links of a page, or of a part of it, into the repository."""
    for text, path, anchor in _LINK.findall(_FENCE.sub("", markdown)):
        yield Link(text, (page.parent / path).resolve() if path else page, anchor)


def anchors(page: Path) -> set[str]:
    """Return what a page's headings are found by, as Python-Markdown makes it of them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set(_OBJECT.findall(text))
    for heading in _HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        ascii_only = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        slug = original = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower())
        again = 0
        while slug in found:
            again += 1
            slug = f"{original}_{again}"
        found.add(slug)
    return found


def included(page: Path) -> set[str]:
    """Return the files that a page shows, as paths in the repository."""
    text = page.read_text(encoding="utf-8")
    found = _SNIPPET.findall(text)
    assert len(found) == len(_LIKE_A_SNIPPET.findall(text)), f"{page.name} shows the mark, not the file"
    return set(found)


def site_hook(name: str) -> ModuleType:
    """Return a module of ``docs/site``, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
