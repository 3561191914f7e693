"""The tutorial does what it says when it is followed literally, in an empty folder."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(
    r'^```(?:python title="(?P<name>[\w.]+)"[^\n]*|(?P<console>console))\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
INSTALL = "pip install idemproof"
"""What the environment of the tests has done: the built wheel."""


def commands(console: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console, and what it is to print."""
    for block in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, printed = block.partition("\n")
        yield command, printed


def pattern(printed: str) -> str:
    return re.escape(printed).replace(re.escape("..."), ".*")


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ran = 0
    for block in BLOCK.finditer(TUTORIAL.read_text(encoding="utf-8")):
        if block["name"]:
            (tmp_path / block["name"]).write_text(block["text"], encoding="utf-8")
            continue
        for command, printed in commands(block["text"]):
            if command == INSTALL:
                continue
            done = subprocess.run(
                command,
                shell=True,
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert re.fullmatch(pattern(printed), done.stdout, re.DOTALL), f"{command}:\n{done.stdout}"
            ran += 1
    assert ran
    charges = (tmp_path / "charges.txt").read_text(encoding="utf-8").splitlines()
    assert charges == ["Ada 120", "Ada 120", "Ada 120", "Ada 80"]


@pytest.mark.parametrize(("printed", "came"), [("charged 1\n", "charged 2\n"), ("a\n...\nb\n", "a\nc\n")])
def test_what_is_not_printed_is_noticed(printed: str, came: str) -> None:
    assert not re.fullmatch(pattern(printed), came, re.DOTALL)
