"""Each heading of the original's documentation has its place here, and no example is without a reader."""

import ast
from pathlib import Path

import pytest

from pages import DOCS, ROOT, Link, anchors, included, links, pages, rows

pytestmark = pytest.mark.once

PAGE = DOCS / "migrate" / "features.md"
EXAMPLES = ROOT / "examples"
TESTS = ROOT / "tests"

HEADINGS = (
    "## Key features",
    "## Terminology",
    "## Getting started",
    "### IAM Permissions",
    "### Required resources",
    "#### DynamoDB table",
    "##### DynamoDB IaC examples",
    "##### Limitations",
    "#### Redis database",
    "##### Redis IaC examples",
    "### Idempotent decorator",
    "### Idempotent_function decorator",
    "#### Output serialization",
    "### Using in-memory cache",
    "### Choosing a payload subset",
    "### Adjusting expiration window",
    "### Lambda timeouts",
    "### Handling exceptions",
    "### Persistence layers",
    "#### DynamoDBPersistenceLayer",
    "##### Using a composite primary key",
    "##### DynamoDB attributes",
    "#### RedisPersistenceLayer",
    "##### Redis SSL connections",
    "##### Redis attributes",
    "### Common use cases",
    "#### Batch processing",
    "### Idempotency request flow",
    "#### Successful request",
    "#### Successful request with cache enabled",
    "#### Successful request with response_hook configured",
    "#### Expired idempotency records",
    "#### Concurrent identical in-flight requests",
    "#### Unhandled exception",
    "#### Lambda request timeout",
    "#### Optional idempotency key",
    "#### Race condition with Redis",
    "## Advanced",
    "### Customizing the default behavior",
    "### Handling concurrent executions with the same payload",
    "### Payload validation",
    "### Making idempotency key required",
    "### Customizing boto configuration",
    "### Bring your own persistent store",
    "### Manipulating the Idempotent Response",
    "#### Being a good citizen",
    "## Compatibility with other utilities",
    "### JSON Schema Validation",
    "### Tracer",
    "#### First execution",
    "#### Subsequent executions",
    "## Testing your code",
    "### Disabling the idempotency utility",
    "### Testing with DynamoDB Local",
    "### How do I mock all DynamoDB I/O operations",
    "### Testing with Redis",
    "## Extra resources",
)
"""The headings of the original's page on idempotency, in its order."""

OF_THE_ORIGINAL = rows(PAGE, "heading")
OF_OURS_ALONE = rows(PAGE, "feature")


def cell_links(cell: str) -> list[Link]:
    return list(links(cell, PAGE))


def functions_of(file: Path) -> list[str]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_heading_has_its_row_in_its_order() -> None:
    reported = [
        f"**{name}**" if level == "##" else name
        for level, _, name in (heading.partition(" ") for heading in HEADINGS)
    ]
    assert [row[0] for row in OF_THE_ORIGINAL] == reported


@pytest.mark.parametrize("row", OF_THE_ORIGINAL + OF_OURS_ALONE, ids=lambda row: row[0])
def test_what_a_row_names_is_there(row: list[str]) -> None:
    _, section, examples, tests = row
    for example in cell_links(examples):
        assert example.target.is_relative_to(EXAMPLES)
        assert example.target.is_file()
        assert example.target.as_posix().endswith("/" + example.text)
    assert examples == "—" or cell_links(examples)
    assert cell_links(tests)
    for test in cell_links(tests):
        assert test.target.is_relative_to(TESTS)
        name = "test_" + test.text.replace(" ", "_")
        assert functions_of(test.target).count(name) == 1, name
    [place] = cell_links(section)
    assert place.target.is_file()
    assert not place.anchor or place.anchor in anchors(place.target)


def test_every_example_is_shown_on_a_page() -> None:
    shown = {ROOT / path for page in pages() for path in included(page)}
    shown |= {link.target for page in pages() for link in links(page.read_text(encoding="utf-8"), page)}
    there = {path for path in EXAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert there
    assert there - shown == set()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_shows_and_links_what_is_there(page: Path) -> None:
    for path in included(page):
        assert (ROOT / path).is_file(), path
    for link in links(page.read_text(encoding="utf-8"), page):
        assert link.target.exists(), link
        if link.anchor and link.target.suffix == ".md":
            assert link.anchor in anchors(link.target), link


def test_headings_are_found_as_in_the_site(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    fence = "```py\n# no heading\n```"
    page.write_text(
        f"# A call, and *its* repeat\n\n{fence}\n\n## `_load` · [two](x.md)\n\n## Two\n\n## Two\n"
    )
    assert anchors(page) == {"a-call-and-its-repeat", "_load-two", "two", "two_1"}


def test_a_mark_that_a_formatter_has_spoilt_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```python\n--8<-- "examples/a.py"\n```\n')
    assert included(page) == {"examples/a.py"}
    page.write_text('```python\n--8 < --"examples/a.py"\n```\n')
    with pytest.raises(AssertionError, match=r"page\.md"):
        included(page)


def test_a_row_of_another_table_is_no_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("| what |\n|---|\n| a |\n\n| other |\n|---|\n| b |\n\n| what |\n|---|\n| c |\n")
    assert rows(page, "what") == [["a"], ["c"]]
