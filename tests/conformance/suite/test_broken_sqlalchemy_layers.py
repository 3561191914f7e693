"""The suite finds the usual faults of layers over SQLAlchemy."""

import math
from pathlib import Path

import pytest

import broken_sqlalchemy_layers as broken
import sql_places
from idemproof.conformance import check
from idemproof.conformance.suite.profiles import PROFILES

pytestmark = pytest.mark.once

# Neither fault needs many records.
UNHURRIED = PROFILES["quick"]._replace(
    tour_seconds=600, race_seconds=600, total_seconds=math.inf, records=300
)


@pytest.mark.parametrize(
    ("factory", "tier", "clause"),
    [
        (broken.ByMerge, "exclusion", "CAS-4"),
        (broken.WithoutCommit, "contract", "CAS-3"),
    ],
)
def test_it_is_found(
    factory: type[broken.ByMerge], tier: str, clause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORDS", sql_places.created(f"sqlite:///{tmp_path}/records.db"))
    report = check(factory, profile=UNHURRIED, seed=1, tiers=(tier,))
    assert clause in {named for finding in report.findings for named in finding.clauses}
