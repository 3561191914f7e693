"""No derived file is stale, and the command that writes them all says which one is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import regenerate
from regenerate import PARTS, Part, main

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
QUICK = [name for name, part in PARTS.items() if not part.slow]


@pytest.mark.parametrize("seed", ["0", pytest.param("1", marks=pytest.mark.nightly)])
def test_nothing_derived_is_stale_whatever_the_order_of_sets(seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "tools" / "regenerate.py", "--check"],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def two_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be one part, of two files."""
    monkeypatch.setattr(regenerate, "PARTS", {"few": Part("folder/of", "", alone=True)})
    monkeypatch.setattr(regenerate, "texts_of", lambda _part, _root: {"a.md": "A\n", "b.md": "B\n"})


@pytest.mark.usefixtures("two_files")
def test_what_is_stale_is_named_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder" / "of"
    at = ["--root", str(tmp_path)]
    assert main([*at, "--check"]) == 1
    assert not folder.exists()
    assert main(at) == main([*at, "--check", "few"]) == 0
    (folder / "a.md").write_text("a\n")
    (folder / "b.md").unlink()
    capsys.readouterr()
    assert main([*at, "--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{Path('folder', 'of', name)} is stale: run python tools/regenerate.py few"
        for name in ("a.md", "b.md")
    ]
    assert (folder / "a.md").read_text() == "a\n"
    assert main(at) == 0
    assert [path.read_text() for path in sorted(folder.iterdir())] == ["A\n", "B\n"]


@pytest.mark.usefixtures("two_files")
def test_a_file_that_is_no_longer_derived_is_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(tmp_path)]) == 0
    (tmp_path / "folder" / "of" / "old.md").touch()
    assert main(["--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"{Path('folder', 'of', 'old.md')} is stale")


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["diagram"])
    assert "there is no part diagram; the parts are diagrams, vectors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("idemproof/spec/protocol.md", "- **A-1** One.\n", "A-1 has none of the keywords"),
        ("tests/test_more.py", "once = pytest.mark.clause('A-1')\n", "tests/test_more.py, line 1: a mark"),
    ],
)
def test_a_clause_or_a_mark_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, message: str
) -> None:
    for path, content in {"idemproof/spec/protocol.md": "- **A-1** One MUST.\n", name: text}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content, encoding="utf-8")
    assert main(["--root", str(tmp_path), "traceability"]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "idemproof" / "spec" / "traceability.json").exists()
