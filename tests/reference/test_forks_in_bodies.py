"""A body that forks: its attempt goes on in the process that began it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forks import FORKING

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

SCRIPT = f"""{FORKING}
import sys
from idemproof import IdempotencyConfig, SQLitePersistenceLayer, idempotent_function

class Declined(Exception): pass

layer = SQLitePersistenceLayer(sys.argv[1], durable=False)
parent, runs = os.getpid(), []
settings = {{
    "released": {{}},
    "abandoned": {{"on_takeover": "refuse"}},
    "final": {{"final_errors": (Declined,)}},
    "renewed": {{"renew_lease": True}},
}}[sys.argv[2]]
config = IdempotencyConfig(in_progress_expires_after_seconds=30, **settings)

def body(p):
    child = os.fork()
    if child == 0:
        signal.alarm(50)
        raise Declined  # as any exception that is not caught before os._exit
    join(child)
    runs.append(protected.idempotency.inspect(p=1).status)
    return "of the parent"

protected = idempotent_function(
    body, data_keyword_argument="p", persistence_store=layer, config=config, key_prefix="shop"
)
try:
    answers = protected(p=1), protected(p=1)
except Declined:
    os._exit(os.getpid() == parent)
assert answers == ("of the parent",) * 2, answers
assert runs == ["INPROGRESS"], runs
layer.close()
"""


@pytest.mark.clause("ENG-16", "INV-1", "INV-5")
@pytest.mark.parametrize("how", ["released", "abandoned", "final", "renewed"])
def test_an_exception_in_a_forked_child_leaves_the_claim_of_its_parent(how: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path / "records.db"), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
