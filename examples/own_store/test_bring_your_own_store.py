"""Runs the conformance suite on the store: `pytest test_bring_your_own_store.py`."""

import pytest
from bring_your_own_store import SQLStore

from idemproof.conformance import PersistenceLayerConformance


class TestSQLStore(PersistenceLayerConformance):
    profile = "quick"
    durable = True  # acknowledged writes survive the process
    fenced = False  # the four methods do not get an owner

    @pytest.fixture(autouse=True)
    def _database(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.path = str(tmp_path_factory.getbasetemp() / "bring_your_own_store.db")  # one for all tests

    def make_layer(self) -> SQLStore:
        return SQLStore(self.path)
