"""Processes that call idempotent functions until each key has an answer, whatever becomes of the store."""

import contextlib
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Self

BLOCKING = "RedisCachePersistenceLayer(host='{host}', port={port}, ssl=False)"
ASYNC = f"Async{BLOCKING}"

_WORKER = """
import asyncio, inspect, random, sys, time, uuid
from idemproof import (
    AsyncRedisCachePersistenceLayer, IdempotencyConfig, RedisCachePersistenceLayer, idempotent_function,
)
from idemproof.errors import IdempotencyError

number, keys, layer = int(sys.argv[1]), int(sys.argv[2]), eval(sys.argv[3])
config = IdempotencyConfig(in_progress_expires_after_seconds=3)

def body(key):
    token = uuid.uuid4().hex
    print("ran", key, token, time.time(), flush=True)
    return token

async def async_body(key):
    return body(key)

asynchronous = inspect.iscoroutinefunction(layer._swap)
protected = idempotent_function(
    async_body if asynchronous else body,
    data_keyword_argument="key", persistence_store=layer, config=config, key_prefix="load",
)
with asyncio.Runner() as runner:
    todo = [*range(keys)]
    random.Random(number).shuffle(todo)
    until = time.monotonic() + 240
    while todo:
        assert time.monotonic() < until, f"{len(todo)} keys have no answer"
        key = todo.pop()
        try:
            answer = protected(key=key)
            print("answered", key, runner.run(answer) if asynchronous else answer, time.time(), flush=True)
        except IdempotencyError as error:
            print("failed", key, type(error).__name__, time.time(), flush=True)
            todo.insert(0, key)
            time.sleep(0.001)
    if asynchronous and layer.client is not None:
        pool = layer.client.connection_pool
        watching = getattr(pool, "sentinel_manager", None)
        for client in (layer.client, *(watching.sentinels if watching else ())):
            runner.run(client.connection_pool.disconnect())
"""


@dataclass
class Heard:
    """What the workers have said."""

    runs: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When each key's function ran."""
    answers: dict[int, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """Each key's answers, and when each was first given."""
    failed: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    """What else was said: by no library, it is hoped."""

    def hear(self, line: str) -> None:
        kind, key, what, at = line.split()
        if kind == "ran":
            self.runs[int(key)].append(float(at))
        elif kind == "answered":
            first = self.answers[int(key)]
            first[what] = min(first.get(what, float(at)), float(at))
        elif kind == "failed":
            self.failed[what] += 1
        else:
            raise ValueError(line)


def names(keys: int) -> dict[bytes, int]:
    """Return what the workers' keys are called in the store."""
    return {f"load#{md5(str(key).encode()).hexdigest()}".encode(): key for key in range(keys)}


class Workers:
    """One process for each layer, by the expressions that make them."""

    def __init__(self, directory: Path, keys: int, layers: list[str]) -> None:
        self.names = names(keys)
        self._outputs = [(directory / f"{number}.txt").open("w+") for number in range(len(layers))]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", _WORKER, str(number), str(keys), layer],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            for number, (layer, output) in enumerate(zip(layers, self._outputs, strict=True))
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for output in self._outputs:
            output.close()

    def wait_for_answers(self, share: float) -> None:
        """Wait until so many of the keys have been answered, by whomever."""
        until = time.monotonic() + 240
        while len(self._heard().answers) < share * len(self.names):
            assert all(process.poll() in (None, 0) for process in self._processes), self._said()[-20:]
            assert time.monotonic() < until
            time.sleep(0.02)

    def finish(self) -> Heard:
        """Wait until all are done, none of which was restarted; return what they said."""
        codes = [process.wait(300) for process in self._processes]
        assert codes == [0] * len(codes), self._said()[-20:]
        heard = self._heard()
        assert heard.runs.keys() == heard.answers.keys() == set(self.names.values())
        return heard

    def _said(self) -> list[str]:
        return [line for output in self._outputs for line in Path(output.name).read_text().splitlines()]

    def _heard(self) -> Heard:
        heard = Heard()
        for line in self._said():
            try:
                heard.hear(line)
            except ValueError:  # half a line, or something else
                heard.said.append(line)
        return heard


@contextlib.contextmanager
def window() -> Iterator[list[float]]:
    """Note when what is done inside begins and ends, with some time before for what was not replicated."""
    noted = [time.time() - 1]
    yield noted
    noted.append(time.time())
