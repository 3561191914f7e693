"""The library's support for testing programs that use it."""

import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decorated_calls import async_function, async_handler, function, handler
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    BasePersistenceLayer,
    CompareAndSwapLayer,
    DynamoDBPersistenceLayer,
    InMemoryPersistenceLayer,
    Record,
    idempotent_function,
)
from idemproof.backends.warning import IdempotencyWarning
from idemproof.errors import IdempotencyAlreadyInProgressError, IdempotencyPersistenceLayerError
from idemproof.reference.core import Core
from idemproof.testing import MovableClock, count_runs, disabled, in_memory, use_clock

SWITCH = "POWERTOOLS_IDEMPOTENCY_DISABLED"


class Unreachable(CompareAndSwapLayer):
    """A store that cannot be reached."""

    def _load(self, key: str) -> Record | None:
        raise ConnectionError(key)

    def _swap(self, key: str, *_: Any) -> Record | None:
        raise ConnectionError(key)


class UnreachableByFourMethods(BasePersistenceLayer):
    def _refuse(self, *_: Any) -> Any:
        raise ConnectionError

    _get_record = _put_record = _update_record = _delete_record = _refuse


class UnreachableAsync(AsyncInMemoryPersistenceLayer):
    async def _load(self, key: str) -> Record | None:
        raise ConnectionError(key)

    async def _swap(self, key: str, *_: Any) -> Record | None:
        raise ConnectionError(key)


BLOCKING = [Unreachable, UnreachableByFourMethods, lambda: DynamoDBPersistenceLayer("nowhere")]


@pytest.fixture(
    params=[
        *((make, layer) for make in (handler, function, async_handler, async_function) for layer in BLOCKING),
        *((make, UnreachableAsync) for make in (async_handler, async_function)),
    ],
    ids=lambda param: f"{param[0].__name__}-{getattr(param[1], '__name__', 'x').strip('<>')}",
)
def call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A call of a function that was decorated with an unreachable store."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setattr("idemproof.drivers.blocking.pause", lambda _: None)
    make, layer = request.param
    return make(layer())


@pytest.fixture(autouse=True)
def _unchanged() -> Iterator[None]:
    """Everything is afterwards as it was."""
    yield
    assert Core.stand_in is None
    assert SWITCH not in os.environ


# In memory.


def test_in_memory_replaces_a_store_that_is_not_there(call: Any) -> None:
    with in_memory() as layer:
        assert call() == call() == [1]
        assert len(layer) == 1


def test_outside_of_the_block_the_own_store_is_asked(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_: float) -> None:
        pass

    monkeypatch.setattr("idemproof.drivers.asynchronous.pause_async", at_once)
    with in_memory():
        call()
    with pytest.raises(IdempotencyPersistenceLayerError):
        call()


def test_each_block_begins_empty_and_a_nested_one_hides_the_outer(call: Any) -> None:
    with in_memory() as outer:
        assert call() == [1]
        with in_memory() as inner:
            assert call() == [2]
        assert call() == [1]
        assert (len(outer), len(inner)) == (1, 1)
    with in_memory():
        assert call() == [3]


@pytest.mark.parametrize("make", [function, async_function])
def test_local_caches_begin_empty_too_and_are_back_afterwards(make: Any) -> None:
    call = make(InMemoryPersistenceLayer(), use_local_cache=True)
    assert call() == [1]
    for expected in (2, 3):
        with in_memory() as layer:
            assert call() == [expected]
            layer._records.clear()
            assert call() == [expected]  # from its local cache
    assert call() == [1]


def test_local_caches_keep_what_is_replayed_after_a_block_as_before() -> None:
    layer = InMemoryPersistenceLayer()
    function(layer)()
    elsewhere = function(layer, use_local_cache=True)
    with in_memory():
        assert elsewhere() == elsewhere() == [1]
    assert elsewhere() == [1]  # the result of the first
    layer._records.clear()
    assert elsewhere() == [1]
    assert len(layer) == 0


def test_the_memory_holds_the_leases_and_refusals_of_any_store() -> None:
    refusals = []

    @idempotent_function(data_keyword_argument="order", persistence_store=Unreachable())
    def pay(order: int) -> int:
        try:
            pay(order)
        except IdempotencyAlreadyInProgressError as refusal:
            refusals.append(refusal)
        return order

    with in_memory():
        assert pay(1) == pay(1) == 1
    assert len(refusals) == 1


def test_what_the_body_raises_frees_the_key() -> None:
    @idempotent_function(data_keyword_argument="order", persistence_store=Unreachable())
    def pay(order: int) -> int:
        raise ValueError(order)

    with in_memory() as layer, count_runs(pay) as runs:
        for _ in range(2):
            with pytest.raises(ValueError, match="7"):
                pay(7)
        assert len(layer) == 0
    assert list(runs.by_key.values()) == [2]


# The clock.


