"""The examples of protected HTTP APIs do what their pages say."""

import asyncio
import contextlib
import re
import sqlite3
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


def test_a_booking_is_committed_with_its_answer(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bookings.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{file}")
    shop = load("http/fastapi_bookings.py")
    headers = {"idempotency-key": '"k-1"', "authorization": "Bearer ada"}

    async def book_twice() -> list[httpx.Response]:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(shop.app), base_url="http://shop")
        async with shop.app.router.lifespan_context(shop.app), client:
            answers = [await client.post("/bookings/A7", headers=headers) for _ in range(2)]
        await shop.store.close()
        await shop.engine.dispose()
        return answers

    first, again = asyncio.run(book_twice())
    assert (first.status_code, first.json()) == (201, {"booking": 1, "seat": "A7"})
    assert (again.status_code, again.content) == (201, first.content)
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (
        None,
        "true",
    )
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT seat FROM bookings").fetchall() == [("A7",)]


def test_the_example_has_twenty_lines_at_most(shop: Any) -> None:
    text = Path(str(shop.__file__)).read_text(encoding="utf-8")
    code = [line for line in text.splitlines() if line.strip() and not line.startswith('"""')]
    assert len(code) <= 20
