"""After a fork, parent and child work at the same time, and each gets the replies to its own requests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import servers
from forks import FORKING
from places import RedisPlace, Table

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

# A script forks, so that no thread of the test run is copied.
SCRIPT = f"""{FORKING}
import asyncio, ctypes, inspect, sys, threading
from idemproof import (
    AsyncDynamoDBPersistenceLayer, AsyncRedisCachePersistenceLayer, AsyncSQLitePersistenceLayer,
    DynamoDBPersistenceLayer, Record, RedisCachePersistenceLayer,
)
from idemproof.errors import IdempotencyPersistenceConfigError

layer = eval(sys.argv[1])
by = {{"os.fork": os.fork, "C": ctypes.CDLL(None).fork}}[sys.argv[2]]
asynchronous = inspect.iscoroutinefunction(layer._swap)
runner = asyncio.Runner() if asynchronous else None

def finish(result):
    return runner.run(result) if asynchronous else result

def record(key):
    return Record(key, "COMPLETED", 2**33, response_data=key * 500, owner=key)

def store(key):
    assert finish(layer._swap(key, None, record(key), 3_600_000)) == record(key)

def work(me):
    for number in range(15):
        assert finish(layer._load(me)) == record(me)
        # Refused: the reply has the stored record.
        other = record(me)._replace(owner=str(number))
        assert finish(layer._swap(me, None, other, 3_600_000)) == record(me)

def refused():
    for _ in range(2):
        try:
            finish(layer._load("child"))
        except IdempotencyPersistenceConfigError as error:
            assert "'child'" in str(error) and "forked" in str(error), error
        else:
            raise AssertionError
"""

BOTH = """
for key in ("parent", "child"):
    store(key)  # and the connection is open
ready, go = os.pipe(), os.pipe()

def in_child():
    global runner
    runner = asyncio.Runner() if asynchronous else None
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    work("child")

def in_parent():
    child = fork(in_child, by)
    os.read(ready[0], 1)
    os.write(go[1], b"x")
    work("parent")
    join(child)
"""

DYNAMODB = "DynamoDBPersistenceLayer('{table}')"
LAYERS = {
    "dynamodb": DYNAMODB,
    "dynamodb-client": "DynamoDBPersistenceLayer('{table}', "
    "boto3_client=__import__('boto3').client('dynamodb'))",
    "dynamodb-async": f"Async{DYNAMODB}",
    "redis": "RedisCachePersistenceLayer('{redis}')",
    "redis-pool": "RedisCachePersistenceLayer(client=(r := __import__('redis')).Redis(connection_pool="
    "r.BlockingConnectionPool.from_url('{redis}')))",
    "valkey-pool": "RedisCachePersistenceLayer(client=(r := __import__('valkey')).Valkey(connection_pool="
    "r.BlockingConnectionPool.from_url('{redis}')))",
    "redis-async": "AsyncRedisCachePersistenceLayer('{redis}')",
    "redis-async-client": "AsyncRedisCachePersistenceLayer(client="
    "__import__('redis.asyncio').asyncio.Redis.from_url('{redis}'))",
    "glide": "RedisCachePersistenceLayer(client=(g := __import__('glide_sync')).GlideClient.create("
    "g.GlideClientConfiguration([g.NodeAddress('{host}', {port})], request_timeout=5000)))",
}
PER_PROCESS = {"redis-async-client"}
"""Layers over what belongs to one process."""


class Run:
    """Runs a script with a layer, by its name."""

    def __init__(self, table: Table, dynamodb: servers.Server, place: RedisPlace) -> None:
        self._names = {"table": table.name, "redis": place.url, "host": place.host, "port": place.port}
        self._environment = os.environ | {
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://{dynamodb.host}:{dynamodb.port}",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }

    def __call__(self, layer: str, by: str, script: str) -> None:
        if layer == "glide":
            pytest.importorskip("glide_sync", reason="valkey-glide-sync is missing: pip install it")
        made = LAYERS.get(layer, layer).format(**self._names)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT + script, made, by],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def run(table: Table, dynamodb_server: servers.Server, valkey_place: RedisPlace) -> Run:
    return Run(table, dynamodb_server, valkey_place)


@pytest.mark.parametrize("by", ["os.fork", pytest.param("C", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("layer", sorted(LAYERS.keys() - PER_PROCESS - {"glide"}))
def test_both_sides_of_a_fork_go_on(run: Run, layer: str, by: str) -> None:
    run(layer, by, f"{BOTH}in_parent()")


@pytest.mark.parametrize("layer", ["dynamodb", "redis"])
def test_both_sides_of_a_fork_in_a_thread_go_on(run: Run, layer: str) -> None:
    script = """
