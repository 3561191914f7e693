"""Judges the services of this package."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idemproof.conformance.http.runner import check_http
from idemproof.conformance.suite.consequences import DIFFERS, TWICE, WRONG
from idemproof.conformance.suite.kinds import HTTP_TIERS
from idemproof.conformance.suite.report import Report

from .foundation import WINDOW_OF_PROCESS_SECONDS
from .kinds import Kind
from .serving import as_process, free_port, in_thread, start_command, target_for, wait_for

WITHOUT_CRASHES = tuple(tier for tier in HTTP_TIERS if tier != "crashes")


def judged(kind: Kind, seed: int, tiers: tuple[str, ...] = HTTP_TIERS) -> Report:
    """Run a service, and return the report on it."""
    if not kind.is_process:
        with in_thread(kind.make(None)) as url:
            return check_http(target_for(url, **_filled(kind.settings, url)), seed=seed, tiers=tiers)
    with tempfile.TemporaryDirectory() as folder:
        return _judged_as_process(kind, seed, tiers, Path(folder))


def judged_in_node(fault: str, seed: int, tiers: tuple[str, ...] = HTTP_TIERS) -> Report:
    """Run the service in Node.js with a fault, or with ``none``, and return the report on it."""
    port = free_port()
    words = ["node", str(Path(__file__).with_name("node_service.mjs")), fault, str(port)]
    with as_process(words, port) as url:
        return check_http(
            target_for(url, requests=None, window_seconds=None, other_query=None), seed=seed, tiers=tiers
        )


NODE_FAULTS = {
    "race-window": (TWICE, "races"),
    "rounds-numbers": (WRONG, "payloads"),
    "forgets-status": (DIFFERS, "repeats"),
    "half-a-body": (TWICE, "connections"),
}
"""The faults of the service in Node.js: what each leads to, and the tier that detects it."""


def _judged_as_process(kind: Kind, seed: int, tiers: tuple[str, ...], folder: Path) -> Report:
    port = free_port()
    start = start_command(kind.name, folder, port)
    stop = (
        f"kill -%s $(cat {folder / 'pid'}); while kill -0 $(cat {folder / 'pid'}) 2>&-; do sleep 0.02; done"
    )
    process = {
        "start": start,
        "restart": f"{stop % 'TERM'}; {start}",
        "terminate": stop % "TERM",
        "kill": stop % "KILL",
        **kind.settings.get("process", {}),
    }
    _shell(start)
    try:
        wait_for(port)
        settings = {"window_seconds": WINDOW_OF_PROCESS_SECONDS, **kind.settings, "process": process}
        target = target_for(f"http://127.0.0.1:{port}", **settings)
        return check_http(target, seed=seed, tiers=tiers)
    finally:
        _shell(stop % "KILL")


def _shell(command: str) -> None:
    subprocess.run(["/bin/sh", "-c", command], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def _filled(settings: Mapping[str, Any], url: str) -> dict[str, Any]:
    return {
        name: value.replace("{url}", url) if isinstance(value, str) else value
        for name, value in settings.items()
    }