@pytest.mark.parametrize("make", [handler, function, async_handler, async_function])
@pytest.mark.parametrize("cached", [False, True], ids=["uncached", "cached"])
def test_a_clock_moves_what_was_configured_without_it(make: Any, cached: bool) -> None:
    call = make(Unreachable(), expires_after_seconds=60, use_local_cache=cached)
    clock = MovableClock(1_700_000_000_000)
    with in_memory(), use_clock(clock):
        assert call() == [1]
        clock.advance(seconds=59.999)
        assert call() == [1]
        clock.advance(seconds=0.001)
        assert call() == [2]


def test_a_clock_moves_also_without_other_memory_and_only_in_its_block() -> None:
    call = function(InMemoryPersistenceLayer(), expires_after_seconds=60)
    clock = MovableClock()
    assert call() == [1]
    clock.advance(seconds=3600)
    assert call() == [1]
    with use_clock(clock):
        assert call() == [2]
    assert call() == [2]


def test_a_clock_is_for_a_configuration_too() -> None:
    clock = MovableClock(1_700_000_000_000)
    call = function(InMemoryPersistenceLayer(), expires_after_seconds=60, clock=clock)
    assert call() == [1]
    clock.advance(seconds=60)
    assert call() == [2]
    clock.advance(seconds=-0.5)
    assert (clock(), repr(clock)) == (1_700_000_059_500, "MovableClock(1700000059500)")


def test_a_clock_begins_at_the_next_second_and_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1_000_001, 1_002_000])
    monkeypatch.setattr("idemproof.reference.testing.wall_clock_ms", times.__next__)
    clock = MovableClock()
    assert (clock(), clock()) == (1_001_000, 1_001_000)
    assert MovableClock()() == 1_002_000


# Counting.


def test_runs_are_counted_over_any_store(call: Any) -> None:
    with in_memory(), count_runs(call.decorated) as runs:
        for _ in range(3):
            call()
    runs.assert_once()
    assert list(runs.by_key.values()) == [1]
    assert repr(runs) == f"Runs({call.decorated.__qualname__!r}, {runs.by_key!r})"


# The switch.


def test_disabled_lets_every_call_run_without_a_warning(call: Any) -> None:
    with disabled():
        assert (call(), call()) == ([1], [2])


@pytest.mark.parametrize("before", ["false", "true"])
def test_disabled_puts_the_switch_back(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    def fail() -> None:
        with disabled():
            assert os.environ[SWITCH] == "true"
            raise KeyError

    with monkeypatch.context() as patch:
        patch.setenv(SWITCH, before)
        with pytest.raises(KeyError):
            fail()
        assert os.environ[SWITCH] == before


def test_disabled_hides_its_own_warning_alone() -> None:
    with disabled(), pytest.raises(IdempotencyWarning, match="another"):
        warnings.warn("another", IdempotencyWarning, stacklevel=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "true")
        with pytest.warns(IdempotencyWarning, match="switched off"):
            function(Unreachable())()


# The fixtures, as a project has them.


def run_pytest(folder: Path, conftest: str, tests: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(textwrap.dedent(conftest), encoding="utf-8")
    (folder / "test_shop.py").write_text(textwrap.dedent(tests), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir=."]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # those of other packages take longer than the tests
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False
    )


def test_the_fixtures_are_there_for_those_who_ask_for_them(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        """
        from idemproof.testing import MovableClock

        pytest_plugins = ["idemproof.pytest_plugin"]
        """,
        """
        from idemproof import DynamoDBPersistenceLayer, idempotent_function
        from idemproof.testing import count_runs

        sold = []

        @idempotent_function(data_keyword_argument="seat", persistence_store=DynamoDBPersistenceLayer("x"))
        def sell(seat):
            sold.append(seat)
            return len(sold)

        def test_once(idempotency_in_memory, idempotency_clock):
            with count_runs(sell) as runs:
                assert sell("A1") == sell("A1") == len(sold)
                runs.assert_once()
                idempotency_clock.advance(seconds=3600)
                assert sell("A1") == len(sold) == 2
            assert len(idempotency_in_memory) == 1

        def test_empty_again(idempotency_in_memory):
            assert len(idempotency_in_memory) == 0
            assert sell("A1") == len(sold) == 3

        def test_every_call(idempotency_disabled):
            assert sell("A1") + 1 == sell("A1") == len(sold)
        """,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_other_tests_do_not_get_them_and_the_light_part_stays_light(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        "",
        """
        import sys
        import pytest

        def test_nothing_of_idemproof_is_loaded(request):
            assert not [name for name in sys.modules if name.startswith("idemproof")]
            with pytest.raises(pytest.FixtureLookupError):
                request.getfixturevalue("idempotency_clock")
        """,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = subprocess.run(
        [sys.executable, "-c", "import idemproof.testing, sys; print(*sys.modules)"],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    ).stdout.split()
    assert {"pytest", "boto3", "botocore", "redis", "pydantic", "sqlite3", "asyncio"} & set(loaded) == set()
