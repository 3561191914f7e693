"""The searches whose counts ``docs/searches.md`` gives."""

from collections.abc import Mapping
from typing import Any

import pytest

from searches_page import assert_no_invariant_breaks, assert_no_rule_breaks, lines_of

pytestmark = pytest.mark.once


@pytest.mark.clause("INV-1", "INV-2", "INV-3", "INV-4", "INV-5", "INV-6", "INV-7", "INV-9")
@pytest.mark.clause("DUR-1")
@pytest.mark.parametrize("line", lines_of("The transition function"))
def test_no_invariant_breaks_and_every_client_can_finish(line: Mapping[str, Any]) -> None:
    assert_no_invariant_breaks(line)


@pytest.mark.clause("INV-1", "INV-3", "INV-5", "INV-8", "ENG-3", "ENG-6", "ENG-10", "ENG-12", "ENG-15")
@pytest.mark.clause("REN-1", "REN-2", "REN-3", "REN-4", "REN-5")
@pytest.mark.parametrize("line", lines_of("The production engine"))
def test_no_rule_breaks_in_the_engine(line: Mapping[str, Any]) -> None:
    assert_no_rule_breaks(line)


@pytest.mark.clause("INV-10", "TAKE-2", "TAKE-4", "INV-9")
@pytest.mark.parametrize("line", lines_of("Takeovers in the transition function"))
def test_no_effect_happens_twice(line: Mapping[str, Any]) -> None:
    assert_no_invariant_breaks(line)


@pytest.mark.clause("INV-10", "TAKE-3", "TAKE-4", "TAKE-5", "TAKE-6")
@pytest.mark.parametrize("line", lines_of("Takeovers in the production engine"))
def test_no_effect_happens_twice_in_the_engine(line: Mapping[str, Any]) -> None:
    assert_no_rule_breaks(line)


@pytest.mark.clause("INV-11", "TXN-1", "TXN-2", "TXN-4")
@pytest.mark.parametrize("line", lines_of("Transactions in the transition function"))
def test_no_transaction_breaks_an_invariant(line: Mapping[str, Any]) -> None:
    assert_no_invariant_breaks(line, transactions=True)


@pytest.mark.clause("INV-11", "INV-1", "INV-4", "TXN-1", "TXN-2", "TXN-3", "TXN-4", "TXN-6", "TXN-7")
@pytest.mark.clause("TXN-8", "TXN-9", "OBS-1")
@pytest.mark.parametrize("line", lines_of("Transactions in the production engine"))
def test_no_effect_is_committed_without_its_record(line: Mapping[str, Any]) -> None:
    assert_no_rule_breaks(line)


@pytest.mark.clause("WAIT-1", "WAIT-2", "WAIT-3", "WAIT-4", "WAIT-5", "WAIT-6", "INV-1", "INV-4", "INV-8")
@pytest.mark.parametrize("line", lines_of("Calls that wait"))
def test_no_rule_breaks_while_calls_wait(line: Mapping[str, Any]) -> None:
    assert_no_rule_breaks(line)


@pytest.mark.clause("FIN-1", "INV-4", "INV-5", "ENG-8", "ENG-12", "OBS-1")
@pytest.mark.parametrize("line", lines_of("Final errors in the engine"))
def test_no_rule_breaks_with_final_errors(line: Mapping[str, Any]) -> None:
    assert_no_rule_breaks(line, final_errors=True)


@pytest.mark.clause("INV-10", "TAKE-5", "TAKE-6", "FIN-1")
@pytest.mark.parametrize("line", lines_of("Takeovers and final errors in the engine"))
def test_no_effect_happens_twice_and_every_final_error_is_stored(line: Mapping[str, Any]) -> None:
    assert_no_rule_breaks(line, final_errors=True)


@pytest.mark.clause("INV-10", "TAKE-3", "TAKE-4", "REN-3", "REN-4", "WAIT-4", "WAIT-5")
@pytest.mark.parametrize("line", lines_of("Several at once"))
def test_no_effect_happens_twice_while_calls_wait_and_leases_are_renewed(line: Mapping[str, Any]) -> None:
    assert_no_rule_breaks(line)
