"""A place to work in: the package as it is installed, its tests beside it, and what configures them."""

import shutil
from pathlib import Path

from selections import Module

ROOT = Path(__file__).resolve().parents[2]

PYTEST_INI = """\
[pytest]
addopts = --import-mode=importlib -m "not nightly" -p no:cacheprovider
pythonpath = tests/support tools
filterwarnings = error
markers =
    nightly: takes long
    once: takes a while
    waits: waits for minutes
"""

# One and the same verdict every time, and soon: the same examples, and no search for the smallest.
PROFILE = """

from hypothesis import HealthCheck, Phase

settings.register_profile(
    "mutation",
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("mutation")
"""

MUTMUT = """\
[mutmut]
source_paths=idemproof
only_mutate=idemproof/{path}
also_copy=
    pytest.ini
    docs
    tools
    examples
pytest_add_cli_args_test_selection=
    {tests}
pytest_add_cli_args=
    {only}-x
    -q
timeout_multiplier=8
timeout_constant=3
track_dependencies=false
use_git_change_detection=false
"""


def prepare(place: Path, package: Path | None) -> None:
    """Put the package and its tests into ``place``.

    Parameters
    ----------
    place
        A folder; what it has of an earlier preparation is replaced.
    package
        The folder of the installed package, or None to take it from the checkout, as its wheel would.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(package or ROOT / "idemproof", place / "idemproof", ignore=ignore)
    for folder in ("tests", "tools", "docs", "examples"):
        shutil.copytree(ROOT / folder, place / folder, ignore=ignore)
    (place / "pytest.ini").write_text(PYTEST_INI, encoding="utf-8")
    with (place / "tests" / "conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(PROFILE)


def configure(place: Path, module: Module) -> None:
    """Write the configuration by which mutmut mutates ``module`` in ``place``."""
    only = f"-k\n    {module.only}\n    " if module.only else ""
    text = MUTMUT.format(path=module.path, tests="\n    ".join(module.quick), only=only)
    (place / "setup.cfg").write_text(text, encoding="utf-8")
    # Functions behind decorators are not mutated: what is only remembered can be worked out anew. The modules
    # beside it remember nothing either, because mutmut runs the tests more than once in one process.
    for source in (place / "idemproof" / module.path).parent.glob("*.py"):
        source.write_text(source.read_text(encoding="utf-8").replace("\n@cache\n", "\n"), encoding="utf-8")
