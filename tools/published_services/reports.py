"""Generates ``docs/http-reports``: what the judge finds in published middlewares.

``python tools/regenerate.py http-reports`` installs each pinned package into a folder of its own, runs
it on uvicorn, judges it, and writes a page. The pages contain no times, no ports and no random keys.
"""

import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from broken_services.serving import as_process, free_port, target_for
from idemproof.conformance.http.runner import check_http
from idemproof.conformance.suite.report import Report
from idemproof.conformance.suite.trace_table import plain
from idemproof.conformance.suite.wording import clause_text, counted, groups_of, verdict_line

from .packages import PACKAGES, Package

SEED = 1
_WIDTH = 108
_REQUESTS = MappingProxyType(
    {
        "fails": {"path": "/orders/fails"},
        "declined": {"path": "/orders/declined"},
        "large": {"path": "/orders/large"},
        "cookie": {"path": "/orders/cookie"},
        "slow": {"path": "/orders/slow"},
    }
)
_KEY = re.compile(r"(judge-)([a-z0-9]{8,})", re.IGNORECASE)
_RANDOM = (
    (re.compile(r"(reference\\?\"?:\\?\"?)\w{20}"), r"\1unique"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:8000"),
    (re.compile(r"session=\w+"), "session=random"),
    (re.compile(r"(\"id\":|/orders/)\d+"), r"\1N"),
)
"""The parts that differ between runs, and their placeholders."""


def judged(package: Package) -> Report:
    """Install a package, run it, and return the report on it."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*pip, package.requirement], check=True)
        port = free_port()
        words = [sys.executable, "-m", "published_services.application", package.name, folder, str(port)]
        with as_process(words, port) as url:
            target = target_for(
                url,
                requests=dict(_REQUESTS),
                tenants={
                    "second": {"Authorization": "Bearer bob"},
                    "invalid": {"Authorization": "Bearer wrong"},
                },
                key_required=False,
                other_method=None,
                other_query=None,
                window_seconds=None,
                lease_seconds=None,
            )
            return check_http(target, seed=SEED)


def files(root: Path) -> Mapping[str, str]:  # noqa: ARG001 - they come from the packages
    """Judge all packages, and return the pages by name."""
    pages = {package.name: (package, judged(package)) for package in PACKAGES}
    return {"README.md": _index(pages), **{f"{name}.md": _page(*found) for name, found in pages.items()}}


def _index(pages: dict[str, tuple[Package, Report]]) -> str:
    lines = [
        "# Published middlewares",
        "",
        "These are middlewares of published packages for HTTP services in Python. Each protects the same",
        "small application, which authenticates its clients itself. It is used as the documentation of its",
        "package shows, with its defaults, on uvicorn. `idemproof check-http` used the profile `ietf`.",
        "A key is not required, because none of them requires one by default.",
        "`python tools/regenerate.py http-reports` installs the pinned versions and writes these pages.",
        "",
        "Options of a package may prevent some of these faults, such as a scope for each client.",
        "",
        "| package | verdict |",
        "|---|---|",
    ]
    lines += [
        f"| [{package.name} {package.version}]({name}.md) | {verdict_line(report)} |"
        for name, (package, report) in pages.items()
    ]
    return "\n".join(lines) + "\n"


def _page(package: Package, report: Report) -> str:
    return "\n".join(_lines(package, report)) + "\n"


def _lines(package: Package, report: Report) -> Iterator[str]:
    yield f"# {package.name}"
    yield ""
    yield f"Version {package.version}, with {package.store}, on uvicorn."
    yield f"Profile {report.profile}, seed {report.seed}."
    yield ""
    yield verdict_line(report)
    yield ""
    yield "| tier | verdict | broken | kept |"
    yield "|---|---|---|---|"
    for each in counted(report):
        yield f"| {each.tier} | {each.verdict} | {', '.join(each.broken)} | {', '.join(each.kept)} |"
    for number, group in enumerate(groups_of(report.findings), 1):
        yield ""
        keys: dict[str, int] = {}
        yield f"## {number}. {group.consequence.name.capitalize()}"
        yield ""
        yield _plainly(group.why, keys)
        yield f"Found by `{group.members[0].check}`."
        yield ""
        yield "```text"
        lines = [line._replace(what=_plainly(line.what, keys), at_ms=0) for line in group.lines]
        yield from _with_steps(plain(lines, _WIDTH).splitlines())
        yield "```"
        yield ""
        yield from (f"- **{name}** {clause_text(name)}" for name in group.clauses)
    for heading, verdict in (("Not judged", "not judged"), ("Not offered", "not offered")):
        names = [f"`{each.name}`" for each in report.checks if each.verdict == verdict]
        if names:
            yield ""
            yield f"{heading}: {', '.join(names)}."


def _with_steps(lines: Sequence[str]) -> Iterator[str]:
    """Yield a trace with the numbers of its steps instead of their times."""
    steps = itertools.count(1)
    for line in lines:
        if line.startswith("0 ms"):
            yield f"{next(steps):>4}{line[4:]}".rstrip()
        else:
            yield line.replace("time", "step", 1).rstrip() if line.startswith("time") else line.rstrip()


def _plainly(text: str, keys: dict[str, int]) -> str:
    """Return a text without what differs between runs; ``keys`` has the numbers of a finding's keys."""

    def numbered(match: re.Match[str]) -> str:
        return f"{match[1]}key-{keys.setdefault(match[2], len(keys) + 1)}"

    text = _KEY.sub(numbered, text)
    for found, instead in _RANDOM:
        text = found.sub(instead, text)
    return text
