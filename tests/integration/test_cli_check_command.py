"""``idemproof check --command``: a layer in another language, its claims, and commands that are refused."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import malformed_layer

pytestmark = pytest.mark.once

MALFORMED = malformed_layer.__file__
CLAIMING = """
import json, runpy, sys
import malformed_layer
malformed_layer.HELLO["claims"] = {"durable": True, "largest_response": 1000}
malformed_layer.main("behaves")
"""
QUICK = ("--profile", "quick", "--seed", "7")


def check(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "idemproof", "check", *arguments],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
        env={
            **os.environ,
            "PYTHONIOENCODING": "utf-8",
            "COLUMNS": "400",
            "NO_COLOR": "1",
            "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(Path(MALFORMED).parent)]),
        },
    )


def command(way: str) -> str:
    return shlex.join([sys.executable, MALFORMED, way])


def test_a_right_command_is_kept_and_can_be_run_again(tmp_path: Path) -> None:
    done = check("--command", command("behaves"), *QUICK, "--tier", "contract", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("memory (two methods, a command, one object shared by threads)\n")
    assert "Note: The command announces no steps." in done.stdout
    again = f"idemproof check --command {shlex.quote(command('behaves'))} --profile quick --seed 7"
    assert f"{again} --tier contract" in done.stdout


def test_a_command_that_goes_wrong_is_broken_and_shows_its_stderr(tmp_path: Path) -> None:
    done = check("--command", command("fails"), *QUICK, "--tier", "contract", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    words = "ended with exit status 7. Its stderr ends with: loading records | out of paper"
    assert words in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


def why_not(done: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    return {each["name"]: each["why_not"] for each in json.loads(done.stdout)["checks"]}


@pytest.mark.nightly
def test_the_first_line_makes_claims_and_options_override_them(tmp_path: Path) -> None:
    script = tmp_path / "claiming.py"
    script.write_text(CLAIMING, encoding="utf-8")
    target = ("--command", shlex.join([sys.executable, str(script)]))
    outlive = "acknowledged-records-outlive-their-layer"
    arguments = (*target, *QUICK, "--tier", "durability", "--json", "-")
    claimed = check(*arguments, cwd=tmp_path)
    overridden = check(*arguments, "--not-durable", cwd=tmp_path)
    # In memory a claim to be durable cannot be judged; without the claim it is not asked about.
    assert why_not(overridden)[outlive] == "it is not claimed (durable)"
    assert why_not(claimed)[outlive] != why_not(overridden)[outlive]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give either MODULE:FACTORY, or --command"),
        (["layers:good", "--command", "node x"], "Give either MODULE:FACTORY, or --command"),
        (["--command", ""], "The command is empty."),
        (["--command", "node 'x"], "cannot be split into words: No closing quotation."),
        (
            ["--command", "/no/such/program"],
            "cannot be started: No such file or directory. Nothing was judged.",
        ),
        (["--command", command("logs before the first line")], "one is 'listening on port 80'. Nothing was"),
        (["--command", command("ends at once")], "ended with exit status 0. Its stderr ends with: loading"),
        (["--command", command("fails at its end")], "ended with exit status 5 after its stdin was closed"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_exit_code_2(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = check(*arguments, *QUICK, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
