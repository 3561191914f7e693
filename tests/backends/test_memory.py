"""Behavior that only the in-memory layer has."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idemproof import AsyncInMemoryPersistenceLayer, InMemoryPersistenceLayer, Record
from idemproof.backends.housekeeping import MARGIN_MS
from idemproof.backends.memory import _PURGE_EVERY
from idemproof.errors import IdempotencyPersistenceConfigError
from idemproof.spec.record import COMPLETED, INPROGRESS
from idemproof.spec.transition import Evict, transition

THREADS = 16


def result(key: str, expiry: int, owner: str = "owner") -> Record:
    return Record(key, COMPLETED, expiry, None, '"done"', None, owner)


@pytest.mark.clause("CAS-4")
@pytest.mark.usefixtures("_hasty_switching")
def test_of_many_threads_exactly_one_wins_each_generation_of_a_key() -> None:
    layer = InMemoryPersistenceLayer()
    generations, keys = 40, ("a", "b", "c")
    won: list[tuple[str, int]] = []
    begin = threading.Barrier(THREADS)

    def compete(name: str) -> None:
        begin.wait()
        for key in keys:
            current = layer._load(key)
            while current is None or current.expiry_timestamp < generations:
                generation = 1 if current is None else current.expiry_timestamp + 1
                new = result(key, generation, name)
                found = layer._swap(key, current, new, 1)
                if found == new:
                    won.append((key, generation))
                current = found

    threads = [threading.Thread(target=compete, args=(str(number),)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [(key, generation) for key in keys for generation in range(1, generations + 1)]


@pytest.mark.usefixtures("_hasty_switching")
def test_housekeeping_beside_writers_loses_nothing_that_is_owed() -> None:
    layer = InMemoryPersistenceLayer()
    done = threading.Event()
    lost: list[str] = []

    def write(name: str) -> None:
        for number in range(200):
            over, owed = result(f"{name}-{number}-over", 1), result(f"{name}-{number}", 1_000)
            layer._swap(over.idempotency_key, None, over, 1)
            layer._swap(owed.idempotency_key, None, owed, 1)
            if layer._load(owed.idempotency_key) != owed:
                lost.append(owed.idempotency_key)

    def tidy() -> None:
        while not done.is_set():
            layer.purge(500_000)

    tidying = threading.Thread(target=tidy)
    writers = [threading.Thread(target=write, args=(str(number),)) for number in range(THREADS)]
    tidying.start()
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    tidying.join()
    layer.purge(500_000)
    assert lost == []
    assert len(layer) == THREADS * 200


@given(
    status=st.sampled_from([INPROGRESS, COMPLETED]),
    expiry=st.integers(0, 5),
    lease=st.none() | st.integers(0, 6_000),
    now=st.integers(0, 6_000),
)
def test_a_record_is_forgotten_if_and_only_if_eviction_is_allowed(
    status: str, expiry: int, lease: int | None, now: int
) -> None:
    layer = InMemoryPersistenceLayer()
    record = Record("key", status, expiry, lease)
    layer._swap("key", None, record, 1)
    layer.purge(now)
    assert layer._load("key") == transition(record, Evict(), now)[0]


@pytest.mark.parametrize(("past", "kept"), [(-1, True), (0, False)])
def test_writes_forget_what_is_over_by_the_writers_time_and_a_margin(past: int, kept: bool) -> None:
    layer = InMemoryPersistenceLayer()
    layer.clock = lambda: pytest.fail("a write asked the layer's clock")
    now = 1_000_000 + MARGIN_MS + past
    layer._swap("old", None, result("old", 1_000), 1)
    for number in range(_PURGE_EVERY - 1):
        assert layer._load("old") is not None
        new = result(str(number), 5_000)
        layer._swap(str(number), None, new, 5_000_000 - now)
    assert (layer._load("old") is not None) == kept
    assert len(layer) == _PURGE_EVERY - (not kept)


def test_memory_is_bounded_by_what_is_live_not_by_what_ever_was() -> None:
    layer = InMemoryPersistenceLayer()
    most = 0
    for second in range(20_000):  # one record a second, each lives ten seconds
        layer._swap(str(second), None, result(str(second), second + 10), 10_000)
        most = max(most, len(layer))
    assert most <= 2 * _PURGE_EVERY


def test_the_cost_of_housekeeping_stays_in_proportion_when_much_is_live() -> None:
    layer = InMemoryPersistenceLayer()
    looked_at = 0
    purge = layer._purge

    def counting(now: int) -> int:
        nonlocal looked_at
        looked_at += len(layer)
        return purge(now)

    layer._purge = counting  # type: ignore[method-assign]
    writes = 30_000
    for number in range(writes):
        layer._swap(str(number), None, result(str(number), 10**9), 10**12)
    assert looked_at <= 2 * writes


@pytest.mark.parametrize("kind", [InMemoryPersistenceLayer, AsyncInMemoryPersistenceLayer])
def test_an_empty_layer_is_still_true(kind: type[InMemoryPersistenceLayer]) -> None:
    layer = kind()
    assert len(layer) == 0
    assert layer


def test_a_layer_that_is_no_longer_used_is_freed() -> None:
    layer = InMemoryPersistenceLayer()
    seen = weakref.ref(layer)
    del layer
    gc.collect()
    assert seen() is None


FORK_WITH_THE_LOCK_HELD = """
    import os, signal, sys, threading, warnings

    warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is the very point here
    from idemproof import InMemoryPersistenceLayer, Record

    layer = InMemoryPersistenceLayer()
    record = Record("key", "COMPLETED", 10**9)
    layer._swap("key", None, record, 1)
    held, enough = threading.Event(), threading.Event()

    def hold():
        with layer._lock:
            held.set()
            enough.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # a child that hangs dies of this
        ok = layer._swap("key", record, None, 0) is None and layer._load("key") is None
        os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    enough.set()
    thread.join()
    assert layer._load("key") == record, "the child changed the parent's records"
    sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_can_use_the_layer_though_another_thread_held_its_lock() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORK_WITH_THE_LOCK_HELD)],
        timeout=30,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_store_in_memory_has_no_copies(how: Callable[[object], object]) -> None:
    with pytest.raises(IdempotencyPersistenceConfigError, match="cannot be copied"):
        how(InMemoryPersistenceLayer())
    with pytest.raises(IdempotencyPersistenceConfigError, match="cannot be copied"):
        copy.deepcopy({"store": AsyncInMemoryPersistenceLayer()})
