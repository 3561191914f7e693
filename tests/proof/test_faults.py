"""The proof refutes each fault that is injected into the specification, and the page says what it breaks."""

from pathlib import Path

import pytest

from fault_report import ALL_FAULTS, LATE, REPORT, proved, refuted, refuted_beginning_late
from idemproof.proof.prover import Proof
from injected_faults import Fault

pytestmark = pytest.mark.once

PAGE = (Path(__file__).resolve().parents[2] / "docs" / REPORT).read_text(encoding="utf-8").splitlines()


def line_of(place: str, what: str) -> str:
    (line,) = [line for line in PAGE if line.startswith(f"| {place} | {what} |")]
    return line


def every_fault() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", ALL_FAULTS, ids=lambda fault: f"{fault.row}: {fault.what}")


def shown_by(fault: Fault, proof: Proof) -> None:
    assert proof.counterexamples
    assert [
        found.problem for found in proof.counterexamples if found.problem
    ] == []  # each was executed again
    assert line_of(fault.row, fault.what).endswith("|" + proved(proof))


@every_fault()
def test_a_fault_is_refuted_by_values_that_show_it(fault: Fault) -> None:
    named = line_of(fault.row, fault.what).split("|")[-2]
    shown_by(fault, refuted(fault, [clause.strip() for clause in named.split(",")]))


@pytest.mark.nightly
@every_fault()
def test_nothing_else_is_refuted_on_the_same_path(fault: Fault) -> None:
    shown_by(fault, refuted(fault))


def test_an_assumption_that_the_engine_breaks_is_needed() -> None:
    proof = refuted_beginning_late()
    assert [found.problem for found in proof.counterexamples] == ["", ""]
    assert line_of(*LATE).endswith("|" + proved(proof))
