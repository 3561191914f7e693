"""What package indexes show of the package: a page whose links work, and one address of the repository."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

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


def test_the_citation_agrees_with_the_package() -> None:
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    cited = dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith(" "))
    assert cited["title"].lower() == PROJECT["name"]
    assert cited["version"] == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]
    assert cited["repository-code"] == REPOSITORY
    assert cited["abstract"].rstrip(".") == PROJECT["description"]
    assert f"  - name: {PROJECT['authors'][0]['name']}" in lines


def test_the_address_has_one_copy() -> None:
    copies = [
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.*", "docs/**/*.md", "docs/**/*.py", "examples/**/*", "spec/*.md")
        for path in ROOT.glob(pattern)
        if path.is_file() and REPOSITORY in path.read_text(encoding="utf-8", errors="ignore")
    ]
    assert sorted(copies) == ["CITATION.cff", "pyproject.toml"]
