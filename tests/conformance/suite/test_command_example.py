"""The example layer in JavaScript is kept, and its broken twin and other faults are found."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from child_commands import CLAIMS, EXAMPLES, TINY, of_the_example, program_factory
from command_schema import schema_of
from idemproof.conformance import Profile
from idemproof.conformance.commands.child import Child
from idemproof.conformance.suite.report import CheckResult
from idemproof.conformance.suite.runner import checks
from single_checks import results

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("no_orphans")]


def judged(node: str, program: Path, folder: Path, names: list[str]) -> dict[str, CheckResult]:
    return results(program_factory(node, program, folder), names, CLAIMS, TINY)


# Even the tiny profile finds each fault below.
@pytest.mark.parametrize(
    "profile", [TINY, pytest.param("quick", marks=pytest.mark.nightly)], ids=["tiny", "quick"]
)
def test_the_layer_in_javascript_is_kept(profile: Profile | str, node: str, tmp_path: Path) -> None:
    report = of_the_example(node, EXAMPLES / "layer.mjs", tmp_path, profile=profile)
    assert report.findings == ()
    assert set(report.tiers.values()) == {"kept"}
    assert report.subject == "numbered files (two methods, a command, two objects over one store)"
    assert {each.name for each in report.checks if each.verdict == "not offered"} == {
        "neither-load-nor-swap-looks-at-a-clock",
        "an-interrupt-ends-a-request-as-what-it-is",
        "one-event-loop-after-the-other-may-use-a-layer",
        "a-record-is-kept-for-its-time-to-live",
        "a-request-leaves-nothing-behind",
        "a-closed-layer-leaves-nothing-behind",
        "a-fork-leaves-both-processes-a-layer",
        "a-wait-blocks-nothing-else",
        "a-wait-ends-when-its-time-is-over",
        "a-wait-ends-when-the-record-changes",
    }


def test_its_broken_twin_lets_two_clients_win_in_every_race(node: str, tmp_path: Path) -> None:
    tiers = ["contract", "exclusion"]
    report = of_the_example(node, EXAMPLES / "broken_layer.mjs", tmp_path, profile="quick", tiers=tiers)
    assert report.tiers == {"contract": "kept", "exclusion": "broken"}
    of_one_key = [each for each in report.checks if each.tier == "exclusion" and "CAS-6" not in each.clauses]
    assert all(each.findings for each in of_one_key)
    first = next(each for each in report.findings if each.check.startswith("two-claims-of-an-unused"))
    assert first.clauses == ("CAS-4", "INV-1")
    assert first.why == (
        "client 1 and client 2 requested one key at the same time, and each of them got it. "
        "Found by interleaving the calls of the layer's client."
    )
    assert any("create version 1 of" in line.what for line in first.lines)


SWAP = "a-swap-replaces-what-is-expected-and-nothing-else"
DEATH = "a-death-between-two-calls-blocks-no-caller"

FAULTS = {
    "compares the status only": ('["owner", "status", "expiry", "lease"]', '["status"]', SWAP, "CAS-2"),
    "writes without comparing": ("if (!sameVersion(record, expected)) return record;", "", SWAP, "CAS-2"),
    "returns the expected record": (
        "return record;\n    await",
        "return expected;\n    await",
        SWAP,
        "CAS-3",
    ),
    "forgets the owner": (
        "JSON.stringify(record)",
        "JSON.stringify(record && { ...record, owner: null })",
        "an-owner-comes-back",
        "CAS-3",
    ),
    "confuses keys that differ in case": (
        "update(key)",
        "update(key.toLowerCase())",
        "every-key-has-its-own-record",
        "REC-1",
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_in_the_layer_is_found(fault: tuple[str, str, str, str], node: str, tmp_path: Path) -> None:
    old, new, check, clause = fault
    source = (EXAMPLES / "layer.mjs").read_text(encoding="utf-8")
    assert source.count(old) == 1
    (tmp_path / "layer.mjs").write_text(source.replace(old, new), encoding="utf-8")
    shutil.copy(EXAMPLES / "lines.mjs", tmp_path)
    result = judged(node, tmp_path / "layer.mjs", tmp_path, [check])[check]
    assert clause in {broken for each in result.findings for broken in each.clauses}


def test_a_lock_that_a_dead_worker_leaves_behind_is_found(node: str, tmp_path: Path) -> None:
    source = (EXAMPLES / "layer.mjs").read_text(encoding="utf-8")
    reading = "    await step(`read ${key}`);\n    const { version"
    assert source.count(reading) == 1
    lock = f"await step('lock');\n if (!create(`${{folder}}/lock`, 1)) throw new Error('locked');\n{reading}"
    unlock = "if (create(fileOf(key, version + 1), wanted)) return wanted;"
    unlocking = (
        f"const done = create(fileOf(key, version + 1), wanted); unlinkSync(`${{folder}}/lock`);{unlock}"
    )
    text = source.replace(reading, lock).replace(
        "return record;\n    await", "{ unlinkSync(`${folder}/lock`); return record; }\n    await"
    )
    text = text.replace(
        unlock, unlocking.replace("if (create(fileOf(key, version + 1), wanted))", "if (done)")
    )
    (tmp_path / "layer.mjs").write_text(text, encoding="utf-8")
    shutil.copy(EXAMPLES / "lines.mjs", tmp_path)
    assert judged(node, tmp_path / "layer.mjs", tmp_path, [DEATH])[DEATH].verdict == "broken"


# These send lines of the same kinds many times.
MANY_LINES = {
    SWAP,
    DEATH,
    "a-record-is-kept-however-many-others-are",
    "no-two-keys-share-a-record-because-of-a-hash",
}


@pytest.mark.nightly
def test_every_line_of_a_run_is_valid_by_the_schema(
    node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, answers = schema_of("request"), schema_of("answer")
    seen: dict[str, int] = {}
    send, init = Child.send, Child.__init__

    def sent(self: Child, line: bytes) -> None:
        message = json.loads(line)
        assert not list(requests.iter_errors(message))
        seen[message["method"]] = seen.get(message["method"], 0) + 1
        send(self, line)

    def received(self: Child, command: Any, longest: int, on_line: Any, *rest: Any, **options: Any) -> None:
        def noted(line: bytes) -> None:
            wrong.extend(answers.iter_errors(json.loads(line)))
            on_line(line)

        init(self, command, longest, noted, *rest, **options)

    wrong: list[Any] = []
    monkeypatch.setattr(Child, "send", sent)
    monkeypatch.setattr(Child, "__init__", received)
    asked = [each.name for each in checks(["contract", "faults"])]
    found = judged(node, EXAMPLES / "layer.mjs", tmp_path, [name for name in asked if name not in MANY_LINES])
    assert {each.verdict for each in found.values()} == {"kept", "not offered"}
    assert wrong == []
    assert set(seen) == {"load", "swap", "go", "fail"}
