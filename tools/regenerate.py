"""Generate every file that is derived from the specification, the engine and the tests, or list stale files.

``python -m tox -e regenerate``, or ``python tools/regenerate.py`` where the package is installed, writes the
parts that take seconds. Name parts to write only these. Parts that take minutes are written only if you name
them. With ``--check`` nothing is written, and the exit code is 1 if a file is stale.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Part(NamedTuple):
    """A group of generated files.

    Parameters
    ----------
    folder
        The folder, relative to the root of the checkout.
    module
        The module that generates them: its ``files(root)`` returns the text of each file by name.
    alone
        Whether the folder may contain no other files.
    slow
        Whether generating them takes minutes, or starts processes.
    """

    folder: str
    module: str
    alone: bool = False
    slow: bool = False


PARTS = {
    "diagrams": Part("docs/diagrams", "diagrams.generate", alone=True),
    "vectors": Part("idemproof/spec/vectors", "vectors.generate"),
    "open-questions": Part("docs/explanation/open-questions", "open_questions"),
    "traceability": Part("idemproof/spec", "traceability"),
    "injected-faults": Part("docs", "fault_report", slow=True),
    "tla": Part("docs/tla", "tla.generate"),
    "tla-faults": Part("docs/tla", "tla.faults", slow=True),
    "contrast": Part("docs/assets", "contrast", slow=True),
    "kill-matrix": Part("docs", "broken_layers.matrix", slow=True),
    "needs": Part("idemproof/conformance/suite", "needs", slow=True),
    "http-reports": Part("docs/http-reports", "published_services.reports", alone=True, slow=True),
    "reports": Part("docs/reports", "broken_layers.field_notes", alone=True, slow=True),
}


def texts_of(part: Part, root: Path) -> Mapping[str, str]:
    """Return the text of each file of ``part`` by name."""
    files: Callable[[Path], Mapping[str, str]] = import_module(part.module).files
    return files(root)


def stale(part: Part, texts: Mapping[str, str], root: Path) -> list[Path]:
    """Return the files that are missing or differ from ``texts``, and those that should not exist."""
    folder = root / part.folder
    found = [
        folder / name
        for name, text in texts.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    ]
    if part.alone and folder.is_dir():
        found += sorted(path for path in folder.iterdir() if path.name not in texts)
    return [path.relative_to(root) for path in found]


def write(part: Part, texts: Mapping[str, str], root: Path) -> None:
    """Write every file of ``texts``."""
    folder = root / part.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the requested parts, and return the exit code.

    Parameters
    ----------
    arguments
        The command-line arguments; those of the process if None.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="*", help=f"any of: {', '.join(PARTS)}; by default, all fast ones")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.part) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    found = []
    for name in options.part or [name for name, part in PARTS.items() if not part.slow]:
        part = PARTS[name]
        try:
            texts = texts_of(part, options.root)
        except ValueError as problem:  # the text of the protocol, or a mark of a test, is invalid
            sys.stderr.write(f"{problem}\n")
            return 1
        if not options.check:
            write(part, texts, options.root)
        found += [
            f"{path} is stale: run python tools/regenerate.py {name}\n"
            for path in stale(part, texts, options.root)
        ]
    sys.stderr.writelines(found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
