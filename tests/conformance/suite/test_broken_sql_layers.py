"""The suite finds the usual mistakes of layers over SQL on a real PostgreSQL, and none in a correct one."""

import functools
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from broken_layers.over_postgres import CREATE, SAMPLES, InsertsBeforeLooking, LocksAndCompares
from idemproof import CompareAndSwapLayer, PostgresPersistenceLayer, Record
from idemproof.conformance import Capabilities, Report, check
from idemproof.spec.record import INPROGRESS
from postgres import PostgreSQL

pytestmark = pytest.mark.once


@pytest.fixture
def dsn(postgres_server: PostgreSQL) -> str:
    found = postgres_server.create_database(f"broken_{uuid.uuid4().hex}")
    with psycopg.connect(found, autocommit=True) as connection:
        connection.execute(CREATE)
    return found


def judged(kind: type[LocksAndCompares], dsn: str, *tiers: str) -> Report:
    claims = Capabilities(processes=False)
    return check(functools.partial(kind, dsn), profile="quick", seed=1, capabilities=claims, tiers=tiers)


@pytest.mark.parametrize("sentence", SAMPLES)
def test_a_usual_mistake_is_found(sentence: str, dsn: str) -> None:
    kind, clause, tier = SAMPLES[sentence]
    found = [(each.why, each.clauses) for each in judged(kind, dsn, tier).findings]
    assert any(clause in clauses for _, clauses in found), found


def test_a_correct_layer_is_kept(dsn: str) -> None:
    report = judged(LocksAndCompares, dsn, "contract", "exclusion")
    assert [(each.check, each.why) for each in report.findings] == []


OLD = Record("key", INPROGRESS, 2**31, 2**41, None, None, "old")
NEW = OLD._replace(owner="new")


def claimed_during_a_release(layer: CompareAndSwapLayer, dsn: str, table: str) -> Record | None:
    """Claim while a release is not committed, and commit it if the claim waits for that."""
    assert layer._swap("key", None, OLD, 1) == OLD
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database()"
    )
    with psycopg.connect(dsn) as release, psycopg.connect(dsn, autocommit=True) as looking:
        release.execute(f"DELETE FROM {table} WHERE id = 'key'")
        with ThreadPoolExecutor(1) as thread:
            claim = thread.submit(layer._swap, "key", None, NEW, 1)
            while not claim.done() and looking.execute(waiting).fetchone() == (0,):
                looking.execute("SELECT pg_sleep(0.005)")
            release.commit()
            return claim.result()


def test_inserting_before_looking_claims_and_says_that_it_has_not(dsn: str) -> None:
    layer = InsertsBeforeLooking(dsn)
    assert claimed_during_a_release(layer, dsn, "broken") == OLD
    assert layer._load("key") == NEW  # nobody knows of this claim
    layer.close()


def test_looking_before_inserting_does_not(dsn: str) -> None:
    layer = PostgresPersistenceLayer(dsn)
    layer.create_table()
    assert claimed_during_a_release(layer, dsn, "idempotency") == OLD
    assert layer._load("key") is None
    layer.close()
