"""Calls near the recursion limit: what has returned is stored, or nothing has run."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idemproof import (
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    SQLitePersistenceLayer,
    idempotent_function,
)
from idemproof.errors import IdempotencyError
from idemproof.serialization import CustomDictSerializer
from idemproof.testing import MovableClock
from protection import run


def deep(frames: int, call: Callable[[], Any]) -> Any:
    """Make ``call`` so many frames further down."""
    return call() if frames <= 0 else deep(frames - 1, call)


def frames_in_use() -> int:
    frame, number = sys._getframe(), 0
    while frame is not None:
        frame, number = frame.f_back, number + 1  # type: ignore[assignment]
    return number


def some_frames(levels: int, value: Any) -> Any:
    return value if levels == 0 else some_frames(levels - 1, value)


@pytest.mark.clause("ENG-7", "ENG-10")
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", ["memory", "memory, async def", "sqlite"])
def test_at_no_depth_an_effect_happens_twice(
    kind: str, cached: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = MovableClock()
    runs: list[int] = []

    def body(p: int) -> Any:
        runs.append(p)
        return {"p": [p]}

    async def awaited(p: int) -> Any:
        return body(p)

    work = idempotent_function(
        awaited if "async" in kind else body,
        data_keyword_argument="p",
        persistence_store=SQLitePersistenceLayer(tmp_path / "r")
        if kind == "sqlite"
        else InMemoryPersistenceLayer(),
        config=IdempotencyConfig(
            in_progress_expires_after_seconds=10,
            clock=clock,
            use_local_cache=cached,
            completion_timeout_seconds=0,
        ),
        output_serializer=CustomDictSerializer(
            to_dict=lambda value: some_frames(15, value), from_dict=lambda value: value
        ),
    )

    def call(p: int) -> Any:
        answer = work(p=p)
        if "async" not in kind:
            return answer
        try:
            return run(answer)
        finally:
            answer.close()  # it may not have begun

    refused = answered = 0
    limit = sys.getrecursionlimit() - frames_in_use()
    with caplog.at_level(logging.DEBUG, "idemproof"):
        for n in range(limit - 150, limit + 1):
            try:
                assert deep(n, lambda n=n: call(n)) == {"p": [n]}
                answered += 1
            except (RecursionError, IdempotencyError):
                refused += 1
                clock.advance(11)
            assert call(n) == {"p": [n]}
            assert runs.count(n) == 1
    assert refused > 10
    assert answered > 10


@pytest.mark.parametrize("cached", [False, True])
def test_a_refusal_says_why_and_leaves_nothing(cached: bool) -> None:
    runs: list[int] = []

    @idempotent_function(
        data_keyword_argument="p",
        persistence_store=InMemoryPersistenceLayer(),
        config=IdempotencyConfig(in_progress_expires_after_seconds=3000, use_local_cache=cached),
    )
    def work(p: int) -> None:
        runs.append(p)

    said = set()
    limit = sys.getrecursionlimit() - frames_in_use()
    for n in range(limit - 100, limit):
        try:
            deep(n, lambda n=n: work(p=n))
        except RecursionError as error:
            said.add(str(error).partition(",")[0])
            assert n not in runs
            work(p=n)  # at once
            assert runs[-1] == n
    assert any("frames are left below the recursion limit" in text for text in said)
