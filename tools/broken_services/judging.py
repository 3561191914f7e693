"""Judges the services of this package."""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idemproof.conformance.http.runner import check_http
from idemproof.conformance.suite.consequences import DIFFERS, TWICE, WRONG
from idemproof.conformance.suite.kinds import HTTP_TIERS
from idemproof.conformance.suite.report import Report

from . import our_servers
from .foundation import WINDOW_OF_PROCESS_SECONDS
from .kinds import Kind
from .our_servers import command_of, effects_in
from .serving import as_owned, as_process, free_port, in_thread, target_for

COMMANDS = ("restart", "terminate", "kill")


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


def judged_on(
    server: str,
    profile: str,
    policy: str,
    seed: int,
    tiers: tuple[str, ...] = HTTP_TIERS,
    commands: tuple[str, ...] = COMMANDS,
) -> Report:
    """Run our middleware on a server of :data:`SERVERS`, and return the report on it.

    Parameters
    ----------
    server, profile
        The server, and the profile of the middleware and the judge.
    policy
        What happens to a request that a crash interrupted: ``refuse`` or ``run``.
    seed, tiers
        As for the judge.
    commands
        How the judge may end the server.
    """
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        with as_owned(command_of(server, Path(folder), port, profile, policy), Path(folder), port) as process:
            target = target_for(
                f"http://127.0.0.1:{port}",
                profile=profile,
                process={
                    **{name: process[name] for name in ("start", *commands)},
                    "runs_once": policy == "refuse",
                },
                effects={"log": str(effects_in(Path(folder))), "settle_ms": 20},
                window_seconds=our_servers.WINDOW_SECONDS,
                lease_seconds=our_servers.LEASE_SECONDS,
                limits={"seconds": 600},
            )
            return check_http(target, seed=seed, tiers=tiers)


def _judged_as_process(kind: Kind, seed: int, tiers: tuple[str, ...], folder: Path) -> Report:
    port = free_port()
    words = f"{sys.executable} -m broken_services.process {kind.name} {folder / 'store'} {port}"
    with as_owned(words, folder, port) as process:
        owned = {**process, **kind.settings.get("process", {})}
        settings = {"window_seconds": WINDOW_OF_PROCESS_SECONDS, **kind.settings, "process": owned}
        return check_http(target_for(f"http://127.0.0.1:{port}", **settings), seed=seed, tiers=tiers)


def _filled(settings: Mapping[str, Any], url: str) -> dict[str, Any]:
    return {
        name: value.replace("{url}", url) if isinstance(value, str) else value
        for name, value in settings.items()
    }
