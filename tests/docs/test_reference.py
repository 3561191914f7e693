"""What the reference says of names, parameters and defaults is what the code has."""

import ast
import contextlib
import importlib
import inspect
import pkgutil
import re
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_lambda_powertools.utilities.idempotency as original
import pytest
import typer
from aws_lambda_powertools.utilities.idempotency import exceptions as original_errors

import idemproof
from idemproof import (
    AsyncDynamoDBPersistenceLayer,
    AsyncRedisCachePersistenceLayer,
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    IdempotencyWarning,
    InMemoryPersistenceLayer,
    RedisCachePersistenceLayer,
    SQLitePersistenceLayer,
    errors,
    idempotent,
    idempotent_function,
)
from idemproof.cli.app import app
from idemproof.reference.protection import DISABLED
from idemproof.spec.record import RESULT_UNAVAILABLE
from pages import DOCS, rows

pytestmark = pytest.mark.once

REFERENCE = DOCS / "reference"
REQUIRED = inspect.Parameter.empty
IDEMPOTENCY = "aws_lambda_powertools.utilities.idempotency"


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what each parameter is if it is not given."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }


class TestErrors:
    page = REFERENCE / "errors.md"

    def test_each_has_one_row_and_nothing_else_is_called_an_error(self) -> None:
        reported = [name for row in rows(self.page, "error") for name in names(row[0])]
        assert sorted([*reported, "IdempotencyError", "BaseError"]) == sorted(errors.__all__)
        mentioned = re.findall(r"`(\w+Error)`", self.page.read_text(encoding="utf-8"))
        assert {name for name in mentioned if name not in ("ValueError", "TypeError", "RuntimeError")} == set(
            errors.__all__
        )

    def test_those_of_the_store_derive_from_one(self) -> None:
        reported = {
            name for row in rows(self.page, "error") for name in names(row[0]) if "Persistence" in name
        }
        assert reported == {
            name
            for name in errors.__all__
            if "Persistence" in name
            and issubclass(getattr(errors, name), errors.IdempotencyPersistenceLayerError)
        }


class TestConfiguration:
    page = REFERENCE / "configuration.md"

    def test_each_parameter_has_its_default_in_its_order(self) -> None:
        reported = {names(row[0])[0]: row[1] for row in rows(self.page, "parameter")}
        real = parameters(IdempotencyConfig)
        assert list(reported) == list(real)
        assert reported.pop("clock") == "the system's"
        assert real.pop("clock") is IdempotencyConfig().clock
        assert {name: ast.literal_eval(names(cell)[0]) for name, cell in reported.items()} == real

    @pytest.mark.parametrize(("column", "decorator"), [(1, idempotent), (2, idempotent_function)])
    def test_each_parameter_of_a_decorator_is_reported(
        self, column: int, decorator: Callable[..., Any]
    ) -> None:
        real = parameters(decorator)
        del real["handler" if decorator is idempotent else "function"]
        reported = {names(row[0])[0]: row[column] for row in rows(self.page, "")[1:]}
        assert real.keys() <= reported.keys()
        assert {name for name, cell in reported.items() if cell.startswith("required")} == {
            name for name, default in real.items() if default is REQUIRED
        }
        assert {name: reported[name] for name in reported.keys() - real.keys()} == (
            {"data_keyword_argument": "the event", "key": "", "output_serializer": ""}
            if decorator is idempotent
            else {}
        )

    def test_the_switch_has_the_values_that_are_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        [reported] = [row[1] for row in rows(self.page, "variable") if names(row[0]) == [DISABLED]]
        on, off = (names(part) for part in reported.partition("off, ")[::2])
        off = [value for value in off if "Error" not in value]
        assert (len(on), len(off)) == (6, 6)

        for value in (*on, *off, ""):
            assert self.runs_of_two_calls(value, monkeypatch) == (2 if value in on else 1), value
        with pytest.raises(errors.IdempotencyConfigError):
            self.runs_of_two_calls("perhaps", monkeypatch)

    @staticmethod
    def runs_of_two_calls(switch: str, monkeypatch: pytest.MonkeyPatch) -> int:
        ran = []

        @idempotent_function(data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer())
        def work(order: str) -> None:
            ran.append(order)

        monkeypatch.setenv(DISABLED, switch)
        for _ in range(2):
            with warnings.catch_warnings(action="ignore", category=IdempotencyWarning):
                work("A-17")
        return len(ran)


