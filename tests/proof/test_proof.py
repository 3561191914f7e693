"""The proof: complete for the specification, and not for one that is wrong, however rare the record."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from idemproof.proof import properties
from idemproof.proof.prover import ANY, Prover
from idemproof.spec import inductive
from idemproof.spec import transition as rules
from idemproof.spec.events import Claim, Complete, Evict, Release, Renew
from idemproof.spec.happenings import step_of
from idemproof.spec.invariants import INVARIANTS, broken_by_step

pytestmark = pytest.mark.once

EVENTS = ("Claim", "Complete", "CompleteWithin", "Release", "Abandon", "Renew", "Evict")


@pytest.mark.clause("ROW-0", "INV-1", "INV-2", "INV-3", "INV-4", "INV-5", "INV-6", "INV-7", "INV-9", "INV-10")
@pytest.mark.clause("TAKE-2", "TAKE-4", "TIME-6", "REC-5")
def test_the_specification_is_proved() -> None:
    # One test, because the proof takes long.
    proof = Prover().prove()
    assert [cell.counterexample or cell.problem for cell in proof.cells if not cell.is_proved] == []
    assert proof.is_complete
    assert proof.assumed == list(properties.ASSUMPTIONS)

    proved = {(cell.property.clause, cell.property.name, cell.event) for cell in proof.cells}
    assert proved >= {
        (rule.clause, rule.predicate.__name__, event)
        for rule in INVARIANTS
        if rule.of == "step"
        for event in EVENTS
    }
    of_histories = [rule for rule in INVARIANTS if rule.of == "history"]
    left = {rule for rule in of_histories if (rule.clause, rule.predicate.__name__, ANY) not in proved}
    # INV-8 is about requests, ENG-3 is assumed. Of the others, the table's part is proved.
    assert {rule.clause for rule in left} == {"INV-8", "ENG-3", "INV-10", "INV-11"}
    assert {name for clause, name, _ in proved if clause == "INV-10"} == {
        "an effect stays remembered",
        "a remembered effect is asked about",
        "time leaves an effect remembered",
    }

    # Every row is reached, and every path of transition was executed with real values.
    assert set(proof.rows) == {row.clause for row in rules.TABLE}
    assert all(proof.rows.values())
    total = [cell for cell in proof.cells if cell.property.clause == "ROW-0"]
    assert [cell.event for cell in total] == list(EVENTS)
    assert proof.replayed == sum(cell.paths for cell in total) == sum(proof.rows.values())


@pytest.mark.parametrize(
    ("clause", "broken", "events"),
    [
        ("ENG-1", {"INV-1 one_live_run", "INV-5 rerun_has_a_reason"}, ()),
        ("ENG-1", {"INV-4 an answer is current"}, (Complete,)),
        ("ENG-3", {"INV-1 one_live_run", "INV-5 rerun_has_a_reason"}, ()),
        ("ENG-4", {"INV-1 a protected body stays protected"}, (Release,)),
        ("OUT-1", {"INV-1 a protected body stays protected"}, (Evict,)),
        ("REC-4", {"REC-4 record stays well-formed"}, (Claim,)),
    ],
)
def test_the_proof_fails_without_any_of_its_assumptions(
    clause: str, broken: set[str], events: tuple[Any, ...]
) -> None:
    found = Prover(events=events, without=(clause,), stop=True).prove()
    names = {name for each in found.counterexamples for name in each.trace.broken}
    assert broken <= names
    assert [each.problem for each in found.counterexamples if each.problem] == []
    assert clause not in found.assumed


ALWAYS: Callable[..., bool] = lambda *_: True  # noqa: E731


@pytest.mark.parametrize(
    ("predicate", "wrong", "events"),
    [
        ("is_protected", ALWAYS, ()),  # too weak to imply anything
        ("is_protected", lambda *_: False, (Claim,)),  # too strong to be true at first
        ("is_protected", lambda _body, record, _now: record is not None, (Evict,)),  # not preserved
        ("is_current", ALWAYS, ()),
        ("is_current", lambda *_: False, (Complete,)),
        ("is_well_formed", lambda record: record is None, (Claim,)),
        ("grant_is_live", lambda step: step.before is None, (Claim,)),
        ("waiting_ends", lambda step: step.before is None, (Claim,)),
        ("absent_token_holds_nothing", lambda step: step.event.owner is not None, (Claim,)),
    ],
)
def test_the_proof_fails_with_a_wrong_predicate(
    monkeypatch: pytest.MonkeyPatch, predicate: str, wrong: Callable[..., bool], events: tuple[Any, ...]
) -> None:
    monkeypatch.setattr(properties, predicate, wrong)
    assert Prover(events=events, stop=True).prove().counterexamples


@pytest.mark.parametrize("rule", INVARIANTS, ids=lambda rule: rule.predicate.__name__)
def test_each_invariant_of_a_step_is_what_is_proved(monkeypatch: pytest.MonkeyPatch, rule: Any) -> None:
    wrong = rule._replace(predicate=lambda step: step.now != 12_345)
    monkeypatch.setattr(properties, "INVARIANTS", (wrong,))
    found = Prover(events=(Evict,), only=(rule.clause,), stop=True).prove().counterexamples
    assert [each.now for each in found] == ([12_345] if rule.of == "step" else [])


SOURCE = Path(str(rules.__file__)).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "wrong", "event", "breaks"),
    [
        ("        claimable(record, now)\n", "        claimable(record, now + 1)\n", Claim, "INV-6"),
        ("        claimable(record, now)\n", "        claimable(record, now - 1)\n", Claim, "INV-9"),
        ("lease > expiry * 1000", "lease > expiry * 1001", Claim, "TIME-6"),
        ("expiry = ceil_seconds(lease)", "expiry = lease // 1000", Claim, "TIME-6"),
        (
            "record.payload_hash != event.payload_hash",
            "record.payload_hash == event.payload_hash",
            Claim,
            "INV-4",
        ),
        ("lease = max(deadline_ms(record), event.lease)", "lease = event.lease", Renew, "INV-1"),
        ("or now < expiry_ms(record)", "or now < expiry_ms(record) - 1", Evict, "INV-7"),
        ("        and event.owner is not None\n", "", Complete, "REC-5"),
        (
            "row.guard(record, event, now):\n            return row.step",
            "row.guard(record, event, now) and now != -1:\n            return row.step",
            Renew,
            "ROW-0",
        ),
        ("COMPLETED, event.expiry, None, response", "COMPLETED, event.expiry, None, None", Complete, "INV-4"),
    ],
)
def test_the_proof_sees_the_source_of_the_transition(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, wrong: str, event: Any, breaks: str
) -> None:
    assert SOURCE.count(text) == 1
    path = tmp_path / "changed.py"
    path.write_text(SOURCE.replace(text, wrong), encoding="utf-8")
    found_at = spec_from_file_location("idemproof.spec.changed", path)
    assert found_at is not None
    assert found_at.loader is not None
    changed = module_from_spec(found_at)
    monkeypatch.setitem(sys.modules, changed.__name__, changed)  # dataclasses look there
    found_at.loader.exec_module(changed)
    for module in ("transition", "invariants"):
        monkeypatch.setattr(f"idemproof.spec.{module}.transition", changed.transition)
    monkeypatch.setattr(rules, "TABLE", changed.TABLE)
    found = Prover(events=(event,), stop=True).prove()
    names = [name for each in found.counterexamples for name in each.trace.broken]
    assert any(name.startswith(breaks) for name in names)
    assert [each.problem for each in found.counterexamples if each.problem] == []


def changed(clause: str, **parts: Any) -> tuple[rules.Row, ...]:
    return tuple(replace(row, **parts) if row.clause == clause else row for row in rules.TABLE)


@pytest.mark.parametrize(
    ("clause", "guard"),
    [
        ("ROW-10", lambda record, event, _now: record is not None and record.owner is event.owner),
        ("ROW-10", lambda _record, event, _now: type(event.owner) is str),
        pytest.param(
            "ROW-12",
            lambda record, event, _now: record is not None and type(event.lease) is int,
            marks=pytest.mark.nightly,
        ),
        ("ROW-10", lambda _record, event, _now: isinstance(event.owner, str)),
        ("ROW-10", lambda record, event, _now: record is not None and record.owner in {event.owner, 1}),
        pytest.param(
            "ROW-10",
            lambda record, event, _now: record is not None and f"{record.owner}" == event.owner,
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            "ROW-12",
            lambda record, event, _now: record is not None and hash(event.lease) > 5,
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_what_the_proof_cannot_follow_is_never_proved(
    monkeypatch: pytest.MonkeyPatch, clause: str, guard: Callable[..., bool]
) -> None:
    monkeypatch.setattr(rules, "TABLE", changed(clause, guard=guard))
    found = Prover(events=(Release, Renew)).prove()
    assert not found.is_complete
    assert any(cell.problem for cell in found.cells)


def test_an_error_of_the_transition_is_a_counterexample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        rules, "TABLE", changed("ROW-10", guard=lambda record, _event, _now: record.owner is None)
    )
    found = Prover(events=(Release,), only=("ROW-0",)).prove()
    (each,) = found.counterexamples
    assert each.trace.broken == ("ROW-0 transition is total",)
    assert "AttributeError" in each.trace.lines[-1].what
    assert each.problem == ""


def test_an_error_of_a_predicate_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "waiting_ends", lambda step: step.outcome.retry_after > 0)
    found = Prover(events=(Evict,), only=("INV-9",)).prove()
    assert [cell.property.name for cell in found.cells if cell.problem] == ["waiting_ends"]
    assert not found.is_complete


def test_a_row_that_is_never_reached_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    never = replace(rules.TABLE[-1], clause="ROW-99")
    monkeypatch.setattr(rules, "TABLE", (*rules.TABLE, never))
    found = Prover(events=(Evict,), only=("INV-7",)).prove()
    assert all(cell.is_proved for cell in found.cells)
    assert found.rows["ROW-99"] == 0
    assert not found.is_complete


def test_a_counterexample_is_a_step_of_the_wrong_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "TABLE", changed("ROW-10", guard=lambda record, *_: record is not None))
    found = Prover(events=(Release,), only=("INV-3",), stop=True).prove()
    (each,) = found.counterexamples
    assert each.step is not None
    assert each.step == step_of(*each.step[:3])
    assert "INV-3 others_are_untouched" in broken_by_step(each.step)
    assert each.trace.lines[0].record == each.step.before


@pytest.fixture(autouse=True)
def _the_specification_is_unchanged() -> Iterator[None]:
    before = (rules.TABLE, vars(inductive).copy())
    yield
    assert before == (rules.TABLE, vars(inductive))
