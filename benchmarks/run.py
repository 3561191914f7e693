"""Compare Idemproof with others and with the bare stores, in one run.

``python -m tox -e bench``, or ``python benchmarks/run.py``; ``--help`` tells what can be chosen. Without
``--report`` the figures are printed only.
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
import in_process
import over_dynamodb
import over_sqlite
import over_valkey
import processes
import with_serializers
from measuring import Scenario, measured
from report import Run, circumstances, told, told_of_targets, write
from stores import Lacking, Places


def scenarios(*, smoke: bool) -> list[Scenario]:
    """Return all scenarios. Those that leave much in memory, or for the disk to do, come last."""
    return [
        *processes.SCENARIOS,
        *in_process.SCENARIOS,
        *with_serializers.SCENARIOS,
        *over_valkey.SCENARIOS,
        *cached_memory.SCENARIOS,
        *over_dynamodb.SCENARIOS,
        *hot_keys.SCENARIOS,
        *over_sqlite.SCENARIOS,
        *growing.scenarios(smoke=smoke),
    ]


def chosen(found: list[Scenario], beginnings: list[str] | None) -> list[Scenario]:
    """Return the scenarios whose names begin so; all, if nothing is asked for.

    Raises
    ------
    SystemExit
        Nothing begins so.
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
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description="Compare Idemproof with others and with the bare stores.")
    parser.add_argument("--smoke", action="store_true", help="one small round of each: that all of it works")
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", help="how the names of some scenarios begin")
    parser.add_argument("--rounds", type=int, help="other than each scenario's own number of rounds")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="where page, pictures and data are written"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the scenarios")
    return parser.parse_args()


def performed(found: list[Scenario], asked: argparse.Namespace) -> Run:
    """Measure each scenario, and print it when it is done."""
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
            print(f"\n{told(outcome, size)}", flush=True)
    return run


@contextlib.contextmanager
def _timed(scenario: Scenario) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"[{scenario.name}: {time.monotonic() - started:.1f} s]", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, and write the report if one is asked for."""
    asked = arguments()
    # Faults are told beside the figures, and what the libraries say of being used so is not the subject.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    found = chosen(scenarios(smoke=asked.smoke), asked.only)
    if asked.list:
        print("\n".join(scenario.name for scenario in found))
        return
    run = performed(found, asked)
    print(f"\n{told_of_targets(run)}")
    if asked.report is not None:
        write(run, asked.report)


if __name__ == "__main__":
    main()
