"""The suite finds the faults of the broken layers, and none in the correct layers."""

import re
import sqlite3
from pathlib import Path

import pytest

from broken_layers import matrix, stale, verdicts
from broken_layers.exhibits import BROKEN, CORRECT, Sample
from broken_layers.over_sqlite import Table
from broken_layers.verdicts import Verdict
from idemproof.conformance import FactoryError, check
from idemproof.conformance.clauses import clauses_of, protocol_text
from idemproof.conformance.suite.checks import TIERS
from idemproof.conformance.suite.runner import checks

pytestmark = pytest.mark.once

SEEDS = range(2, 22)
ZOO = Path(verdicts.__file__).parent
ROOT = Path(__file__).parents[3]


def by_name(house: dict[str, Sample]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("sample", house.values(), ids=house)


def first_tiers(found: Verdict) -> set[tuple[str, str]]:
    return {(clause, tier) for clause, tiers in found.found.items() for tier in tiers}


@by_name(BROKEN)
def test_a_broken_layer_is_found_in_the_tiers_and_clauses_it_names(sample: Sample) -> None:
    found = verdicts.judged(sample, sample.profile, tiers=sample.tiers)
    assert set(sample.violates.items()) <= first_tiers(found)


@by_name(CORRECT)
def test_a_correct_layer_has_no_findings(sample: Sample) -> None:
    assert not verdicts.judged(sample, "quick").found


@pytest.mark.nightly
@by_name(BROKEN)
def test_every_seed_finds_the_named_faults(sample: Sample) -> None:
    for seed in SEEDS:
        found = verdicts.judged(sample, sample.profile, seed, sample.tiers)
        assert set(sample.violates.items()) <= first_tiers(found), seed


@pytest.mark.nightly
@by_name(CORRECT)
def test_no_seed_finds_a_fault_in_a_correct_layer(sample: Sample) -> None:
    for seed in SEEDS:
        assert not verdicts.judged(sample, "quick", seed).found, seed


def test_there_are_enough_layers() -> None:
    assert len(BROKEN) >= 40
    assert len(CORRECT) >= 8


@by_name(BROKEN)
def test_a_broken_layer_names_clauses_of_the_protocol_and_tiers_of_the_suite(sample: Sample) -> None:
    assert sample.violates
    assert set(sample.violates) <= set(clauses_of(protocol_text()))
    assert set(sample.tiers) <= set(TIERS)


@by_name(BROKEN | CORRECT)
def test_a_sample_has_a_one_sentence_description(sample: Sample) -> None:
    assert re.fullmatch(r"[A-Z].*[.]", sample.sentence)


def test_every_tested_clause_is_named_or_found_in_the_committed_matrix() -> None:
    page = (ROOT / "docs" / matrix.REPORT).read_text(encoding="utf-8")
    for sample in BROKEN.values():
        assert f"| {sample.name} | {matrix._escaped(sample.sentence)} |" in page
    for clause in {clause for each in checks() for clause in each.clauses}:
        assert re.search(rf"^\| {clause} \| [1-9]", page, re.MULTILINE), clause


def test_the_files_are_short() -> None:
    for path in ZOO.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 400, path.name


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

RIGHT = Sample("right", lambda: object, {}, "It is right.")
WRONG = Sample("wrong", lambda: object, {"CAS-2": "contract"}, "It is wrong | in a way.", "a product")


def verdict(name: str, failure: str | None = None, **found: str) -> Verdict:
    clauses = {clause.replace("_", "-"): tier for clause, tier in found.items()}
    return Verdict(
        name,
        {clause: (tier,) for clause, tier in clauses.items()},
        {clause: (f"the-check-of-{clause}",) for clause in clauses},
        1.2,
        failure,
    )


def blamed(*found: Verdict, asked: tuple[str, ...] = ("CAS-2",)) -> list[str]:
    return list(verdicts.complaints({"wrong": WRONG}, {"right": RIGHT}, found, asked))


def test_there_is_no_complaint_if_only_the_broken_layer_has_findings() -> None:
    assert not blamed(verdict("right"), verdict("wrong", CAS_2="contract"))


def test_a_false_alarm_is_a_complaint() -> None:
    found = blamed(verdict("right", INV_1="time"), verdict("wrong", CAS_2="contract"))
    assert found == ["right is correct, but the suite reports that it breaks INV-1."]


def test_another_tier_than_the_named_one_is_not_enough() -> None:
    found = blamed(verdict("right"), verdict("wrong", CAS_2="fencing"))
    assert found == ["wrong breaks CAS-2, but the contract tier does not find it."]


def test_a_clause_without_a_broken_layer_is_a_complaint() -> None:
    found = blamed(verdict("right"), verdict("wrong", CAS_2="contract"), asked=("CAS-2", "CAS-9"))
    assert found == ["No broken layer shows that a check would find CAS-9 broken."]


def test_a_failure_of_the_suite_is_a_complaint() -> None:
    found = blamed(verdict("right", failure="…\nKeyError: 1\n"), verdict("wrong", CAS_2="contract"))
    assert found == ["The suite failed on right: KeyError: 1"]


def test_the_page_marks_named_clauses_consequences_and_missed_faults() -> None:
    found = [verdict("right"), verdict("wrong", CAS_2="contract", CAS_10="time")]
    page = matrix.page({"wrong": WRONG}, {"right": RIGHT}, found, "quick", 3)
    assert "### Found in the contract tier: 1\n" in page
    assert "| wrong | It is wrong \\| in a way. | **CAS-2**, CAS-10 |" in page
    assert "| wrong | a product |" in page
    assert "| CAS-2 | 1 | `the-check-of-CAS-2` |" in page
    assert "| right | It is right. | none |" in page
    missed = matrix.page({"wrong": WRONG}, {"right": RIGHT}, [verdict("right"), verdict("wrong")], "quick", 3)
    assert "### Not found: 1\n" in missed
    assert "| wrong | It is wrong \\| in a way. | **CAS-2 (missed)** |" in missed


def test_the_page_folds_long_lists() -> None:
    found = verdict("wrong", CAS_2="contract", INV_10="time", INV_2="time", ROW_1="time")
    page = matrix.page({"wrong": WRONG}, {}, [found], "quick", 3)
    folded = "<details><summary>and 3 others</summary>INV-2, INV-10, ROW-1</details>"
    assert f"| **CAS-2**{folded} |" in page


def test_no_matrix_is_written_if_there_are_complaints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "BROKEN", {"wrong": WRONG})
    monkeypatch.setattr(matrix, "CORRECT", {"right": RIGHT})
    monkeypatch.setattr(matrix, "checks", list)
    monkeypatch.setattr(
        matrix, "judge_all", lambda *_: [verdict("right"), verdict("wrong", CAS_2="contract")]
    )
    assert "| wrong |" in matrix.files(ROOT)[matrix.REPORT]
    monkeypatch.setattr(matrix, "judge_all", lambda *_: [verdict("right"), verdict("wrong")])
    with pytest.raises(ValueError, match="wrong breaks CAS-2"):
        matrix.files(ROOT)


def test_samples_are_judged_in_other_processes_and_a_failure_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = next(iter(CORRECT))
    monkeypatch.setattr(verdicts, "CORRECT", {one: CORRECT[one]})
    monkeypatch.setattr(verdicts, "BROKEN", {"missing": WRONG})
    seen: list[str] = []
    found = verdicts.judge_all("quick", lambda each: seen.append(each.name))
    assert [each.name for each in found] == [one, "missing"]
    assert sorted(seen) == sorted([one, "missing"])
    assert not found[0].found
    assert found[1].failure is not None
    assert "missing" in found[1].failure