failed = []
def guarded():
    try:
        in_parent()
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=guarded)]
store("busy")
threads += [threading.Thread(target=work, args=("busy",)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
"""
    run(layer, "os.fork", BOTH + script)


@pytest.mark.parametrize("by", ["os.fork", "C"])
def test_a_fork_while_another_thread_makes_a_client(run: Run, by: str) -> None:
    script = """
held, leave = threading.Event(), threading.Event()
def hold(lock):
    with lock:
        held.set()
        leave.wait()
store("child")
def in_child():
    layer._client = None
    work("child")
thread = threading.Thread(target=hold, args=(layer._lock,))
thread.start()
held.wait()
child = fork(in_child, by)
leave.set()
thread.join()
join(child)
"""
    run("dynamodb", by, script)


@pytest.mark.parametrize("by", ["os.fork", "C"])
@pytest.mark.parametrize("layer", ["dynamodb-async", "redis-async"])
def test_an_event_loop_that_was_forked_is_refused(run: Run, layer: str, by: str) -> None:
    script = """
store("parent")
child = fork(refused, by)
join(child)
work("parent")
child = fork(lambda: finish(layer.close()), by)
join(child)
work("parent")
"""
    run(layer, by, script)


@pytest.mark.parametrize("by", ["os.fork", "C"])
@pytest.mark.parametrize("layer", sorted(PER_PROCESS))
def test_an_async_client_that_the_parent_uses_is_refused_in_the_child(run: Run, layer: str, by: str) -> None:
    script = """
store("parent")
def in_child():
    global runner
    runner = asyncio.Runner()
    refused()
join(fork(in_child, by))
work("parent")
"""
    run(layer, by, script)


@pytest.mark.parametrize("layer", sorted(PER_PROCESS))
def test_an_async_client_that_the_parent_does_not_use_serves_the_child(run: Run, layer: str) -> None:
    run(layer, "os.fork", "join(fork(lambda: (store('child'), work('child')), by))")


def test_a_glide_client_works_after_a_fork_by_python(run: Run) -> None:
    run("glide", "os.fork", f"{BOTH}in_parent()")


def test_a_client_of_glide_is_refused_after_any_other_fork(run: Run) -> None:
    run("glide", "C", 'store("child"); join(fork(refused, by)); work("child")')


@pytest.mark.parametrize("by", ["os.fork", "C"])
def test_requests_that_wait_in_threads_find_threads_in_the_child(run: Run, by: str, tmp_path: Path) -> None:
    script = """
async def use(key):
    await layer._swap(key, None, record(key), 3_600_000)
    assert await layer._load(key) == record(key)
asyncio.run(use("parent"))
asyncio.run(layer.close())
join(fork(lambda: asyncio.run(use("child")), by))
asyncio.run(use("parent again"))
asyncio.run(layer.close())
"""
    run(f"AsyncSQLitePersistenceLayer({str(tmp_path / 'records.db')!r})", by, script)


@pytest.mark.once
@pytest.mark.parametrize("layer", ["dynamodb", "redis"])
def test_a_child_that_runs_another_program_does_not_disturb_its_parent(run: Run, layer: str) -> None:
    script = """
import subprocess
store("parent")
for _ in range(3):
    child = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {})
    subprocess.run(["/bin/sh", "-c", "exit 0"], check=True)
    work("parent")
    join(child)
"""
    run(layer, "os.fork", script)


@pytest.mark.once
@pytest.mark.parametrize(
    ("layer", "method"),
    [
        ("dynamodb", "fork"),
        ("redis-async", "spawn"),
        pytest.param("dynamodb", "forkserver", marks=pytest.mark.nightly),
        pytest.param("redis-async", "fork", marks=pytest.mark.nightly),
        pytest.param("dynamodb", "spawn", marks=pytest.mark.nightly),
        pytest.param("redis-async", "forkserver", marks=pytest.mark.nightly),
    ],
)
def test_workers_of_every_start_method_share_the_records(
    table: Table,
    dynamodb_server: servers.Server,
    valkey_place: RedisPlace,
    tmp_path: Path,
    layer: str,
    method: str,
) -> None:
    (tmp_path / "work.py").write_text("""
import asyncio, inspect, multiprocessing, sys
from idemproof import *

def work(layer, owner):
    won = 0
    with asyncio.Runner() as runner:
        for key in range(20):
            mine = Record(str(key), "COMPLETED", 2**33, owner=owner)
            found = layer._swap(str(key), None, mine, 60_000)
            won += (runner.run(found) if inspect.iscoroutine(found) else found) == mine
    return won

if __name__ == "__main__":
    layer = eval(sys.argv[1])
    assert work(layer, "before") == 20
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        print(pool.starmap(work, [(layer, str(number)) for number in range(2)]))
""")
    names = Run(table, dynamodb_server, valkey_place)
    made = LAYERS[layer].format(**names._names)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "work.py"), made, method],
        env=names._environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[0, 0]\n"), done.stderr
