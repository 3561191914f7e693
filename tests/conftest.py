"""What all tests share."""

import functools
import gc
import os
import re
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mariadb
import postgres
import servers
from idemproof.conformance.clauses import clauses_of, protocol_text
from traceability import complaint_of_marks

# CI judges a change, so it draws the same examples every time; elsewhere each run draws new ones.
# However slow the machine is, nothing fails for it.
UNHURRIED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", derandomize=True, **UNHURRIED)
settings.register_profile("explore", **UNHURRIED)
settings.load_profile("ci" if os.environ.get("CI") else "explore")

# Each session reads its data files anew, which takes longer than all else that most tests of DynamoDB do.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)

ONLY_ONCE = re.compile(r"^pytestmark = \[?pytest\.mark\.once\b", re.MULTILINE)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clause(*ids): the clauses of protocol.md that it would see broken")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a file if ``-m`` selects none of its tests. Otherwise each worker imports it."""
    if config.option.markexpr != "not nightly and not once" or not collection_path.match("test_*.py"):
        return None
    return bool(ONLY_ONCE.search(collection_path.read_text(encoding="utf-8"))) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = ((item.nodeid, mark.args) for item in items for mark in item.iter_markers("clause"))
    complaint = complaint_of_marks(marked, clauses_of(protocol_text()))
    if complaint:
        # Reported, not raised: a worker of pytest-xdist that raises here dies without a word.
        config.hook.pytest_collectreport(report=pytest.CollectReport("marks", "failed", complaint, []))
    # First, so that pytest-xdist gives them to one worker, which waits while the others compute.
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


@given(st.none())
def _begin_hypothesis(_: None) -> None:
    """Let Hypothesis register its random numbers: old versions do not find them among frozen objects."""


def pytest_collection_finish() -> None:
    # What was imported to collect tests stays: the garbage collector need not look at it again.
    _begin_hypothesis()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _collected_garbage() -> Iterator[None]:
    """Collect what the tests of a file left: a warning about it must not fail a test of another file.

    What then remains stays. Looking at it again would slow each collection down, above all in forked
    processes, which copy what they look at.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def _abandoned_connections() -> Iterator[None]:
    """Collect what async clients left open when they gave up: asyncio would tell of it in a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def _hasty_switching() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture
def _heeding_interrupts() -> Iterator[None]:
    """Let SIGINT interrupt this process and its children, even if a shell began it in the background."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.fixture
def port_of_nobody() -> Iterator[int]:
    """Hold a port on which nobody listens, so that nobody begins to."""
    with socket.socket() as held:
        held.bind((servers.HOST, 0))
        yield held.getsockname()[1]


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.running(servers.valkey, tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture(scope="session")
def valkey_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Cluster]:
    with servers.running(servers.valkey_cluster, tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture(scope="session")
def redis_tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.running(servers.redis7, tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.PostgreSQL]:
    with servers.running(postgres.PostgreSQL, tmp_path_factory.mktemp("postgres")) as started:
        yield started


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.MariaDB]:
    with servers.running(mariadb.MariaDB, tmp_path_factory.mktemp("mariadb")) as started:
        yield started


@pytest.fixture(scope="session")
def dynamodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.running(servers.dynamodb, tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture(scope="session")
def dynalite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.running(servers.dynalite, tmp_path_factory.mktemp("servers")) as started:
        yield started
