"""Generates the modules and configurations of the TLA+ model that are not written by hand."""

from pathlib import Path

from .configurations import CONFIGURATIONS
from .module import MODULE, table_module
from .recorded import record
from .traces import CONFIGURATION, ROOT, RUNS, runs_module

EXAMPLES = 2


def files(root: Path) -> dict[str, str]:  # noqa: ARG001 - it comes from the code
    """Return the text of each file by its name."""
    return {
        f"{MODULE}.tla": table_module(),
        f"{RUNS}.tla": runs_module([record(seed) for seed in range(EXAMPLES)]),
        f"{ROOT}.cfg": CONFIGURATION,
        **{f"{each.name}.cfg": each.text() for each in CONFIGURATIONS},
    }