class TestAttributes:
    page = REFERENCE / "attributes.md"
    reported = rows(page, "attribute")

    def defaults(self) -> dict[str, Any]:
        return {names(row[1])[0]: next(iter(names(row[0])), None) for row in self.reported}

    @pytest.mark.parametrize("layer", [DynamoDBPersistenceLayer, AsyncDynamoDBPersistenceLayer])
    def test_they_are_the_parameters_of_dynamodb(self, layer: Callable[..., Any]) -> None:
        real = {name: value for name, value in parameters(layer).items() if name.endswith("_attr")}
        assert self.defaults() == real

    @pytest.mark.parametrize("layer", [RedisCachePersistenceLayer, AsyncRedisCachePersistenceLayer])
    def test_all_but_the_keys_are_the_parameters_of_redis(self, layer: Callable[..., Any]) -> None:
        real = {name: value for name, value in parameters(layer).items() if name.endswith("_attr")}
        reported = self.defaults()
        assert {reported.pop("key_attr"), reported.pop("sort_key_attr")} == {"id", None}
        assert reported == real

    def test_they_are_the_columns_of_sqlite(self, tmp_path: Path) -> None:
        layer = SQLitePersistenceLayer(tmp_path / "records.db")
        layer.purge()
        layer.close()
        with contextlib.closing(sqlite3.connect(tmp_path / "records.db")) as database:
            columns = [row[1] for row in database.execute("PRAGMA table_info(records)")]
        assert sorted(columns) == sorted(filter(None, self.defaults().values()))

    def test_they_have_the_types_that_are_reported(self) -> None:
        puts: list[dict[str, dict[str, Any]]] = []

        class Client:
            def get_item(self, **_: Any) -> None: ...

            def delete_item(self, **_: Any) -> None: ...

            def put_item(self, *, Item: dict[str, Any], **_: Any) -> dict[str, Any]:  # noqa: N803
                puts.append(Item)
                return {}

        config = IdempotencyConfig(payload_validation_jmespath="amount", in_progress_expires_after_seconds=30)
        store = DynamoDBPersistenceLayer("orders", boto3_client=Client())

        @idempotent_function(data_keyword_argument="order", persistence_store=store, config=config)
        def work(order: dict[str, int]) -> int:
            return order["amount"]

        work({"amount": 120})
        claim, result = puts
        assert {name: kind for item in puts for name, value in item.items() for kind in value} == {
            name: row[3] for row in self.reported for name in names(row[0])
        }
        assert claim.keys() - result.keys() == {"in_progress_expiration"}  # only while a call runs
        assert result.keys() - claim.keys() == {"data"}

    def test_the_mark_of_a_missing_result_is_reported(self) -> None:
        assert f"`{RESULT_UNAVAILABLE}`" in self.page.read_text(encoding="utf-8")


def test_every_command_has_its_row() -> None:
    def commands(group: Any, prefix: str = "") -> list[str]:
        return [
            command
            for name, child in group.commands.items()
            for command in (
                commands(child, f"{name} ") if hasattr(child, "commands") else [f"{prefix}{name}"]
            )
        ]

    reported = [
        re.sub(r" (?:\[?[A-Z][A-Z:]*\]?)$", "", names(row[0])[0])
        for row in rows(REFERENCE / "command-line.md", "command")
    ]
    assert sorted(reported) == sorted(f"idemproof {name}" for name in commands(typer.main.get_command(app)))


def test_the_page_has_every_exit_code_that_help_names() -> None:
    reported = {names(row[0])[0].split()[1]: row[2] for row in rows(REFERENCE / "command-line.md", "command")}
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = {name: set(re.findall(r"\b(\d+): ", command.help or "")) for name, command in commands.items()}
    assert {"0", "1", "2", "3", "130"} == named["check"]
    for name, codes in named.items():
        assert codes <= set(re.findall(r"\b(\d+): ", reported[name])), name


class TestMigration:
    page = DOCS / "migrate" / "from-powertools.md"
    imports = tuple((names(row[0])[0], names(row[1])[0]) for row in rows(page, "Powertools"))

    @pytest.mark.parametrize(("before", "after"), imports)
    def test_each_import_is_there_on_both_sides(self, before: str, after: str) -> None:
        old = pkgutil.resolve_name(before.replace("….idempotency", IDEMPOTENCY))
        new = pkgutil.resolve_name(after)
        assert inspect.ismodule(old) == inspect.ismodule(new)
        assert inspect.isclass(old) == inspect.isclass(new)
        assert inspect.ismodule(old) or before.rpartition(".")[2] == after.rpartition(".")[2]

    def test_what_the_original_exports_is_there(self) -> None:
        assert set(original.__all__) <= set(idemproof.__all__)

    def test_each_error_of_the_original_has_its_name_here(self) -> None:
        theirs = {name for name in vars(original_errors) if name.startswith("Idempotency")}
        assert len(theirs) > 10
        assert theirs <= set(errors.__all__)

    @pytest.mark.parametrize(
        "path",
        [
            "config.IdempotencyConfig",
            "persistence.dynamodb.DynamoDBPersistenceLayer",
            "persistence.redis.RedisCachePersistenceLayer",
        ],
    )
    def test_each_parameter_of_the_original_is_one_here(self, path: str) -> None:
        module, _, name = path.rpartition(".")
        theirs = parameters(getattr(importlib.import_module(f"{IDEMPOTENCY}.{module}"), name).__init__)
        ours = parameters(getattr(idemproof, name))
        assert list(ours)[: len(theirs)] == list(theirs)
        assert {name: ours[name] for name in theirs} == theirs


def test_the_example_of_the_first_page_charges_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(
        r"^```python\n(.+?)^```$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    exec(compile(example, "index.md", "exec"), {"__name__": "index"})
    assert capsys.readouterr().out == "charging 120\n"
