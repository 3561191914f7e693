"""Makes the README's links absolute for PyPI. Everything else is in ``pyproject.toml``."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
CODE = r"^```.*?^```|`[^`\n]*`"
LINK = re.compile(rf"(?<=\]\()(?![a-z]+:|#)(?P<path>[^)\s]+)|{CODE}", re.MULTILINE | re.DOTALL)
PICTURES = (".svg", ".png")


def absolute(text: str, repository: str) -> str:
    """Return Markdown whose links lead into the repository, and whose images come from there.

    Parameters
    ----------
    text
        Markdown of a page in the repository's top folder.
    repository
        The repository's address.
    """

    def link(found: re.Match[str]) -> str:
        path = found["path"]
        if path is None:
            return found[0]  # code
        return f"{repository}/{'raw' if path.endswith(PICTURES) else 'blob'}/HEAD/{path}"

    return LINK.sub(link, text)


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=absolute(readme, project["urls"]["Repository"]),
        long_description_content_type="text/markdown",
    )
