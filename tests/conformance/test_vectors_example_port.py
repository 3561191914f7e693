"""The example port in JavaScript passes the vectors, and no broken one does."""

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

import idemproof.spec
import servers
from idemproof.spec.transition import TABLE

pytestmark = pytest.mark.once

FOLDER = files(idemproof.spec) / "vectors"
SCRIPT = (FOLDER / "run.mjs").read_text(encoding="utf-8")

BROKEN = {
    "at the deadline a record still lives": ("now >= deadline(r)", "now > deadline(r)"),
    "a lease of 0 is none": ("r.lease !== null ?", "r.lease ?"),
    "a lease counts in results only": (
        'r.status === "INPROGRESS" && r.lease',
        'r.status !== "INPROGRESS" && r.lease',
    ),
    "an event without an owner does not hold a claim without an owner": (
        "owner !== null && r.status",
        "r.status",
    ),
    "the owner of a result holds it": ('&& r.status === "INPROGRESS" && r.owner', "&& r.owner"),
    "an absent hash differs": ("r.payload_hash !== null && e.payload_hash !== null && ", ""),
    "a result without an owner is no attempt's own": ("e.owner !== null && r.owner", "r.owner"),
    "the owner alone proves a result": ("own && r.response === e.response", "own"),
    "an expiry is rounded down": ("Math.ceil", "Math.floor"),
    "an expiry is always computed again": (
        "Math.max(e.expiry, ceilSeconds(e.lease))",
        "ceilSeconds(e.lease)",
    ),
    "a policy does not keep a claim": ("claimable(r, now) && isFree(r, e, now)", "claimable(r, now)"),
    "a takeover forgets the later expiry": ("? Math.max(requested, r.expiry) :", "? requested :"),
    "an abandonment prolongs the lease": ("claimable(r, now) ? r : {", "false ? r : {"),
    "a renewal may shorten": ("Math.max(deadline(r), e.lease)", "e.lease"),
    "a renewal forgets the expiry": ("expiry: Math.max(r.expiry, ceilSeconds(lease))", "expiry: r.expiry"),
    "a result keeps the lease": ("lease: null, response", "lease: 0, response"),
    "a result supersedes whatever its hash": ('"COMPLETED" && !hashesDiffer(r, e)', '"COMPLETED"'),
    "eviction does not wait for the expiry": (" && now >= r.expiry * 1000", ""),
    "eviction does not wait for the deadline's millisecond": ("now >= r.expiry", "now > r.expiry"),
    "times have 32 bits": ("deadline(r) - now", "(deadline(r) | 0) - now"),
    "empty text is text": ("stored[field] || null", "stored[field]"),
    "a fraction is a time": ("!Number.isInteger(expiry)", 'typeof expiry !== "number"'),
    "other keys' records are taken": ("key !== asked", "false"),
    "keys are sorted by UTF-16 units": (".sort(byCodePoints)", ".sort(([a], [b]) => (a < b ? -1 : 1))"),
    "no space after commas": ('.join(", ")}]', '.join(",")}]'),
    "text is not escaped": (".replace(/[\\u007f-\\uffff]/g, escapeRest)", ""),
    "1.0 is 1": ("`${number}.0`", "`${number}`"),
    "exponents have one digit": ('.padStart(2, "0")', ""),
    "empty things are keys": ('value === null || value === ""', "value === null"),
}


def run(node: str, script: Path, *flags: str) -> tuple[int, list[str]]:
    ran = subprocess.run(
        [node, str(script), *flags], capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert ran.stderr == ""
    return ran.returncode, ran.stdout.removesuffix("\n").split("\n")


def broken(folder: Path, old: str, new: str) -> Path:
    """Write the example port with one change next to the vectors."""
    assert SCRIPT.count(old) == 1
    for name in ("transition.json", "keys.json"):
        (folder / name).write_bytes((FOLDER / name).read_bytes())
    script = folder / "run.mjs"
    script.write_text(SCRIPT.replace(old, new), encoding="utf-8")
    return script


def passed_of_all(line: str) -> tuple[int, int]:
    numbers = re.fullmatch(r"(\d+) of (\d+)", line)
    assert numbers
    return int(numbers[1]), int(numbers[2])


def test_the_example_port_passes_all(node: str, tmp_path: Path) -> None:
    status, (selections, last) = run(node, broken(tmp_path, "// The vectors.", "// The vectors."))
    passed, all_of_them = passed_of_all(last)
    assert (status, passed) == (0, all_of_them)
    assert selections.startswith("without the JMESPath selection: key.")


def test_a_port_leaves_out_what_it_does_not_support(node: str, tmp_path: Path) -> None:
    # Without rows for durable executions and renewals it fails, unless these flags are named.
    lines = re.findall(r'^  \["ROW-(?:12|13|16)", .+\n', SCRIPT, re.MULTILINE)
    script = broken(tmp_path, "".join(lines[:1]), "")
    for line in lines[1:]:
        script.write_text(script.read_text(encoding="utf-8").replace(line, ""), encoding="utf-8")
    assert_detected(node, script)
    status, (*_, last) = run(node, script, "durable-execution", "renewal")
    passed, all_of_them = passed_of_all(last)
    assert (status, passed) == (0, all_of_them)
    assert 0 < passed < passed_of_all(run(node, script)[1][-1])[1]


def test_an_unknown_flag_is_refused(node: str) -> None:
    script = str(FOLDER / "run.mjs")
    ran = subprocess.run(
        [node, script, "renewals"], capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", "There is no flag renewals.\n")


def test_npm_packs_and_installs_the_folder(node: str, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        servers.missing("npm", "install npm, which comes with Node.js")
    (tmp_path / "package.json").write_text("{}", encoding="utf-8")
    offline = ("--offline", "--no-audit", "--no-fund", "--loglevel=error", "--cache", str(tmp_path / "cache"))
    pack = [npm, "pack", str(FOLDER), "--pack-destination", str(tmp_path), *offline]
    subprocess.run(pack, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    (archive,) = tmp_path.glob("idemproof-vectors-*.tgz")
    install = [npm, "install", str(archive), *offline]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    script = tmp_path / "use.mjs"
    script.write_text(
        "import { createRequire } from 'node:module';\n"
        "const file = createRequire(import.meta.url)('idemproof-vectors/keys.json');\n"
        "console.log(file.protocol);\n",
        encoding="utf-8",
    )
    assert run(node, script) == (0, [re.findall(r"-(\d+\.\d+)\.\d+\.tgz", archive.name)[0]])
    installed = tmp_path / "node_modules" / "idemproof-vectors"
    assert {each.name for each in installed.iterdir()} == {each.name for each in FOLDER.iterdir()}
    assert run(node, installed / "run.mjs")[0] == 0


def assert_detected(node: str, script: Path) -> None:
    status, (*failures, _, last) = run(node, script)
    passed, all_of_them = passed_of_all(last)
    assert status == 1
    assert len(failures) == all_of_them - passed > 0
    assert all(re.match(r"(row-\d+|reading|key)\.\d+: ", line) for line in failures)


@pytest.mark.parametrize("row", [row.clause for row in TABLE])
def test_a_row_that_is_left_out_is_detected(row: str, node: str, tmp_path: Path) -> None:
    (line,) = re.findall(rf'^  \["{row}", .+\n', SCRIPT, re.MULTILINE)
    assert_detected(node, broken(tmp_path, line, ""))


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_fault_is_detected(change: tuple[str, str], node: str, tmp_path: Path) -> None:
    assert_detected(node, broken(tmp_path, *change))
