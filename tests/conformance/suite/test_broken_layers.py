"""The suite finds the faults of the broken layers, and none in the correct layers."""

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from broken_layers import matrix, stale, verdicts
from broken_layers.exhibits import BROKEN, CORRECT, Sample
from broken_layers.over_sqlite import Table
from broken_layers.verdicts import Verdict
from idemproof.conformance import FactoryError, check
from idemproof.conformance.clauses import clauses_of, protocol_text
from idemproof.conformance.suite.checks import TIERS, Check
from idemproof.conformance.suite.runner import checks
from profiles import SMALL

pytestmark = pytest.mark.once

SEEDS = range(2, 22)
FOLDER = Path(verdicts.__file__).parent
ROOT = Path(__file__).parents[3]
RECORD = verdicts.recorded(ROOT)
REGENERATE = "run python tools/regenerate.py kill-matrix"


def by_name(house: dict[str, Sample]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("sample", house.values(), ids=house)


def test_the_record_has_every_layer_and_every_check_finds_one() -> None:
    assert set(RECORD) == set(BROKEN), REGENERATE
    found = [Verdict(name, RECORD[name], 0) for name in BROKEN]
    assert list(verdicts.complaints(BROKEN, found, checks())) == [], REGENERATE


@pytest.fixture(scope="module")
def sufficient() -> dict[str, list[Check]]:
    return verdicts.sufficient(BROKEN, {name: RECORD.get(name, {}) for name in BROKEN}, checks())


@by_name(BROKEN)
def test_the_checks_that_suffice_find_what_is_recorded(
    sample: Sample, sufficient: dict[str, list[Check]]
) -> None:
    found = verdicts.judged(sample, sufficient[sample.name]).found
    assert set(sample.violates.items()) <= verdicts.breaches(found, checks())
    recorded = RECORD[sample.name]
    for each in sufficient[sample.name]:
        assert set(recorded[each.name]) <= set(found[each.name]), each.name


OF_EACH_KIND = (
    *("by-a-lock", "by-four-methods", "by-versions", "signals-an-event-loop", "waits-for-a-connection"),
)
"""Each is correct by other means. The nightly run judges all correct layers."""


@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(
            sample,
            id=name,
            marks=[pytest.mark.nightly] * (name not in OF_EACH_KIND),
        )
        for name, sample in CORRECT.items()
    ],
)
def test_a_correct_layer_has_no_findings(sample: Sample) -> None:
    report = check(sample.make(), profile=SMALL, seed=1, capabilities=sample.capabilities)
    assert [(each.check, each.why) for each in report.findings] == []
    assert [(each.name, each.why_not) for each in report.checks if each.verdict == "not judged"] == []


@pytest.mark.nightly
@by_name(BROKEN)
def test_every_check_finds_what_is_recorded(sample: Sample) -> None:
    assert verdicts.judged(sample, verdicts.asked(sample)).found == RECORD[sample.name], REGENERATE


@pytest.mark.nightly
@by_name(BROKEN)
def test_every_seed_finds_the_named_faults(sample: Sample) -> None:
    for seed in SEEDS:
        found = verdicts.judged(sample, checks(sample.tiers), seed).found
        assert set(sample.violates.items()) <= verdicts.breaches(found, checks()), seed


@pytest.mark.nightly
@by_name(CORRECT)
def test_no_seed_finds_a_fault_in_a_correct_layer(sample: Sample) -> None:
    for seed in SEEDS:
        report = check(sample.make(), profile="quick", seed=seed, capabilities=sample.capabilities)
        assert not report.findings, seed


@by_name(BROKEN)
def test_a_broken_layer_names_clauses_of_the_protocol_and_tiers_of_the_suite(sample: Sample) -> None:
    assert sample.violates
    assert set(sample.violates) <= set(clauses_of(protocol_text()))
    assert set(sample.tiers) <= set(TIERS)


@by_name(BROKEN | CORRECT)
def test_a_sample_has_a_one_sentence_description(sample: Sample) -> None:
    assert re.fullmatch(r"[A-Z].*[.]", sample.sentence)


def test_the_committed_page_shows_the_record() -> None:
    found = [Verdict(name, RECORD[name], 0) for name in BROKEN]
    page = matrix.page(BROKEN, CORRECT, found, checks())
    assert (ROOT / "docs" / matrix.REPORT).read_text(encoding="utf-8") == page, REGENERATE


def test_layers_of_one_factory_share_a_file_that_is_deleted_after_use() -> None:
    factory = Table.factory()
    one, other = factory(), factory()
    assert one.path == other.path
    folder = Path(one.path).parent
    assert folder.is_dir()
    del factory
    assert not folder.exists()


def test_a_table_reuses_its_connections_unless_a_request_failed_on_them() -> None:
    factory = Table.factory()
    layer = factory()
    with layer.connection() as first:
        pass
    with layer.connection() as again, layer.connection() as another:
        assert again is first
        assert another is not first
    with pytest.raises(sqlite3.OperationalError), layer.connection() as failing:
        failing.execute("BEGIN").execute("no statement")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        failing.execute("COMMIT")
    left = [*layer.idle]
    assert left
    assert failing not in left
    layer.close()
    for each in left:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            each.execute("SELECT 1")


