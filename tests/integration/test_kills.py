"""Workers that die before, during and after the effect, over real servers: with a question, nothing twice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import servers
from kills import POINTS

pytestmark = [pytest.mark.once, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

PROGRAM = Path(__file__).parents[1] / "support" / "kills.py"


@pytest.fixture
def spec(server: str, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What the program needs to know of a server."""
    found: dict[str, Any] = {"server": server, "effects": str(tmp_path / "effects")}
    if server == "valkey":
        return found | {"client": servers.redis_kwargs(request.getfixturevalue("valkey_server"))}
    running = request.getfixturevalue(f"{server}_server")
    table = f"kills-{tmp_path.name}"[:200]
    servers.create_table(servers.dynamodb_client(running), table)
    return found | {"client": f"http://{running.host}:{running.port}", "table": table}


def killed(spec: dict[str, Any], kills: int, *, asks: bool) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), json.dumps(spec | {"kills": kills, "asks": asks, "seed": 1})],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


SERVERS = pytest.mark.parametrize("server", ["valkey", "dynamodb", "dynalite"])


@SERVERS
@pytest.mark.clause("INV-10", "TAKE-3", "TAKE-5")
def test_no_effect_happens_twice_if_it_is_asked_about(server: str, spec: dict[str, Any]) -> None:
    report = killed(spec, 42, asks=True)
    assert report["kills"] >= 42
    assert set(report["points"]) == set(POINTS)
    assert (report["twice"], report["never"]) == (0, 0)


@pytest.mark.parametrize("server", ["valkey"])
@pytest.mark.clause("OUT-4")
def test_without_a_question_effects_happen_twice(
    server: str, spec: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    report = killed(spec, 30, asks=False)
    counted = f"{report['twice']} of {report['keys']} effects twice in {report['kills']} kills"
    with capsys.disabled():
        sys.stdout.write(f"\nwithout on_takeover: {counted}\n")
    assert report["twice"] > 0


@pytest.mark.nightly
@pytest.mark.parametrize(("server", "kills"), [("valkey", 2000), ("dynamodb", 300), ("dynalite", 300)])
@pytest.mark.clause("INV-10")
def test_no_effect_happens_twice_in_many_kills(server: str, kills: int, spec: dict[str, Any]) -> None:
    report = killed(spec, kills, asks=True)
    assert report["kills"] >= kills
    assert (report["twice"], report["never"]) == (0, 0)
