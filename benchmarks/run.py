"""Compare Idemproof with other libraries and with the plain stores.

Run ``python -m tox -e bench`` or ``python benchmarks/run.py``. ``--help`` lists the options. Without
``--report``, the figures are only printed.
"""

import argparse
import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import cached_memory
import growing
import hot_keys
import http_in_process
import in_process
import over_dynamodb
import over_http
import over_postgres
import over_sqlalchemy
import over_sqlite
import over_valkey
import processes
import with_serializers
from measuring import Scenario, measured
from report import Run, circumstances, outcome_text, targets_text, write
from stores import Lacking, Places


def scenarios(*, smoke: bool) -> list[Scenario]:
    """Return all scenarios. Those that leave much in memory, or many writes for the disk, come last."""
    return [
        *processes.SCENARIOS,
        *in_process.SCENARIOS,
        *with_serializers.SCENARIOS,
        *over_valkey.SCENARIOS,
        *cached_memory.SCENARIOS,
        *over_dynamodb.SCENARIOS,
        *http_in_process.SCENARIOS,
        *over_http.SCENARIOS,
        *hot_keys.SCENARIOS,
        *over_postgres.SCENARIOS,
        *over_sqlite.SCENARIOS,
        *over_sqlalchemy.SCENARIOS,
        *growing.scenarios(smoke=smoke),
    ]


def chosen(found: list[Scenario], beginnings: list[str] | None) -> list[Scenario]:
    """Return the scenarios whose names begin with one of the given texts; all if there is none.

    Raises
    ------
    SystemExit
        No scenario matches a text.
    """
    for beginning in beginnings or []:
        if not any(scenario.name.startswith(beginning) for scenario in found):
            names = "\n  ".join(scenario.name for scenario in found)
            raise SystemExit(f"No scenario begins with {beginning!r}. There are:\n  {names}")
    return [
        scenario
        for scenario in found
        if beginnings is None or any(scenario.name.startswith(beginning) for beginning in beginnings)
    ]


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Compare Idemproof with other libraries and with the plain stores."
    )
    parser.add_argument(
        "--smoke", action="store_true", help="run one small round of each scenario, as a smoke test"
    )
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", help="the beginnings of scenario names")
    parser.add_argument("--rounds", type=int, help="the number of rounds of each scenario")
    parser.add_argument("--report", type=Path, metavar="DIR", help="the directory for page, charts and data")
    parser.add_argument("--list", action="store_true", help="print the names of the scenarios")
    return parser.parse_args()


def performed(found: list[Scenario], asked: argparse.Namespace) -> Run:
    """Measure each scenario, and print its results when it is done."""
    run = Run([], {}, os.getloadavg()[0])
    print("\n".join(circumstances(run)), flush=True)
    with contextlib.ExitStack() as stack:
        places = Places(stack)
        for scenario in found:
            size = scenario.smoke if asked.smoke else scenario.size
            size = size._replace(rounds=asked.rounds or size.rounds)
            with _timed(scenario):
                try:
                    outcome = measured(scenario, size, places)
                except Lacking as lack:
                    run.lacking[scenario.name] = str(lack)
                    print(f"\n{scenario.name}: {lack}", flush=True)
                    continue
            run.outcomes.append((outcome, size))
            print(f"\n{outcome_text(outcome, size)}", flush=True)
    return run


@contextlib.contextmanager
def _timed(scenario: Scenario) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"[{scenario.name}: {time.monotonic() - started:.1f} s]", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, and write the report if ``--report`` is given."""
    asked = arguments()
    # Faults are reported with the figures, and warnings of the libraries are not the subject.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    found = chosen(scenarios(smoke=asked.smoke), asked.only)
    if asked.list:
        print("\n".join(scenario.name for scenario in found))
        return
    run = performed(found, asked)
    print(f"\n{targets_text(run)}")
    if asked.report is not None:
        write(run, asked.report)


if __name__ == "__main__":
    main()
