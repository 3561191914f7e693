"""Installs the lowest versions that the ``pyproject.toml`` of its first argument allows."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path


def lowest(pyproject: str) -> list[str]:
    """Return the lowest version of each dependency, also of the extras, as pip takes it."""
    project = tomllib.loads(pyproject)["project"]
    extras = project["optional-dependencies"].values()
    needed = {*project["dependencies"], *(each for extra in extras for each in extra)}
    own = {each for each in needed if each.startswith(f"{project['name']}[")}
    found = [re.fullmatch(r"([\w-]+(?:\[\w+\])?)>=([\w.]+)", each) for each in sorted(needed - own)]
    assert all(found), f"a dependency of {needed} has no lowest version"
    return [f"{each[1]}=={each[2]}" for each in found if each]


if __name__ == "__main__":
    pins = lowest(Path(sys.argv[1]).read_text(encoding="utf-8"))
    subprocess.run([sys.executable, "-m", "pip", "install", "--no-compile", *pins], check=True)
