"""The tests that users would write: they pass, and each fails once its program is not idempotent."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

import servers

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "testing"
PAGE = ROOT / "docs" / "how-to" / "test-your-code.md"
PROGRAMS = ("seats.py", "labels.py")
TESTS = sorted(path.name for path in FOLDER.glob("test_*.py"))
STILL_ENABLED = "test_still_enabled.py"


class Reported(NamedTuple):
    """What pytest reported: of each file, which tests passed and which did not."""

    passed: dict[str, set[str]]
    failed: dict[str, set[str]]
    output: str


@pytest.fixture(scope="module")
def environment(dynamodb_server: servers.Server, valkey_server: servers.Server) -> dict[str, str]:
    """What a user's shell says of the servers; nothing of AWS, and nothing of the pytest that runs now."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_"))}
    return own | {
        "DYNAMODB_ENDPOINT": f"http://{dynamodb_server.host}:{dynamodb_server.port}",
        "REDIS_URL": f"redis://{valkey_server.host}:{valkey_server.port}",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def run(folder: Path, environment: dict[str, str]) -> Reported:
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir=."]
    ended = subprocess.run(
        [*command, f"--junitxml={report}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    reported = Reported(defaultdict(set), defaultdict(set), ended.stdout + ended.stderr)
    assert report.exists(), reported.output
    for case in ET.parse(report).iter("testcase"):
        outcome = reported.failed if len(case) else reported.passed  # failed, broken or skipped: it says why
        outcome[f"{case.attrib['classname']}.py"].add(case.attrib["name"])
    return reported


def copied(folder: Path) -> Path:
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.fixture(scope="module")
def as_they_are(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Reported:
    folder = copied(tmp_path_factory.mktemp("as_they_are") / "shop")
    enabled = (folder / "test_disabled.py").read_text(encoding="utf-8")
    enabled = changed(enabled, "idempotency_disabled", "idempotency_in_memory")
    (folder / STILL_ENABLED).write_text(changed(enabled, '"true"', '"false"'), encoding="utf-8")
    return run(folder, environment)


@pytest.fixture(scope="module")
def undecorated(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Reported:
    folder = copied(tmp_path_factory.mktemp("undecorated") / "shop")
    for name in PROGRAMS:
        lines = (folder / name).read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith("@idempotent")]
        assert len(kept) == len(lines) - 1
        (folder / name).write_text("".join(kept), encoding="utf-8")
    return run(folder, environment)


@pytest.mark.parametrize("name", TESTS)
def test_they_pass(as_they_are: Reported, name: str) -> None:
    assert as_they_are.passed[name], as_they_are.output
    assert as_they_are.failed[name] == set(), as_they_are.output


# With protection switched off, a function is as if it were not decorated.
INDIFFERENT = {"test_disabled.py": {"test_a_ticket_names_the_seat"}}


@pytest.mark.parametrize("name", TESTS)
def test_each_fails_once_its_program_is_not_idempotent(
    as_they_are: Reported, undecorated: Reported, name: str
) -> None:
    indifferent = INDIFFERENT.get(name, set())
    assert undecorated.passed[name] == indifferent, undecorated.output
    assert undecorated.failed[name] == as_they_are.passed[name] - indifferent != set()


def test_what_is_shown_of_the_switch_fails_without_it(as_they_are: Reported) -> None:
    assert as_they_are.passed[STILL_ENABLED] == set()
    assert as_they_are.failed[STILL_ENABLED] == as_they_are.passed["test_disabled.py"] != set()


def test_a_key_that_changes_between_tries_fails_as_the_page_says(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = copied(tmp_path / "shop")
    for path in folder.glob("test_*.py"):
        if path.name != "test_in_memory.py":
            path.unlink()
    program = folder / "seats.py"
    wrong_key = changed(program.read_text(encoding="utf-8"), '"booking_id"', '"[booking_id, sent_at]"')
    program.write_text(wrong_key, encoding="utf-8")
    reported = run(folder, environment)
    assert reported.failed == {"test_in_memory.py": {"test_a_booking_that_comes_twice_sells_one_seat"}}
    [complaint] = re.findall(r"^```text\n(.+?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for line in complaint.splitlines():
        assert line in reported.output
