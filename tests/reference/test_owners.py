"""Owner tokens are nobody else's, in threads and after a fork too."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from idemproof.reference.owners import new_owner

FORK = """
import os
from idemproof.reference.owners import new_owner

new_owner()
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, new_owner().encode())
    os._exit(0)
os.wait()
print(os.read(read, 100).decode() != new_owner())
"""


def test_a_token_has_128_bits() -> None:
    token = new_owner()
    assert len(token) == 32
    assert int(token, 16).bit_length() <= 128


def test_no_two_threads_get_the_same_token() -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: new_owner(), range(5000)))
    assert len(set(tokens)) == len(tokens)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
def test_a_forked_child_does_not_repeat_its_parents_tokens() -> None:
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=30)
    assert run.stdout.strip() == "True"
