"""What a body cannot do within a transaction, or after it has completed there."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from attempts import attempt, complete
from four_methods import FourMethods
from idemproof import (
    CompareAndSwapLayer,
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Record,
    SQLitePersistenceLayer,
    idempotent_function,
)
from idemproof.errors import IdempotencyConfigError, IdempotencyLeaseLostError
from transaction_places import sqlite_place


class Own(CompareAndSwapLayer):
    """A layer of an application, which happens to use the names of built-in layers."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._completion_item = "its own"

    def _load(self, key: str) -> Record | None:
        return self._records.get(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if self._records.get(key) == expected and new is not None:
            self._records[key] = new
        elif self._records.get(key) == expected:
            self._records.pop(key, None)
        return self._records.get(key)


class Around(Own):
    """The same, around a built-in layer."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._layer = SQLitePersistenceLayer(folder / "around.db")


class Sealed(SQLitePersistenceLayer):
    """A layer that stores results in its own way."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return super()._swap(key, expected, new, ttl_ms)


class SealedItems(DynamoDBPersistenceLayer):
    """The same over DynamoDB. Its records are in memory, as no test here needs a server."""

    def __init__(self) -> None:
        super().__init__("records")
        self._inner = Own()

    def _load(self, key: str) -> Record | None:
        return self._inner._load(key)

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        return self._inner._swap(key, expected, new, ttl_ms)


def protect(body: Any, layer: Any) -> Any:
    config = IdempotencyConfig(in_progress_expires_after_seconds=30)
    return idempotent_function(body, data_keyword_argument="what", persistence_store=layer, config=config)


@pytest.mark.clause("TXN-5")
@pytest.mark.parametrize("name", ["InMemoryPersistenceLayer", "Own", "Around", "Sealed"])
def test_layer_whose_records_are_not_written_by_built_in_code_is_refused(name: str, tmp_path: Path) -> None:
    made = {
        "InMemoryPersistenceLayer": InMemoryPersistenceLayer,
        "Own": Own,
        "Around": lambda: Around(tmp_path),
        "Sealed": lambda: Sealed(tmp_path / "sealed.db"),
    }[name]()
    connection = sqlite3.connect(tmp_path / "effects.db")

    def body(what: str) -> str:
        with connection:
            connection.execute("CREATE TABLE effects (what)")
            with pytest.raises(IdempotencyConfigError, match=rf"within a transaction: {name} "):
                complete(what, connection)
        return what

    protected = protect(body, made)
    assert [protected(what="a"), protected(what="a")] == ["a", "a"]
    connection.close()


@pytest.mark.clause("TXN-5")
@pytest.mark.parametrize("make", [Own, SealedItems])
def test_layer_that_swaps_in_its_own_way_has_no_item(make: Any) -> None:
    def body(what: str) -> str:
        with pytest.raises(IdempotencyConfigError, match=make.__name__):
            attempt().completion_item(what)
        return what

    assert protect(body, make())(what="a") == "a"


@pytest.mark.clause("TXN-5")
def test_layer_of_four_methods_is_refused_as_such(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "effects.db")

    def body(what: str) -> str:
        for complete_so in (lambda: complete(what, connection), lambda: attempt().completion_item(what)):
            with pytest.raises(IdempotencyConfigError, match="used by its four methods"):
                complete_so()
        return what

    assert protect(body, FourMethods())(what="a") == "a"
    connection.close()


@pytest.mark.clause("TXN-4")
def test_lease_is_not_renewed_after_a_completion_and_nothing_waits(tmp_path: Path) -> None:
    place = sqlite_place(tmp_path)
    connection = place.new()

    def body(what: str) -> str:
        with place.transaction(connection):
            place.act(connection, what)
            answer: str = complete(what, connection)
            with pytest.raises(IdempotencyLeaseLostError, match="has completed within a transaction"):
                attempt().renew()
        return answer

    protected = place.protect(body)
    assert [protected(what="a"), protected(what="a")] == ["a", "a"]
    assert place.effects() == ["a"]
    place.close()
