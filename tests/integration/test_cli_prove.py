"""The proof at the command line: the table, the assumptions, counterexamples, and what it needs."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from command_lines import runner
from idemproof.cli.app import app
from idemproof.proof.prover import Prover
from idemproof.spec import transition as rules

pytestmark = pytest.mark.once


def run(*arguments: str) -> Any:
    return runner().invoke(app, ["prove", *arguments], env={"COLUMNS": "200"})


def change(monkeypatch: pytest.MonkeyPatch, clause: str, guard: Any) -> None:
    changed = (replace(row, guard=guard) if row.clause == clause else row for row in rules.TABLE)
    monkeypatch.setattr(rules, "TABLE", tuple(changed))


def test_a_proof_shows_paths_rows_and_assumptions() -> None:
    done = run("--only", "INV-7, inv-5")
    assert done.exit_code == 0
    for part in (
        "eviction_owes_nothing",
        "rerun_has_a_reason",
        f"Rows reached: {len(rules.TABLE)} of {len(rules.TABLE)}.",
        "ENG-3: a body begins only while its lease is live",
        "CAS-4: changes of one key are applied one after the other",
        "Proved, in ",
    ):
        assert part in done.stdout


def test_a_counterexample_is_shown_with_real_values_or_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, "ROW-14", lambda record, _event, _now: record is not None)
    proof = Prover(["INV-7"]).prove()
    monkeypatch.setattr(Prover, "prove", lambda *_: proof)
    done = run("--only", "INV-7")
    assert done.exit_code == 1
    for part in ("refuted", "INV-7 eviction_owes_nothing", "Evict()", "gets Evicted (ROW-14)", "Not proved"):
        assert part in done.stdout
    assert "the code does this with these values" in done.stdout
    done = run("--only", "INV-7", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["proved"] is False
    (evict,) = [each for each in found["properties"] if not each["proved"]]
    assert evict["counterexample"][-1] == "breaks eviction_owes_nothing"
    assert {each["event"] for each in found["properties"]} == {
        *("Abandon", "Claim", "Complete", "Release", "CompleteWithin", "Renew", "Evict")
    }
    assert all(each["clause"] == "INV-7" and each["paths"] for each in found["properties"])


@pytest.mark.nightly
def test_what_cannot_be_followed_is_undecided_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, "ROW-14", lambda record, _event, _now: record is not None and hash(record.owner) > 0)
    done = run("--only", "ROW-0")
    assert done.exit_code == 1
    assert "undecided" in done.stdout
    assert "the specification uses hash on a symbolic text" in done.stdout


@pytest.mark.parametrize("wrong", ["INV-99", "", "INV-1,KEY-1"])
def test_a_clause_without_a_property_is_refused(wrong: str) -> None:
    assert run("--only", wrong).exit_code == 2


WITHOUT_Z3 = """
import sys
sys.modules["z3"] = None
sys.argv = ["idemproof", *sys.argv[1:]]
from idemproof.__main__ import main
main()
"""


@pytest.mark.parametrize(("arguments", "code"), [(("prove",), 2), (("spec", "ROW-7"), 0)])
def test_without_the_solver_only_the_proof_is_refused(arguments: tuple[str, ...], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_Z3, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code
    needed = 'The proof needs z3-solver, which is not installed: pip install "idemproof[cli,proof]"\n'
    assert done.stderr == (needed if code else "")
