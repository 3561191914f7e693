"""``idemproof check-http``: its options, its reports and its exit codes."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broken_services import SERVICES
from broken_services.foundation import Call, Receive, Reply, Send, Service, send_reply
from broken_services.serving import in_thread
from idemproof.cli.app import app

pytestmark = pytest.mark.once

PAYLOADS = ["--payload", '{"amount":5}', "--other-payload", '{"amount":6}', "--tier", "payloads"]
ALICE = ["--header", "Authorization: Bearer alice"]


def run(*words: str, exit_code: int) -> str:
    result = CliRunner().invoke(app, ["check-http", *words])
    assert result.exit_code == exit_code, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def broken() -> Iterator[str]:
    with in_thread(SERVICES["no-payload-hash"].make(None)) as url:
        yield url


def test_an_address_with_options_is_judged(broken: str, tmp_path: Path) -> None:
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    words = [f"{broken}/orders", *ALICE, *PAYLOADS, "--effects", f"{broken}/effects#count", "--seed", "3"]
    output = run(*words, "--html", str(page), "--json", str(data), exit_code=1)
    assert "BROKEN: 2 clauses (INV-4, HTTP-10)" in output
    assert "curl -si -X POST" in output
    assert "--seed 3 --tier payloads --payload '{\"amount\":5}' --other-payload" in output
    report = json.loads(data.read_text())
    assert report["keeps"] is False
    findings = [each for check in report["checks"] for each in check["findings"]]
    assert {each["severity"] for each in findings} == {"wrong result"}
    assert all("curl" in each["commands"][0] for each in findings)
    text = page.read_text()
    assert "send these requests again" in text
    assert "the clauses about HTTP" in text


def test_a_service_that_keeps_a_tier_has_exit_code_0(tmp_path: Path) -> None:
    file = tmp_path / "target.toml"
    with in_thread(SERVICES["waits"].make(None)) as url:
        file.write_text(f"""
            url = "{url}/orders"
            headers = {{ Authorization = "Bearer alice" }}
            json = {{ amount = 5 }}
            other_json = {{ amount = 6 }}
            [effects]
            url = "{url}/effects"
            json = "count"
        """)
        output = run(str(file), "--tier", "payloads", "--require", "payloads", exit_code=0)
    assert "Required and kept: payloads." in output
    assert "Requests sent:" in output


class Garish(Service):
    """Writes control characters and markup into its answers, and changes them."""

    async def answer(self, call: Call, receive: Receive, send: Send) -> None:
        status = 500 if call.path == "/fails" else 201
        await send_reply(send, Reply(status, [], b"\x1b[2J<script>[/red]" + os.urandom(8).hex().encode()))


def test_what_a_service_answers_controls_neither_the_terminal_nor_the_page(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with in_thread(Garish()) as url:
        output = run(f"{url}/orders", "--tier", "repeats", "--html", str(page), exit_code=1)
        refused = run(f"{url}/fails", exit_code=2)
    assert "\\x1b[2J<script>[/red]" in output
    assert "\\x1b[2J<script>[/red]" in refused
    assert "\x1b" not in output + refused + page.read_text()
    assert "&lt;script&gt;" in page.read_text()
    assert "<script" not in page.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["http://192.0.2.1/"], "Add --i-own-this-host only if you own the host."),
        (["http://127.0.0.1:1/"], "Connection refused. Nothing was judged."),
        (["nothing.toml"], "'nothing.toml' cannot be read"),
        (["nothing.toml", "--method", "PUT"], "method is an option for an address"),
        (["http://127.0.0.1:1/", "--profile", "house"], "There is no profile 'house'. There are: ietf"),
        (["http://127.0.0.1:1/", "--tier", "speed"], "There is no tier 'speed'. There are: keys"),
        (["http://127.0.0.1:1/", "--payload", "{"], "--payload is not JSON"),
        (["http://127.0.0.1:1/", "--payload", "[" * 100_000], "--payload is not JSON"),
        (["http://127.0.0.1:1/", "--payload", "NaN"], "json is no JSON"),
        (["http://127.0.0.1:1/", "--header", "x"], "--header must be 'NAME: VALUE', not 'x'."),
        (["http://127.0.0.1:1/", "--tier", "keys", "--require", "scope"], "add --tier scope"),
        (["http://127.0.0.1:1/", "--html", "/nowhere/at/all"], "cannot be written"),
    ],
)
def test_what_cannot_be_judged_has_exit_code_2(words: list[str], message: str) -> None:
    assert message in run(*words, exit_code=2)