def test_a_pair_that_shares_nothing_is_refused() -> None:
    with pytest.raises(FactoryError, match="do not see each other's records"):
        check(
            lambda: (stale.OnAHost(stale.Host()), stale.OnAHost(stale.Host())),
            profile="quick",
            tiers=["contract"],
        )


# The verdicts and the page.


def a_check(name: str, tier: str, *clauses: str) -> Check:
    return Check(name, tier, clauses, "", lambda _: None)


SUITE = [a_check("looks", "contract", "CAS-2"), a_check("waits", "time", "CAS-2", "TIME-1")]
RIGHT = Sample("right", lambda: object, {}, "It is right.")
WRONG = Sample("wrong", lambda: object, {"CAS-2": "contract"}, "It is wrong | in a way.", "a product")


def verdict(failure: str | None = None, **found: Sequence[str]) -> Verdict:
    return Verdict("wrong", found, 1.2, failure)


def blamed(found: Verdict) -> list[str]:
    return list(verdicts.complaints({"wrong": WRONG}, [found], SUITE))


def test_there_is_no_complaint_if_each_check_finds_what_a_layer_names() -> None:
    assert blamed(verdict(looks=["CAS-2"], waits=["TIME-1"])) == []


def test_another_tier_than_the_named_one_is_not_enough() -> None:
    found = blamed(verdict(looks=["CAS-3"], waits=["CAS-2", "TIME-1"]))
    assert found == ["wrong breaks CAS-2, but the contract tier does not find it."]


def test_a_check_and_a_clause_without_a_broken_layer_are_complaints() -> None:
    assert blamed(verdict(looks=["CAS-2"])) == [
        "No broken layer is found by waits.",
        "No broken layer shows that a check would find TIME-1 broken.",
    ]


def test_a_failure_of_the_suite_is_a_complaint() -> None:
    found = blamed(verdict("…\nKeyError: 1\n", looks=["CAS-2"], waits=["TIME-1"]))
    assert found == ["The suite failed on wrong: KeyError: 1"]


def test_few_checks_suffice_for_what_a_layer_names_and_none_is_left_out() -> None:
    both = WRONG._replace(name="both", violates={"CAS-2": "time", "TIME-1": "time"})
    record = {"wrong": {"looks": ["CAS-2"], "waits": ["CAS-2"]}, "both": {"waits": ["CAS-2", "TIME-1"]}}
    broken = {"wrong": WRONG, "both": both}
    more = [*SUITE, a_check("unused", "time"), a_check("looks-again", "contract", "CAS-2")]
    record["wrong"]["looks-again"] = ["CAS-3"]
    chosen = verdicts.sufficient(broken, record, more)
    assert {name: [each.name for each in few] for name, few in chosen.items()} == {
        "wrong": ["looks", "looks-again"],
        "both": ["waits"],
    }


def test_the_page_marks_named_clauses_consequences_and_missed_faults() -> None:
    def page(found: Verdict) -> str:
        return matrix.page({"wrong": WRONG}, {"right": RIGHT}, [found], SUITE)

    found = page(verdict(looks=["CAS-2", "CAS-10"]))
    assert "### Found in the contract tier: 1\n" in found
    assert "| wrong | It is wrong \\| in a way. | **CAS-2**, CAS-10 |" in found
    assert "| wrong | a product |" in found
    assert "| looks | 1 | wrong |" in found
    assert "| CAS-2 | 1 | 1 |" in found
    assert "| right | It is right. |" in found
    missed = page(verdict())
    assert "### Not found: 1\n" in missed
    assert "| wrong | It is wrong \\| in a way. | **CAS-2 (missed)** |" in missed
    long = page(verdict(looks=["CAS-2"], waits=["INV-2", "INV-10", "ROW-1"]))
    folded = "<details><summary>and 3 others</summary>INV-2, INV-10, ROW-1</details>"
    assert f"| **CAS-2**{folded} |" in long


def test_no_matrix_is_written_if_there_are_complaints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "BROKEN", {"wrong": WRONG})
    monkeypatch.setattr(matrix, "CORRECT", {"right": RIGHT})
    monkeypatch.setattr(matrix, "checks", lambda: SUITE)
    right = verdict(looks=["CAS-2"], waits=["TIME-1"])
    monkeypatch.setattr(matrix, "judge_all", lambda _: [right])
    written = matrix.files(ROOT)
    assert "| wrong |" in written[matrix.REPORT]
    assert written[verdicts.RECORD] == '{\n "wrong": {"looks": ["CAS-2"], "waits": ["TIME-1"]}\n}\n'
    monkeypatch.setattr(matrix, "judge_all", lambda _: [verdict(waits=["TIME-1"])])
    with pytest.raises(ValueError, match="wrong breaks CAS-2"):
        matrix.files(ROOT)


@pytest.mark.nightly
def test_samples_are_judged_in_other_processes_and_a_failure_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = next(iter(BROKEN))
    monkeypatch.setattr(verdicts, "BROKEN", {one: BROKEN[one], "missing": WRONG})
    seen: list[str] = []
    found = verdicts.judge_all(lambda each: seen.append(each.name))
    assert [each.name for each in found] == [one, "missing"]
    assert sorted(seen) == sorted([one, "missing"])
    assert found[0].found == RECORD[one]
    assert found[1].failure is not None
    assert "missing" in found[1].failure
