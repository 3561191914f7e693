"""The suite as a base class: what its users see in pytest."""

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest

from idemproof.conformance import Capabilities, PersistenceLayerConformance
from idemproof.conformance.suite.capabilities import claims
from idemproof.conformance.suite.runner import checks

pytestmark = pytest.mark.once

HEAD = """
import pytest
from idemproof import AsyncInMemoryPersistenceLayer, InMemoryPersistenceLayer
from idemproof.conformance import PersistenceLayerConformance, Profile


class Conformance(PersistenceLayerConformance):
    profile = Profile("tiny", 2, 5, 5, 1, 0.2, 0.2, 1, 60, records=20)
    tiers = ("contract",)


class Forgetful(InMemoryPersistenceLayer):
    def _swap(self, key, expected, new, ttl_ms):
        kept = None if new is None else new._replace(payload_hash=None)
        return super()._swap(key, expected, kept, ttl_ms)
"""


def run(place: Path, tests: str, *options: str) -> tuple[dict[str, int], str]:
    """Run pytest on a file of tests, as a user would; return the counts of outcomes, and the output."""
    (place / "test_layers.py").write_text(HEAD + textwrap.dedent(tests), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ra", "-W", "error", "-p", "no:cacheprovider", *options],
        cwd=place,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        env={
            **os.environ,
            "COLUMNS": "300",
            "PY_COLORS": "0",
            "PYTHONIOENCODING": "utf-8",
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those of other packages take longer than most runs
        },
    )
    last = done.stdout.strip().splitlines()[-1]
    return {kind: int(number) for number, kind in re.findall(r"(\d+) ([a-z]+)", last)}, done.stdout


CONTRACT = checks(["contract"])


def test_a_good_layer_passes_with_one_test_for_each_check_under_its_name(tmp_path: Path) -> None:
    counts, said = run(
        tmp_path,
        """
        class TestMemory(Conformance):
            def make_layer(self):
                return InMemoryPersistenceLayer()
        """,
        "-vv",
    )
    assert "failed" not in counts, said
    assert counts["passed"] + counts.get("skipped", 0) == len(CONTRACT)
    for each in CONTRACT:
        name = f"[{each.tier}: {each.name} ({', '.join(each.clauses)})]"
        assert f"test_layers.py::TestMemory::test_protocol{name}" in said
    assert "::Conformance::" not in said


def test_a_check_without_time_on_a_slow_store_is_skipped_with_the_reason(tmp_path: Path) -> None:
    tests = """
        class TestSlow(Conformance):
            profile = Conformance.profile._replace(total_seconds=1e-9)
            expected_failures = {"CAS-1": "a reason"}

            def make_layer(self):
                return InMemoryPersistenceLayer()
        """
    counts, said = run(tmp_path, tests)
    assert counts == {"skipped": len(CONTRACT) + 1}
    assert "not run: the layer is slow, and the profile tiny ends within 1e-09 seconds" in said


def test_a_check_of_an_unclaimed_capability_is_skipped_with_the_reason(tmp_path: Path) -> None:
    counts, said = run(
        tmp_path,
        """
        class TestMemory(Conformance):
            tiers = ("durability",)
            def make_layer(self):
                return InMemoryPersistenceLayer()
        """,
    )
    assert counts == {"skipped": len(checks(["durability"]))}
    assert re.search(r"SKIPPED .+ not offered: it is not claimed \(durable\)", said)


def test_clauses_are_selected_by_their_ids(tmp_path: Path) -> None:
    counts, _ = run(
        tmp_path,
        """
        class TestMemory(Conformance):
            def make_layer(self):
                return InMemoryPersistenceLayer()
        """,
        "-k",
        "CAS-7",
    )
    about = [each for each in CONTRACT if "CAS-7" in each.clauses]
    assert 0 < len(about) < len(CONTRACT)
    assert counts["passed"] + counts.get("skipped", 0) == len(about)
    assert counts["deselected"] == len(CONTRACT) - len(about)


def test_a_failure_shows_the_trace_and_no_traceback(tmp_path: Path) -> None:
    counts, said = run(
        tmp_path,
        """
        class TestForgetful(Conformance):
            def make_layer(self):
                return Forgetful()
        """,
        "-k",
        "a-completion-keeps-the-payload-hash",
    )
    assert counts["failed"] == 1
    for words in (
        "Forgetful (two methods, blocking",
        "breaks CAS-8.",
        "time │ client 1",
        "then stored",
        "CAS-8: `update_record` and `delete_record` MUST decide",
        "Tested with the profile tiny and the seed 0.",
    ):
        assert words in said
    assert "inherit.py" not in said.split("short test summary")[0]


