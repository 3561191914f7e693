"""What the findings of the contract tier say, and what it does not require.

Which broken layers it finds is in the kill matrix.
"""

from typing import Any

import pytest

from broken_layers.answers import DoesNotDelete
from broken_layers.comparisons import LastWriteWins
from broken_layers.exhibits import BROKEN
from broken_layers.foundations import Dictionary
from broken_layers.keys_and_values import LosesMilliseconds
from broken_layers.verdicts import judged
from idemproof import Record
from idemproof.conformance import Capabilities, check
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.runner import Session, checks

pytestmark = pytest.mark.once


def found(layer: Any) -> dict[str, set[tuple[str, ...]]]:
    """Return the clauses of each finding, by the check that found it."""
    by: dict[str, set[tuple[str, ...]]] = {}
    for each in check(layer, profile="quick", tiers=("contract",), seed=1).findings:
        by.setdefault(each.check, set()).add(each.clauses)
    return by


def test_every_finding_is_a_sentence() -> None:
    report = check(LastWriteWins, profile="quick", tiers=("contract",), seed=1)
    assert report.findings
    assert all(finding.why.endswith((".", "?")) for finding in report.findings)


def test_a_deletion_that_is_reported_but_not_done_is_a_wrong_answer() -> None:
    assert found(DoesNotDelete)["a-swap-replaces-what-is-expected-and-nothing-else"] == {("CAS-3",)}


def test_distinguishing_empty_and_absent_owners_breaks_rec_4() -> None:
    wrong = BROKEN["tells-empty-from-absent"]
    (asked,) = (each for each in checks() if each.name == "a-swap-replaces-what-is-expected-and-nothing-else")
    assert judged(wrong, [asked]).found == {asked.name: ["CAS-2", "REC-4"]}


@pytest.mark.parametrize("layer", [LosesMilliseconds, LastWriteWins])
def test_a_fault_that_does_not_depend_on_time_does_not_break_cas_5(layer: Any) -> None:
    assert "CAS-5" not in {clause for each in found(layer).values() for named in each for clause in named}


def test_the_largest_response_is_the_claimed_one() -> None:
    class Refuses(Dictionary):
        def write(self, key: str, new: Record | None) -> None:
            if new is not None and len((new.response_data or "").encode()) > 5000:
                raise ValueError("too large")
            super().write(key, new)

    def findings(largest: int) -> list[str]:
        capabilities = Capabilities(largest_response=largest)
        report = check(Refuses, profile="quick", tiers=("contract",), capabilities=capabilities, seed=1)
        return [finding.why for finding in report.findings]

    assert findings(5000) == []
    assert findings(5001) == ["Storing a response of 5,001 bytes raised ValueError: too large."]


def test_a_layer_that_was_filled_is_emptied() -> None:
    layer = Dictionary()
    session = Session(lambda: layer, PROFILES["quick"], 1)
    before = len(layer.rows)
    [asked] = [each for each in checks() if each.name == "a-record-is-kept-however-many-others-are"]
    assert session.judge(asked).verdict == "kept"
    session.close()
    assert len(layer.rows) == before
