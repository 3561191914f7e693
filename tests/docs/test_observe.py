"""The kinds of occurrences are one closed list: in the code, the protocol and the documentation."""

import ast
import logging
import re
from pathlib import Path

import pytest

import idemproof
from idemproof import Kind, Occurrence
from idemproof.conformance.clauses import protocol_text
from idemproof.reference.observers import _LOGGED, _OTHERS
from pages import DOCS, rows

pytestmark = pytest.mark.once

PAGE = DOCS / "how-to" / "observe.md"
REFERENCE = Path(idemproof.__file__).parent / "reference"


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


@pytest.mark.clause("OBS-1")
def test_the_protocol_and_the_page_list_the_kinds() -> None:
    (listed,) = re.findall(r"The kinds are: (.*?)\.\n", protocol_text(), re.DOTALL)
    assert [" ".join(kind.split()) for kind in listed.split(",")] == [kind.value for kind in Kind]
    assert [names(row[0]) for row in rows(PAGE, "kind")] == [[kind.value] for kind in Kind]


def test_each_kind_is_logged_at_the_level_that_is_told() -> None:
    reported = {names(row[0])[0]: row[2] for row in rows(PAGE, "kind")}
    assert reported == {kind.value: logging.getLevelName(_LOGGED.get(kind, _OTHERS)[0]) for kind in Kind}


def test_the_page_has_each_field() -> None:
    assert [name for row in rows(PAGE, "field") for name in names(row[0])] == list(Occurrence._fields)


@pytest.mark.clause("OBS-1")
def test_the_code_reports_each_kind() -> None:
    used = set()
    for path in REFERENCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "Kind"
            ):
                used.add(node.attr)
    assert used == {kind.name for kind in Kind}