def test_expected_failures_are_reported_as_such_and_must_fail(tmp_path: Path) -> None:
    counts, said = run(
        tmp_path,
        """
        class TestForgetful(Conformance):
            expected_failures = {
                "a-completion-keeps-the-payload-hash": "the hash is dropped",
                "CAS-8": "there are no transactions",
                "a-deleted-claim-is-gone": "unknown cause",
                "CAS-4": "not of this tier",
                "no-such-check": "misspelt",
            }

            def make_layer(self):
                return Forgetful()
        """,
        "-k",
        "a-completion-keeps or a-deleted-claim or (expected and failure)",
    )
    assert counts == {"failed": 3, "passed": 3, "xfailed": 1, "deselected": counts["deselected"]}
    assert re.search(r"XFAIL .+a-completion-keeps-the-payload-hash.+ - the hash is dropped", said)
    assert (
        "a-deleted-claim-is-gone is expected to fail (unknown cause), but no check that ran breaks it. "
        "Remove it from expected_failures."
    ) in said
    for name in ("CAS-4", "no-such-check"):
        assert f"expected_failures names {name!r}, which is neither a check nor a clause of one." in said


def test_a_finding_of_another_clause_is_not_covered_by_an_expectation(tmp_path: Path) -> None:
    counts, _ = run(
        tmp_path,
        """
        class TestForgetful(Conformance):
            expected_failures = {"CAS-1": "no matter"}

            def make_layer(self):
                return Forgetful()
        """,
        "-k",
        "a-completion-keeps-the-payload-hash",
    )
    assert counts["failed"] == 1


def test_a_class_without_make_layer_fails_once(tmp_path: Path) -> None:
    counts, said = run(tmp_path, "class TestNothing(Conformance): pass")
    assert counts == {"failed": 1}
    assert "TestNothing has no layer to test: define make_layer(self)" in said


INVALID = {
    "def make_layer(self): return None": "The factory returned None: is a return statement missing?",
    "def make_layer(self): raise OSError('no')": "The factory raised OSError: no.",
    "make_layer = InMemoryPersistenceLayer; profile = 'slow'": "There is no profile 'slow'. There are",
    "make_layer = InMemoryPersistenceLayer; tiers = ['speed']": "There is no tier 'speed'. There are",
}


# All in one run, as each starts a process.
def test_an_invalid_factory_or_option_gets_a_sentence(tmp_path: Path) -> None:
    classes = (f"class Test{number}(Conformance):\n    {body}\n" for number, body in enumerate(INVALID))
    counts, said = run(tmp_path, "\n\n".join(classes), "--continue-on-collection-errors")
    assert "passed" not in counts
    for sentence in INVALID.values():
        assert sentence in said
    assert "Traceback" not in said


WRONG = {
    "fences = False": "fences is neither a claim nor a setting; did you mean fenced?",
    "movable_clok = False": "movable_clok is neither a claim nor a setting; did you mean movable_clock?",
    "thread_safe = True": "thread_safe is neither a claim nor a setting; did you mean threads?",
    "guarded = True": "guarded is neither a claim nor a setting. The claims are",
    "expected_failure = {}": "did you mean expected_failures?",
    "fenced = 'no'": "The claim fenced must be True, False or None, not 'no'.",
    "seed = 'a'": "The seed must be a whole number, or None for a random one, not 'a'.",
    "tiers = ()": "The list of tiers is empty.",
    "expected_failures = ['CAS-4']": "The expected_failures must be a dict",
}


def test_an_invalid_attribute_is_a_collection_error(tmp_path: Path) -> None:
    for number, attribute in enumerate(WRONG):
        tests = f"class TestIt(Conformance):\n    {attribute}\n    make_layer = InMemoryPersistenceLayer\n"
        (tmp_path / f"test_{number}.py").write_text(HEAD + tests, encoding="utf-8")
    counts, reported = run(tmp_path, "")
    assert counts == {"errors": len(WRONG)}
    for said in WRONG.values():
        assert said in reported
    claimed = (
        "The claims are fenced, durable, threads, loops, processes, forks, movable_clock, largest_response"
    )
    assert reported.count(claimed) >= sum("neither" in said for said in WRONG.values())


