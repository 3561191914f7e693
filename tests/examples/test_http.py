"""The example of a protected HTTP API does what its pages say."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from pages import DOCS, rows

pytestmark = pytest.mark.once

ORDER = {"show": "Metropolis", "seats": ["F7", "F8"]}
TUTORIAL = DOCS / "how-to" / "protect-http-apis.md"


@pytest.fixture
def shop(load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DATABASE", str(tmp_path / "keys.db"))
    module = load("http/fastapi_tickets.py")
    yield module
    module.store.close()


def post(app: Any, order: Any = ORDER, **changed: str | None) -> httpx.Response:
    headers = {"idempotency-key": '"k-1"', "authorization": "Bearer ada", **changed}

    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://tickets") as client:
            present = {name: value for name, value in headers.items() if value is not None}
            return await client.post("/orders", json=order, headers=present)

    return asyncio.run(one())


def test_each_request_of_the_page_is_answered_as_it_says(
    shop: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {**ORDER, "seats": ["A1"]}
    bare: dict[str, str | None] = {"idempotency-key": "k-1"}
    requests: list[tuple[Any, dict[str, str | None]]] = [
        (ORDER, {}),
        (ORDER, {}),
        (other, {}),
        (ORDER, {"authorization": "Bearer bob"}),
        (ORDER, {"idempotency-key": None}),
        (ORDER, bare),
        (ORDER, {"authorization": None}),
    ]
    answers = [post(shop.app, order, **changed) for order, changed in requests]
    shown = rows(TUTORIAL, "request")
    assert len(shown) == len(answers)
    for (_, status, problem), answer in zip(shown, answers, strict=True):
        assert str(answer.status_code) == status
        if re.fullmatch(r"`[\w-]+`", problem):
            assert answer.json()["type"] == f"urn:idemproof:http:{problem.strip('`')}"
        else:
            assert (answer.headers.get("idempotency-replayed") == "true") == ("Replayed" in problem)
    assert capsys.readouterr().out == "charging 24 euros\n" * 2


def test_the_example_has_twenty_lines_at_most(shop: Any) -> None:
    text = Path(str(shop.__file__)).read_text(encoding="utf-8")
    code = [line for line in text.splitlines() if line.strip() and not line.startswith('"""')]
    assert len(code) <= 20
