"""After a fork parent and child work at once, and each gets the replies to its own requests."""

import os
import subprocess
import sys

import pytest

import servers
from places import RedisPlace, Table, recent_sdk

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

# A script forks, so that no thread of the test run is copied.
FORK = """
import os, signal, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is the very point here
import threading
from idemproof import DynamoDBPersistenceLayer, Record, RedisCachePersistenceLayer

layer = eval(sys.argv[1])
locked = "locked" in sys.argv

def store(key):
    record = Record(key, "COMPLETED", 2**33, response_data=key * 500, owner=key)
    assert layer._swap(key, None, record, 3_600_000) == record
    return record

records = {key: store(key) for key in ("parent", "child")}  # and the connection is open
ready, go = os.pipe(), os.pipe()
if locked:
    layer._lock.acquire()
child = os.fork()
me = "parent" if child else "child"
signal.alarm(60)  # who hangs dies of this

def work():
    for number in range(200):
        assert layer._load(me) == records[me]
        # Refused: the reply has what stands.
        assert layer._swap(me, None, records[me]._replace(owner=str(number)), 3_600_000) == records[me]

if child:
    if locked:
        layer._lock.release()
    os.read(ready[0], 1)
    os.write(go[1], b"x")
    try:
        work()
    finally:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(status)
try:
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    work()
except BaseException as error:
    os.write(2, f"in the child: {error!r}".encode())
    os._exit(1)
os._exit(0)
"""


def run(layer: str, *options: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, layer, *options],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@recent_sdk
@pytest.mark.parametrize("options", [[], ["locked"]], ids=["idle", "while another makes a client"])
def test_both_sides_of_a_fork_go_on_with_dynamodb(
    table: Table, dynamodb_server: servers.Server, options: list[str]
) -> None:
    run(
        f"DynamoDBPersistenceLayer({table.name!r})",
        *options,
        AWS_ENDPOINT_URL_DYNAMODB=f"http://{dynamodb_server.host}:{dynamodb_server.port}",
        AWS_DEFAULT_REGION="eu-central-1",
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing",
    )


def test_both_sides_of_a_fork_go_on_with_redis(valkey_place: RedisPlace) -> None:
    run(f"RedisCachePersistenceLayer({valkey_place.url!r})")