def test_other_attributes_are_allowed(tmp_path: Path) -> None:
    counts, said = run(
        tmp_path,
        """
        class TestIt(Conformance):
            url = "memory:"
            _busy = True

            @pytest.fixture(autouse=True)
            def fence(self):
                self.tier = None

            def make_layer(self):
                return InMemoryPersistenceLayer()
        """,
        "-k",
        "CAS-7",
    )
    assert "failed" not in counts, said
    assert "error" not in counts, said


def test_a_factory_that_raises_is_reported_once(tmp_path: Path) -> None:
    counts, said = run(
        tmp_path,
        "class TestIt(Conformance):\n    def make_layer(self): raise OSError('connection refused')\n",
        "-rN",
    )
    assert counts == {"failed": len(CONTRACT)}
    assert said.count("connection refused") == 1
    first = f"test_protocol[{CONTRACT[0].tier}: {CONTRACT[0].name} "
    assert said.count(f"There is no layer to test: {first}") == len(CONTRACT) - 1


def test_a_check_that_could_not_be_judged_fails(tmp_path: Path) -> None:
    counts, said = run(
        tmp_path,
        """
        class Raises(InMemoryPersistenceLayer):
            def _swap(self, key, expected, new, ttl_ms):
                raise OSError("read only")

        class TestIt(Conformance):
            def make_layer(self):
                return Raises()
        """,
    )
    assert counts == {"failed": len(CONTRACT)}
    assert said.count("not judged: the layer raised at its first write") >= len(CONTRACT) - 1


def test_layers_are_made_once_for_a_class_and_closed_after_its_last_test(tmp_path: Path) -> None:
    counts, said = run(
        tmp_path,
        """
        events = []

        class Closable(InMemoryPersistenceLayer):
            def close(self):
                events.append("closed")

        @pytest.fixture(scope="class")
        def server():
            yield
            events.append("the server stopped")

        @pytest.mark.usefixtures("server")
        class TestClosable(Conformance):
            def make_layer(self):
                events.append("made")
                return Closable()

        def test_events():
            assert events == ["made", "made", "closed", "closed", "the server stopped"]
        """,
    )
    assert "failed" not in counts, said
    assert "error" not in counts, said


def test_factories_may_be_async_return_pairs_and_use_fixtures(tmp_path: Path) -> None:
    counts, said = run(
        tmp_path,
        """
        from idemproof import SQLitePersistenceLayer

        class TestAsync(Conformance):
            async def make_layer(self):
                return AsyncInMemoryPersistenceLayer()

        class TestPair(Conformance):
            @pytest.fixture(autouse=True)
            def _place(self, tmp_path):
                self.path = tmp_path / "records.db"

            def make_layer(self):
                return SQLitePersistenceLayer(self.path), SQLitePersistenceLayer(self.path)
        """,
    )
    assert "failed" not in counts, said
    assert counts["passed"] > len(CONTRACT)


def test_claims_are_attributes(tmp_path: Path) -> None:
    _, said = run(
        tmp_path,
        """
        class TestClaims(Conformance):
            largest_response = 7
            fenced = False

            def make_layer(self):
                return InMemoryPersistenceLayer()

            def test_claims(self, request):
                from idemproof.conformance.suite.inherit import _judge_of

                claimed = _judge_of(self, request)._session._capabilities
                assert (claimed.largest_response, claimed.fenced, claimed.threads) == (7, False, True)
        """,
        "-k",
        "test_claims",
    )
    assert "1 passed" in said


def test_it_runs_on_several_workers(tmp_path: Path) -> None:
    counts, said = run(
        tmp_path,
        """
        class TestMemory(Conformance):
            expected_failures = {"CAS-1": "it is kept"}

            def make_layer(self):
                return InMemoryPersistenceLayer()
        """,
        *("-p", "xdist.plugin", "-n", "2"),
    )
    assert counts["failed"] == 1, said
    assert counts["passed"] + counts.get("skipped", 0) == len(CONTRACT)


def test_claims_have_the_names_defaults_and_descriptions_of_capabilities() -> None:
    for field, claim in zip(fields(Capabilities), claims(), strict=True):
        assert getattr(PersistenceLayerConformance, field.name) == field.default == claim.default
        assert claim.says[-1:] == "."
        assert claim.says in str(PersistenceLayerConformance.__doc__)
