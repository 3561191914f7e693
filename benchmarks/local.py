"""What protection costs in the process itself: Idemproof beside the original, in one run.

Both keep their records in a dictionary, both know their remaining time, and each round runs both, so that
whatever else the machine does strikes both. Medians of the rounds are printed, in microseconds a call, with
the ratio to the original. Answers are checked while they are measured.

Run it with ``python -m tox -e bench``, or with ``python benchmarks/local.py [ROUNDS]``.
"""

import itertools
import json
import logging
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import aws_lambda_powertools.utilities.idempotency as original
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
)

import idemproof

CALLS = 1000
Payload = dict[str, Any]


class OriginalInDictionary(original.BasePersistenceLayer):  # type: ignore[misc]  # untyped here
    """The least that the original's documentation asks of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, Any] = {}

    def _get_record(self, idempotency_key: str) -> Any:
        try:
            return self.records[idempotency_key]
        except KeyError:
            raise IdempotencyItemNotFoundError from None

    def _put_record(self, data_record: Any) -> None:
        standing = self.records.get(data_record.idempotency_key)
        if standing is not None and not standing.is_expired:
            raise IdempotencyItemAlreadyExistsError(old_data_record=standing)
        self.records[data_record.idempotency_key] = data_record

    def _update_record(self, data_record: Any) -> None:
        self.records[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record: Any) -> None:
        self.records.pop(data_record.idempotency_key, None)


class Context:
    """A Lambda context with half a minute left."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds left."""
        return 30_000


def order(number: int) -> Payload:
    """Return an order of about 200 bytes; all of it is the key."""
    return {
        "order_id": f"o-{number}",
        "customer": {"id": "c-1842", "country": "NL"},
        "items": [
            {"sku": "A-100", "quantity": 2, "price": 1250},
            {"sku": "B-7", "quantity": 1, "price": 300},
        ],
        "currency": "EUR",
    }


def webhook(number: int) -> Payload:
    """Return an API Gateway event; the key and the validated amount are in its JSON body."""
    return {
        "httpMethod": "POST",
        "path": "/webhooks/payments",
        "headers": {
            "content-type": "application/json",
            "user-agent": "hooks/2.1",
            "x-delivery": f"d-{number}",
        },
        "requestContext": {
            "requestId": f"r-{number}",
            "stage": "prod",
            "identity": {"sourceIp": "203.0.113.7"},
        },
        "body": json.dumps(
            {"payment_id": f"p-{number}", "amount": 1250, "currency": "EUR", "customer": "c-1842"}
        ),
        "isBase64Encoded": False,
    }


def field(number: int) -> Payload:
    """Return two fields, one of which is the key: the least there can be to derive."""
    return {"id": f"o-{number}", "amount": 1250}


SCENARIOS: dict[str, tuple[Callable[[int], Payload], dict[str, str]]] = {
    "order, 200 bytes": (order, {}),
    "webhook, 500 bytes": (
        webhook,
        {
            "event_key_jmespath": "powertools_json(body).payment_id",
            "payload_validation_jmespath": "powertools_json(body).[amount, currency]",
        },
    ),
    "one field": (field, {"event_key_jmespath": "id"}),
}


def contestant(library: Any, layer: Any, expressions: dict[str, str], *, cached: bool) -> Callable[..., Any]:
    """Return a function protected by ``library``."""
    config = library.IdempotencyConfig(
        **expressions, use_local_cache=cached, local_cache_max_items=10**6, lambda_context=Context()
    )

    @library.idempotent_function(data_keyword_argument="payload", persistence_store=layer, config=config)
    def handle(payload: Payload) -> dict[str, Any]:
        return {"statusCode": 200, "handled": len(payload)}

    return handle  # type: ignore[no-any-return]


def measure(function: Callable[..., Any], payloads: list[Payload]) -> float:
    """Return the microseconds a call."""
    started = time.perf_counter()
    for payload in payloads:
        answer = function(payload=payload)
    elapsed = time.perf_counter() - started
    if answer != {"statusCode": 200, "handled": len(payloads[-1])}:
        raise AssertionError(f"a wrong answer: {answer!r}")
    return elapsed / len(payloads) * 1e6


def rounds(scenario: str, count: int) -> Iterator[tuple[str, str, float]]:
    """Yield (contestant, case, microseconds), both contestants in each round, in turns first."""
    make, expressions = SCENARIOS[scenario]
    numbers = itertools.count()
    libraries = [
        ("original", original, OriginalInDictionary),
        ("idemproof", idemproof, idemproof.InMemoryPersistenceLayer),
    ]
    functions = {
        (name, cached): contestant(library, layer(), expressions, cached=cached)
        for name, library, layer in libraries
        for cached in (False, True)
    }
    for turn in range(count):
        payloads = [make(next(numbers)) for _ in range(CALLS)]
        for name, _, _ in libraries if turn % 2 else reversed(libraries):
            yield name, "first call", measure(functions[name, False], payloads)
            yield name, "replay", measure(functions[name, False], payloads)
            measure(functions[name, True], payloads)
            yield name, "cached replay", measure(functions[name, True], payloads)


def import_milliseconds(statement: str, tries: int = 7) -> float:
    """Return the median milliseconds that ``statement`` takes in a new process."""
    program = f"import time; s = time.perf_counter(); {statement}; print((time.perf_counter() - s) * 1000)"
    runs = (
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True) for _ in range(tries)
    )
    return statistics.median(float(run.stdout) for run in runs)


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(f"Python {platform.python_version()}, {platform.machine()}, {count} rounds")
    print(f"{'':20}{'':16}{'original':>10}{'idemproof':>11}{'ratio':>8}")
    for scenario in SCENARIOS:
        times: dict[tuple[str, str], list[float]] = {}
        for name, case, microseconds in rounds(scenario, count):
            times.setdefault((name, case), []).append(microseconds)
        for case in ("first call", "replay", "cached replay"):
            theirs, ours = (statistics.median(times[name, case]) for name in ("original", "idemproof"))
            print(f"{scenario:20}{case:16}{theirs:8.1f}us{ours:9.1f}us{ours / theirs:8.2f}")
    theirs = import_milliseconds("import aws_lambda_powertools.utilities.idempotency")
    ours = import_milliseconds("import idemproof")
    used = import_milliseconds("from idemproof import idempotent_function, InMemoryPersistenceLayer")
    print(f"{'import':36}{theirs:8.1f}ms{ours:9.1f}ms{ours / theirs:8.2f}")
    print(f"{'import of what is used':36}{theirs:8.1f}ms{used:9.1f}ms{used / theirs:8.2f}")


if __name__ == "__main__":
    main()
