"""What the documents say is what happens."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from idemproof.conformance import Capabilities, check
from profiles import SMALL

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_readme_example_charges_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = blocks("python")[0]
    names: dict[str, object] = {"__name__": "readme"}
    exec(compile(example, "README.md", "exec"), names)
    assert capsys.readouterr().out == "charging 120\n"


def test_the_trace_of_the_readme_is_reported(tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text(blocks("python")[1], encoding="utf-8")
    command = [sys.executable, "-m", "idemproof", "check", "store:MyLayer", "--tier", "exclusion"]
    environment = os.environ | {"COLUMNS": "110"}
    reported = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert reported.returncode == 1, reported.stderr
    (trace,) = blocks("text")
    said = "\n".join(line.rstrip() for line in reported.stdout.splitlines())
    beginning, end = said.index("time │"), said.index("\n  INV-1 ")
    assert trace == f"{said[beginning:end]}\n"


@pytest.mark.once
def test_the_layer_that_the_page_shows_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    [shown] = [
        block
        for block in re.findall(r"^```py\n(.+?)^```$", page, re.MULTILINE | re.DOTALL)
        if "_swap" in block
    ]
    (tmp_path / "shown_layer.py").write_text(
        f"{shown}\n\ndef make():\n    return InATable({str(tmp_path / 'records.db')!r})\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))  # for other processes, too
    make = importlib.import_module("shown_layer").make
    claims = Capabilities(durable=True)
    report = check(make, profile=SMALL, seed=1, capabilities=claims, tiers=("contract", "exclusion"))
    assert report.keeps(), report.findings


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    commands = [block.strip() for block in blocks("sh")]
    assert len(commands) == 2
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in script if line in commands] == commands


def test_the_reading_path_of_the_specification_runs() -> None:
    result = doctest.testfile(str(ROOT / "idemproof" / "spec" / "README.md"), module_relative=False)
    assert result.attempted > 5
    assert result.failed == 0


def test_links_between_documents_lead_somewhere() -> None:
    for page in (
        ROOT / "README.md",
        ROOT / "idemproof" / "spec" / "README.md",
        *(ROOT / "docs").rglob("*.md"),
    ):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
