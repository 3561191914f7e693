"""Layers that are commands, for the tests of ``check --command``."""

import os
import sys
from pathlib import Path
from typing import Any

import malformed_layer
from idemproof.conformance import Capabilities, Profile, Report, check
from idemproof.conformance.commands.layer import CommandFactory

EXAMPLES = Path(__file__).parents[2] / "examples" / "other_languages"
MALFORMED = malformed_layer.__file__
CLAIMS = Capabilities(durable=True)
TINY = Profile("tiny", 2, 5, 5, 1, 0.2, 0.2, 1, 60)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def malformed(way: str, seconds: float = 60) -> CommandFactory:
    """Return the factory of a layer that goes wrong in this way; of a correct one if there is no such way."""
    return CommandFactory([sys.executable, MALFORMED, way], seconds)


def program_factory(node: str, program: Path, folder: Path) -> CommandFactory:
    """Return the factory of a program like the example in JavaScript."""
    return CommandFactory([node, str(program), str(folder / "records")], 60)


def of_the_example(node: str, program: Path, folder: Path, **options: Any) -> Report:
    """Judge a program like the example in JavaScript."""
    return check(program_factory(node, program, folder), seed=1, capabilities=CLAIMS, **options)
