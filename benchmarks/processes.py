"""Measure the start of a process: the import, and the time from the first import to the first answer."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from libraries import BARE, IDEMKIT, IDEMPROOF, POWERTOOLS
from measuring import Contestant, Sample, Scenario, Size
from payloads import ORDER, Payload
from stores import Places

IMPORT, COLD = "import", "first call of a process"
PACKAGE_ALONE = "idemproof, no name used"

_IMPORTS = {
    # The imports that every such library needs: JMESPath and modules of the standard library.
    BARE: "import datetime, decimal, hashlib, inspect, json, logging, threading, jmespath",
    IDEMPROOF: "from idemproof import idempotent_function, InMemoryPersistenceLayer",
    # Names load on first use, so every program that uses a name takes longer than this.
    PACKAGE_ALONE: "import idemproof",
    POWERTOOLS: "from aws_lambda_powertools.utilities.idempotency import idempotent_function",
    IDEMKIT: "from idemkit import idempotent_sync, InMemoryBackend",
}
_TIMED = "import time; s = time.perf_counter(); {}; print((time.perf_counter() - s) * 1000)"
_COLD = str(Path(__file__).with_name("cold.py"))


def _said(arguments: Sequence[str], environment: dict[str, str] | None = None) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=os.environ | (environment or {}), stdout=subprocess.PIPE, check=True, text=True
    ).stdout


def _importing(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:  # noqa: ARG001 - others need it
    def contestant(name: str, statement: str) -> Contestant:
        program = _TIMED.format(statement)
        return Contestant(name, lambda _: [Sample(IMPORT, float(_said(["-c", program])))])

    return [contestant(name, statement) for name, statement in _IMPORTS.items()]


def _starting(
    store: str, names: Sequence[str], address: Callable[[Places], tuple[int, dict[str, str]]]
) -> Callable[[Places, contextlib.ExitStack], list[Contestant]]:
    def enter(places: Places, stack: contextlib.ExitStack) -> list[Contestant]:  # noqa: ARG001
        port, environment = address(places)

        def contestant(name: str) -> Contestant:
            def one_round(payloads: Sequence[Payload]) -> list[Sample]:
                # Different for each contestant, because two of them derive equal keys.
                number = f"{name}-{payloads[0]['order_id']}"
                reported = json.loads(
                    _said(["-W", "ignore", _COLD, name, store, str(port), number], environment)
                )
                expected = {"statusCode": 200, "handled": f"o-{number}"}
                wrong = None if reported["answer"] == expected else f"a wrong answer: {reported['answer']}"
                return [Sample(COLD, reported["milliseconds"], wrong)]

            return Contestant(name, one_round)

        return [contestant(name) for name in names]

    return enter


def _dynamodb(places: Places) -> tuple[int, dict[str, str]]:
    made_with = places.dynamodb
    return 0, {
        "AWS_ENDPOINT_URL_DYNAMODB": made_with["endpoint_url"],
        "AWS_DEFAULT_REGION": made_with["region_name"],
        "AWS_ACCESS_KEY_ID": made_with["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": made_with["aws_secret_access_key"],
    }


def _redis(places: Places) -> tuple[int, dict[str, str]]:
    return places.valkey_port, {}


def _scenario(
    name: str, enter: Callable[[Places, contextlib.ExitStack], list[Contestant]], rounds: int
) -> Scenario:
    return Scenario(name, enter, POWERTOOLS, Size(rounds, 1), Size(1, 1), kind=ORDER, unit="ms")


SCENARIOS = [
    _scenario("import", _importing, 11),
    _scenario("cold start, DynamoDB", _starting("dynamodb", [BARE, IDEMPROOF, POWERTOOLS], _dynamodb), 9),
    _scenario("cold start, Redis", _starting("redis", [BARE, IDEMPROOF, POWERTOOLS, IDEMKIT], _redis), 9),
]
