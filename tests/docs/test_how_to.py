"""The how-to pages show the examples that are tested, and what else they show works."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bad_days import BAD_DAYS
from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.backends.dynamodb_clients import CONNECT_SECONDS, READ_SECONDS
from idemproof.errors import IdempotencyPersistenceLayerError

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "how-to").glob("*.md")}
SHOWN = {path for text in PAGES.values() for path in re.findall(r'--8<-- "([^"]+)"', text)}
EXAMPLES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("first_steps", "options")
    for path in (ROOT / "examples" / folder).iterdir()
    if path.suffix in (".py", ".json")
)
SAME_EVENT = {"dataclass_explicit_output.json", "pydantic_explicit_output.json"}
"""Sample events that another example shows, byte for byte."""


def python_of(page: str) -> dict[str, Any]:
    """Return the names that the page's own Python defines."""
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.+?)^```$", PAGES[page], re.MULTILINE | re.DOTALL):
        exec(compile(code, page, "exec"), names)
    return names


def rows_of(page: str, head: str) -> list[list[str]]:
    """Return the cells of the table that begins with ``head``."""
    lines = PAGES[page].partition(f"{head}\n")[2].splitlines()[1:]
    table = lines[: next(place for place, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def test_the_page_on_renewal_shows_a_function_that_works() -> None:
    names = python_of("renew-leases.md")
    assert names["send_invoices"]("2026-01") == names["send_invoices"](month="2026-01") == 3
    assert names["current_attempt"]() is None


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_is_shown(example: str) -> None:
    if Path(example).name in SAME_EVENT:
        twin = example.replace("explicit", "deduced")
        assert (ROOT / example).read_bytes() == (ROOT / twin).read_bytes()
        example = twin
    assert example in SHOWN


@pytest.mark.parametrize("shown", sorted(SHOWN))
def test_what_is_shown_is_there(shown: str) -> None:
    assert (ROOT / shown).is_file()


@pytest.mark.parametrize("page", sorted(PAGES))
def test_no_formatter_has_taken_an_inclusion_for_a_formula(page: str) -> None:
    assert "--8 <" not in PAGES[page]


def test_the_script_prints_what_the_page_says(tmp_path: Path) -> None:
    console = re.findall(r"^```console\n(.+?)^```$", PAGES["use-sqlite.md"], re.MULTILINE | re.DOTALL)[0]
    script = ROOT / "examples" / "services" / "sqlite_script.py"
    reported = "".join(
        subprocess.run(
            [sys.executable, script, *command.split()[2:]],
            cwd=tmp_path,
            env={**os.environ, "DATABASE": "billing.db"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        for command in re.findall(r"^\$ (.+)$", console, re.MULTILINE)
    )
    assert reported == re.sub(r"^\$ .+\n", "", console, flags=re.MULTILINE)


EVENT = {
    "id": "op-1",
    "order": {"id": "op-1"},
    "customer": "c-1",
    "plan": "yearly",
    "headers": {"idempotency-key": "op-1"},
    "body": '{"id": "op-1"}',
    "detail": {"id": "op-1"},
}


@pytest.mark.parametrize(
    "expression", [row[0].strip("`") for row in rows_of("choose-the-key.md", "| expression | key |")]
)
def test_each_expression_finds_a_key(expression: str) -> None:
    config = IdempotencyConfig(
        expression, raise_on_no_idempotency_key=True, in_progress_expires_after_seconds=30
    )
    ran = []

    @idempotent_function(
        data_keyword_argument="event", persistence_store=InMemoryPersistenceLayer(), config=config
    )
    def run(event: dict[str, Any]) -> None:
        ran.append(event)

    run(EVENT)
    run({**EVENT, "pressed_at": "10:16"})
    assert len(ran) == 1


@pytest.mark.parametrize("name", ["handle-errors.md", "wait-for-results.md"])
def test_a_call_waits_as_the_page_configures(name: str) -> None:
    config = python_of(name)["config"]
    assert config.wait_for_in_progress_seconds == 5


def test_a_result_that_may_not_be_stored_is_used() -> None:
    names = python_of("handle-errors.md")

    def charge(order: dict[str, Any]) -> None:
        raise IdempotencyPersistenceLayerError("down", **order)

    names["charge"] = charge
    assert names["charge_or_report"]({"result": 120}) == 120
    assert names["charge_or_report"]({"result": None}) is None
    with pytest.raises(IdempotencyPersistenceLayerError):
        names["charge_or_report"]({})


def test_the_lease_of_the_page_is_set() -> None:
    assert python_of("set-windows-and-leases.md")["config"].in_progress_expires_after_seconds == 30


def test_the_event_of_the_page_is_json_in_json() -> None:
    event = json.loads((ROOT / "examples/options/payload_subset.json").read_text(encoding="utf-8"))
    assert set(json.loads(event["body"])) > {"customer", "plan"}


def test_the_table_of_dynamodbs_failures_is_what_is_tested() -> None:
    rows = rows_of(
        "use-dynamodb.md",
        "| DynamoDB | a claim gets, and nothing has run | requests | takes at most | a result |",
    )
    request_ms = 1000 * (CONNECT_SECONDS + READ_SECONDS)
    assert rows == [
        [day.what, f"`{day.claim}`", str(day.requests), f"{day.at_most(request_ms):g} s", day.result]
        for day in BAD_DAYS
    ]
