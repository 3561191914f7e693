"""The site's navigation is short, every page has its place, and copy buttons copy commands alone."""

from configparser import ConfigParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pages import DOCS, ROOT, site_hook

pytestmark = pytest.mark.once

MOST_ENTRIES = 25


@pytest.fixture(scope="module")
def site() -> dict[str, Any]:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def entries(site: dict[str, Any]) -> list[str]:
    return [page for group in site["nav"] for pages in group.values() for page in pages]


def file_of(page: str) -> Path:
    return ROOT / page.removeprefix("project/") if page.startswith("project/") else DOCS / page


def test_the_navigation_has_four_groups_of_few_pages(site: dict[str, Any]) -> None:
    assert len(site["nav"]) == 4
    assert len(entries(site)) <= MOST_ENTRIES


def test_a_page_is_called_what_its_heading_says(site: dict[str, Any]) -> None:
    assert all(isinstance(page, str) for page in entries(site)), "an entry has a title of its own"
    headings = [file_of(page).read_text(encoding="utf-8").partition("\n")[0] for page in entries(site)]
    assert all(heading.startswith("# ") for heading in headings)
    assert len(set(headings)) == len(headings)


def test_every_page_is_in_the_navigation_or_part_of_a_page_there(site: dict[str, Any]) -> None:
    parts = site["extra"]["parts"]
    assert set(parts) <= set(entries(site))
    placed = [*entries(site), *(part for pages in parts.values() for part in pages)]
    assert len(set(placed)) == len(placed)
    assert {file_of(page) for page in placed} >= set(DOCS.rglob("*.md"))
    assert all(file_of(page).is_file() for page in placed)


def test_warnings_fail_the_build(site: dict[str, Any]) -> None:
    commands = ConfigParser()
    commands.read(ROOT / "tox.ini", encoding="utf-8")
    build = commands["testenv:docs"]["commands"]
    assert site["strict"] is True
    assert "mkdocs build" in build
    assert "quiet" not in build, "with --quiet a warning is neither shown nor counted"


@pytest.fixture(scope="module")
def consoles() -> ModuleType:
    return site_hook("consoles")


def test_commands_are_apart_from_their_output(consoles: ModuleType) -> None:
    session = "```console\n$ a --b\n$ c\nprinted\n\n  more\n$ d\n```\n"
    assert consoles.on_page_markdown(session) == (
        "``` { .sh }\na --b\nc\n```\n\n``` { .text .no-copy .output }\nprinted\n\n  more\n```\n\n"
        "``` { .sh }\nd\n```\n"
    )


def test_other_blocks_stay(consoles: ModuleType) -> None:
    page = "```python\nprint('$ a')\n```\n\n```sh\n$ a\n```\n"
    assert consoles.on_page_markdown(page) == page
    assert consoles.on_page_markdown("```text\nprinted\n```") == "``` { .text .no-copy }\nprinted\n```"
