"""Runs the conformance suite on the store: `pytest test_two_methods.py`."""

import pytest
from two_methods import SQLStore

from idemproof.conformance import PersistenceLayerConformance


class TestSQLStore(PersistenceLayerConformance):
    profile = "quick"
    durable = True  # acknowledged writes survive the process

    @pytest.fixture(autouse=True)
    def _database(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.path = str(tmp_path_factory.getbasetemp() / "two_methods.db")  # one for all tests

    def make_layer(self) -> SQLStore:
        return SQLStore(self.path)
