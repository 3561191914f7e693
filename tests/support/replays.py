"""Protected functions, called twice and judged: the same twice, or an error that carries the result."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.errors import (
    IdempotencyModelTypeError,
    IdempotencyResultUnavailableError,
    IdempotencySerializationError,
)
from idemproof.reference.results.comparing import difference

_keys = itertools.count()

REFUSED, CARRIED, SAME = "refused when decorated", "carried by the first call's error", "the same twice"


def protected(body: Callable[[Any], Any], serializer: Any, **settings: Any) -> Callable[..., Any]:
    return idempotent_function(
        body,
        data_keyword_argument="payload",
        persistence_store=InMemoryPersistenceLayer(),
        output_serializer=serializer,
        config=IdempotencyConfig(in_progress_expires_after_seconds=30, **settings),
    )


def judged(serializer: Any, make: Callable[[], Any]) -> str:
    """Call a function that returns what ``make`` makes, and return which right outcome it has."""
    runs: list[Any] = []

    def body(payload: Any) -> Any:
        runs.append(make())
        return runs[-1]

    try:
        call = protected(body, serializer)
    except IdempotencyModelTypeError:
        return REFUSED
    payload = next(_keys)
    try:
        first = call(payload=payload)
    except IdempotencySerializationError as error:
        reported = error
    else:
        expected = make()
        for answer in (first, call(payload=payload), call(payload=payload)):
            assert difference(expected, answer) is None
            assert difference(first, answer) is None
        assert len(runs) == 1
        return SAME
    assert reported.function_returned
    assert reported.result is runs[0]
    for _ in range(2):
        with pytest.raises(IdempotencyResultUnavailableError):
            call(payload=payload)
    assert len(runs) == 1
    return CARRIED
