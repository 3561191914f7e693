"""Rules are translated from Python to TLA+, and what cannot be translated is refused by name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import check_tla
from fault_report import ALL_FAULTS
from idemproof.spec import transition as rules
from idemproof.spec.events import Claimed
from idemproof.spec.record import Record
from injected_faults import injected
from tla import tlc
from tla.configurations import CONFIGURATIONS, INVARIANTS
from tla.module import rows_taken, table_module
from tla.sources import Untranslatable
from tla.translate import Translator

pytestmark = pytest.mark.once

GREATER, SMALLER = (lambda a, b: a > b), (lambda a, b: a < b)


def translated(function: Callable[..., Any]) -> str:
    return Translator({}).operator(function, "It").text


def in_a_loop(record: Any) -> Any:
    while True:
        return record


def with_a_bare_value(record: Any) -> Any:
    return "yes" if record.owner else "no"


def with_a_method(record: Any) -> Any:
    return record.owner.startswith("a")


def with_a_set(record: Any) -> Any:
    return record.status in {"INPROGRESS", "COMPLETED"}


def with_a_chain(record: Any, now: int) -> Any:
    return 0 <= now < record.expiry_timestamp


def with_an_identity(record: Any, other: Any) -> Any:
    return record is other


def with_a_named_argument(record: Any) -> Any:
    return renamed(record=record)


def with_a_fraction(record: Any) -> Any:
    return record.expiry_timestamp / 2


def with_a_function_as_a_value(record: Any) -> Any:
    return (record, renamed)


def with_text_that_tla_cannot_quote(record: Any) -> Any:
    return record.owner == 'a"b'


def with_its_unused_parameter(_record: Any) -> Any:
    return _record


def with_itself(record: Any) -> Any:
    return with_itself(record)


def without_a_value(record: Any) -> None:
    if record is None:
        record = None


def renamed(record: Any) -> Any:
    return record._replace(owner=None)


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (in_a_loop, "the statement While"),
        (with_a_bare_value, "a condition that is no truth value (record.owner)"),
        (with_a_method, "the call record.owner.startswith('a')"),
        (with_a_set, "the comparison In"),
        (with_a_chain, "Compare (0 <= now < record.expiry_timestamp)"),
        (with_an_identity, "a comparison of identities, except with None"),
        (with_a_named_argument, "the call renamed(record=record)"),
        (with_a_fraction, "BinOp (record.expiry_timestamp / 2)"),
        (with_a_function_as_a_value, "renamed as a value"),
        (with_text_that_tla_cannot_quote, "the constant 'a\"b'"),
        (with_its_unused_parameter, "the name _record"),
        (with_itself, "with_itself calls itself"),
        (without_a_value, "a function that ends without a value"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_name(function: Callable[..., Any], what: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        translated(function)
    assert what in str(refused.value)
    if "itself" not in what:
        assert str(refused.value).startswith("test_tla_translation.py, line ")


def test_a_row_that_cannot_be_translated_is_refused() -> None:
    first, *others = rules.TABLE
    with pytest.raises(Untranslatable, match="the comparison In"):
        table_module([replace(first, guard=with_a_set), *others])


def reassigned(record: Any, now: int) -> Any:
    end = record.expiry_timestamp
    if record.owner is None:
        end = now
    return end if record.payload_hash is None else -(-end // 1000)


def with_an_early_return(record: Any) -> Any:
    if record is None:
        return None, None
    kept = renamed(record)
    return kept, Claimed(kept)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (
            reassigned,
            (
                "It(record, now) ==\n    LET end == record.expiry_timestamp\n"
                "        end_2 == IF record.owner = None THEN now ELSE end\n"
                "    IN  IF record.payload_hash = None THEN end_2 ELSE -((-end_2) \\div 1000)"
            ),
        ),
        (
            with_an_early_return,
            (
                "It(record) ==\n    IF record = None\n    THEN <<None, None>>\n"
                "    ELSE LET kept == Renamed(record)\n         IN  <<kept, Claimed(kept, None, FALSE)>>"
            ),
        ),
        (GREATER, "It(a, b) == a > b"),
        (SMALLER, "It(a, b) == a < b"),  # in the same line as another
        (
            lambda now: not now or Record("key", "COMPLETED", now) is None,
            (
                "It(now) ==\n    \\/ ~((now # None /\\ now # 0))\n    "
                '\\/ Record("key", "COMPLETED", now, None, None, None, None) = None'
            ),
        ),
    ],
)
def test_a_function_is_translated(function: Callable[..., Any], text: str) -> None:
    assert translated(function) == text


@pytest.mark.nightly
def test_every_fault_is_translated_and_no_injected_function_takes_the_name_of_another() -> None:
    specified = table_module()
    for fault in ALL_FAULTS:
        with injected(fault):
            text = table_module(rules.TABLE)
        assert text != specified, fault.what
        names = [
            line.partition("==")[0].partition("(")[0].strip()
            for line in text.splitlines()
            if "==" in line[:60]
        ]
        operators = [name for name in names if name.isidentifier() and name[0].isupper()]
        assert len(operators) == len(set(operators)), fault.what


def test_the_rows_that_have_decided_are_read_from_the_coverage() -> None:
    text = table_module()
    number = next(n for n, line in enumerate(text.splitlines(), 1) if 'row = "ROW-16" ->' in line)
    column = text.splitlines()[number - 1].rindex("None") + 1
    output = (
        "The coverage statistics at 2026:\n"
        f"  |line {number}, col {column} to line {number}, col {column + 3} of module IdemproofTable: 5\n"
        f"  line {number}, col 10 to line {number}, col 36 of module IdemproofTable: 99\n"
        f"  ||line {number}, col {column} to line {number}, col {column + 3} of module IdemproofTable: 2\n"
    )
    counts = rows_taken(text, tlc.covered(output, "IdemproofTable"))
    assert counts.pop("ROW-16") == 7
    assert set(counts.values()) == {0}
    assert counts.keys() | {"ROW-16"} == {row.clause for row in rules.TABLE}


def test_a_model_that_cannot_be_evaluated_is_an_error_and_no_result() -> None:
    with pytest.raises(tlc.TLCError, match="TLC has checked nothing:\nError: Parsing or semantic"):
        tlc.read("Error: Parsing or semantic analysis failed.\n")


def test_a_search_that_has_not_ended_is_an_error() -> None:
    output = "5 states generated, 4 distinct states found, 1 states left on queue.\n"
    with pytest.raises(tlc.TLCError):
        tlc.read(output)


def test_without_java_the_command_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert check_tla.main(["two-clients"]) == 2
    assert capsys.readouterr().err.startswith("TLC needs Java, and there is no command java.")


def test_an_unknown_configuration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        check_tla.main(["four-clients"])
    assert "there is no configuration four-clients; there are two-clients" in capsys.readouterr().err


def test_every_configuration_checks_every_invariant() -> None:
    for each in CONFIGURATIONS:
        assert f"INVARIANTS {' '.join(INVARIANTS)}\n" in each.text()
