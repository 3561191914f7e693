"""Files that are computed from the specification and the engine: which are stale, and writing them."""

from collections.abc import Mapping
from pathlib import Path


def stale(folder: Path, texts: Mapping[str, str], *, alone: bool = False) -> list[str]:
    """Return the names of files in ``folder`` that are missing, or differ from ``texts``, in their order.

    With ``alone``, nothing else may be in the folder: what is there besides is named too.
    """
    differing = [
        name
        for name, text in texts.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    ]
    besides = {path.name for path in folder.iterdir()} - set(texts) if alone and folder.is_dir() else set()
    return [*differing, *sorted(besides)]


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write every file of ``texts`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
