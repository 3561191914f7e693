"""The command line: version, help, and what happens without its libraries."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest


def run(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_it_shows_its_version(tmp_path: Path) -> None:
    done = run("-m", "idemproof", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"idemproof {version('idemproof')}\n")


def test_help_lists_the_demo() -> None:
    done = run("-m", "idemproof", "--help")
    assert done.returncode == 0
    assert "demo" in done.stdout


def test_no_command_shows_the_help() -> None:
    done = run("-m", "idemproof")
    assert done.returncode in (0, 2)  # older releases of click do not count it as a mistake
    assert "Commands" in done.stdout + done.stderr


def test_an_unknown_command_is_refused() -> None:
    done = run("-m", "idemproof", "dance")
    assert done.returncode == 2
    assert "dance" in done.stderr


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_a_missing_library_is_a_sentence_and_no_traceback(library: str) -> None:
    blocked = f"import sys; sys.modules[{library!r}] = None; from idemproof.__main__ import main; main()"
    done = run("-c", blocked)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f'The idemproof command needs {library}, which is not installed: pip install "idemproof[cli]"\n'
    )


def test_anything_else_that_is_missing_is_not_blamed_on_the_command_line() -> None:
    blocked = (
        "import sys; sys.modules['idemproof.cli.app'] = None\nfrom idemproof.__main__ import main; main()"
    )
    done = run("-c", blocked)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_importing_the_entry_point_is_light() -> None:
    done = run("-c", "import sys, idemproof.__main__; print({'typer', 'rich', 'sqlite3'} & set(sys.modules))")
    assert done.stdout == "set()\n"


def test_a_worker_process_loads_no_command_line() -> None:
    done = run(
        "-c",
        "import sys, idemproof.demo.worker; print({'typer', 'rich'} & set(sys.modules))",
    )
    assert done.stdout == "set()\n"
