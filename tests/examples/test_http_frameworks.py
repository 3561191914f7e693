"""The HTTP examples for Flask and Django: a repeated order gets the first answer, and charges nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.once

HTTP = Path(__file__).parents[2] / "examples" / "http"
ORDER = {"seats": ["F7", "F8"]}


def test_flask(
    load: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE", str(tmp_path / "orders.db"))
    shop = load("http/flask_orders.py")

    def order(token: str, key: str = '"order-1"', **changed: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
        return shop.app.test_client().post("/orders", json=ORDER | changed, headers=headers)

    first, again = order("token-of-ada"), order("token-of-ada")
    assert first.status_code == again.status_code == 201
    assert first.json == again.json == {**ORDER, "receipt": "receipt of ada"}
    assert again.headers["Idempotency-Replayed"] == "true"
    assert order("token-of-ada", seats=["A1"]).status_code == 422
    assert order("token-of-grace").json["receipt"] == "receipt of grace"
    assert order("nobody").status_code == 401
    assert capsys.readouterr().out == "charging ada 24 euros\ncharging grace 24 euros\n"
    shop.store.close()


DJANGO = """
import json, sys
import django_orders as shop
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

call_command("migrate", verbosity=0)
ada = Client()
ada.force_login(User.objects.create_user("ada"))
nobody = Client()

def order(client):
    reply = client.post(
        "/orders", {"seats": ["F7"]}, "application/json", headers={"Idempotency-Key": '"order-1"'}
    )
    return [reply.status_code, reply.get("Idempotency-Replayed"), json.loads(reply.content).get("receipt")]

print(json.dumps([order(ada), order(ada), order(nobody)]), file=sys.stderr)
shop.settings.IDEMPROOF["persistence_store"].close()
"""


def test_django(tmp_path: Path) -> None:
    files = {"DATABASE": str(tmp_path / "orders.db"), "DJANGO_DB": str(tmp_path / "django.db")}
    done = subprocess.run(
        [sys.executable, "-c", DJANGO],
        cwd=HTTP,
        env={**os.environ, **files},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "charging ada 12 euros\n"
    assert json.loads(done.stderr.splitlines()[-1]) == [
        [201, None, "receipt of ada"],
        [201, "true", "receipt of ada"],
        [400, None, None],
    ]
