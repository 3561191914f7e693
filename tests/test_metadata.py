"""What package indexes show of the package: a page whose links work, and one address of the repository."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]


@pytest.fixture(scope="module")
def setup_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def description(setup_script: ModuleType) -> str:
    text: str = setup_script.absolute((ROOT / "README.md").read_text(encoding="utf-8"), REPOSITORY)
    return text


def test_every_link_of_the_description_is_absolute_and_leads_to_a_file(description: str) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", description)
    assert len(targets) > 20
    for target in targets:
        kind, _, path = target.removeprefix(f"{REPOSITORY}/").partition("/HEAD/")
        assert kind in ("blob", "raw"), target
        assert (ROOT / path.partition("#")[0]).exists(), target


def test_pictures_come_raw_and_pages_rendered(description: str) -> None:
    assert f"]({REPOSITORY}/raw/HEAD/docs/assets/contrast.svg)" in description
    assert f"[CONTRIBUTING.md]({REPOSITORY}" not in description
    assert f"]({REPOSITORY}/blob/HEAD/CONTRIBUTING.md)" in description


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[a](b.md#c)", "[a](R/blob/HEAD/b.md#c)"),
        ("![a](b.svg)", "![a](R/raw/HEAD/b.svg)"),
        ("[a](https://example.com)", "[a](https://example.com)"),
        ("[a](#here)", "[a](#here)"),
        ("[a](mailto:b@example.com)", "[a](mailto:b@example.com)"),
        ("[![a](b.png)](c.md)", "[![a](R/raw/HEAD/b.png)](R/blob/HEAD/c.md)"),
        ("[`a`](b.md)", "[`a`](R/blob/HEAD/b.md)"),
        ("`f[0](x)` is code", "`f[0](x)` is code"),
        ("```python\nrows[0](key)\n```", "```python\nrows[0](key)\n```"),
    ],
)
def test_links_alone_are_changed(setup_script: ModuleType, before: str, after: str) -> None:
    assert setup_script.absolute(before, "R") == after


CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
CITING = (ROOT / "docs" / "citing.md").read_text(encoding="utf-8")
OF_A_WORK = {
    *("abstract", "authors", "date-released", "doi", "identifiers", "keywords", "license", "repository-code"),
    *("title", "type", "url", "version"),
}
"""The fields of a work in the Citation File Format 1.2.0, as far as we may use them."""


def test_the_citation_is_a_valid_file_of_its_format() -> None:
    assert set(CITATION) <= {*OF_A_WORK, "cff-version", "message", "references"}
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] == "software"
    assert CITATION["message"]
    for work in (CITATION, *CITATION["references"]):
        assert {"title", "authors", "type", "version", "license", "repository-code"} <= set(work)
        assert all(set(author) == {"name"} and author["name"] for author in work["authors"])
        assert isinstance(work["version"], str), "quote a version that looks like a number"
    for work in CITATION["references"]:
        assert set(work) <= {*OF_A_WORK, "filename", "scope"}
    assert len(set(CITATION["keywords"])) == len(CITATION["keywords"])


def test_the_citation_agrees_with_the_package() -> None:
    assert CITATION["title"].lower() == PROJECT["name"]
    assert CITATION["abstract"].rstrip(".") == PROJECT["description"]
    for work in (CITATION, *CITATION["references"]):
        assert work["authors"] == PROJECT["authors"]
        assert work["license"] == PROJECT["license"]
        assert work["repository-code"] == REPOSITORY
    assert CITATION["version"] == PROJECT["version"]
    assert f"version = {{{PROJECT['version']}}}" in CITING


def test_a_released_version_has_its_date_in_the_citation() -> None:
    version = re.escape(PROJECT["version"])
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(rf"^## {version} \((unreleased|\d{{4}}-\d\d-\d\d)\)$", changes, re.MULTILINE)
    assert heading is not None
    assert str(CITATION.get("date-released", "unreleased")) == heading[1]


def test_the_protocol_is_cited_with_its_own_version() -> None:
    [protocol] = CITATION["references"]
    text = (ROOT / protocol["filename"]).read_text(encoding="utf-8")
    [version] = re.findall(r"^Version (\d+\.\d+)\. The protocol has its own version", text, re.MULTILINE)
    assert protocol["type"] == "standard"
    assert protocol["version"] == version
    assert text.startswith(f"# {protocol['title']}\n")
    assert re.findall(r"[Vv]ersion (\d+\.\d+)", CITING) == [version] * 2


def test_the_address_has_one_copy() -> None:
    copies = [
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.*", "docs/**/*.md", "docs/**/*.py", "examples/**/*", "spec/*.md")
        for path in ROOT.glob(pattern)
        if path.is_file() and REPOSITORY in path.read_text(encoding="utf-8", errors="ignore")
    ]
    assert sorted(copies) == ["CITATION.cff", "pyproject.toml"]
