"""Makes the README's links absolute for PyPI. Everything else is in ``pyproject.toml``."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
CODE = r"^```.*?^```|`[^`\n]*`"
LINK = re.compile(
    rf"(?P<opening>!?\[[^\]]*\]\()(?!https?:|#)(?P<path>[^)]+)|{CODE}", re.MULTILINE | re.DOTALL
)


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
        if found["opening"] is None:
            return found[0]  # code
        kind = "raw" if found["opening"].startswith("!") else "blob"
        return f"{found['opening']}{repository}/{kind}/HEAD/{found['path']}"

    return LINK.sub(link, text)


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=absolute(readme, project["urls"]["Repository"]),
        long_description_content_type="text/markdown",
    )
