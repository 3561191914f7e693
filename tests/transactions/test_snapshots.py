"""Completions within transactions that have read before the claim was written or renewed."""

from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import IsolationLevel

from attempts import attempt, complete
from idemproof.errors import IdempotencyTransactionError
from transaction_places import Place, sqlalchemy_place

pytestmark = pytest.mark.once


@pytest.mark.clause("TXN-6")
@pytest.mark.parametrize("snapshots", [True, False])
def test_repeatable_reads_of_mariadb_may_begin_before_the_call_unless_they_are_snapshots(
    mariadb_server: Any, snapshots: bool
) -> None:
    place: Any = sqlalchemy_place(mariadb_server.create_database())
    connection = place.new()

    def body(what: str) -> Any:
        place.act(connection, what)
        return complete(1, connection)

    place.begin(connection)
    connection.execute(sa.text(f"SET SESSION innodb_snapshot_isolation = {snapshots}"))
    connection.execute(sa.text("SELECT * FROM idempotency"))
    protected = place.protect(body)
    if snapshots:
        with pytest.raises(IdempotencyTransactionError, match="began before the call") as raised:
            protected(what="a")
        assert raised.value.kind == "NotVisible"
    else:
        assert protected(what="a") == 1
    place.commit(connection)
    assert place.effects() == ([] if snapshots else ["a"])
    place.close()


@pytest.mark.clause("INV-11", "ENG-11")
def test_renewal_after_a_repeatable_read_has_begun_makes_the_completion_fail(on_postgres: Place) -> None:
    place, connection = on_postgres, on_postgres.new()
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    renews = [True, False]

    def body(what: str) -> Any:
        with place.transaction(connection):
            place.act(connection, what)
            if renews.pop(0):
                attempt().renew()
            return complete(1, connection)

    protected = place.protect(body)
    with pytest.raises(psycopg.errors.SerializationFailure):
        protected(what="a")
    assert protected(what="a") == 1
    assert (place.effects(), place.records()) == (["a"], ["COMPLETED"])
