"""What importing costs, and which part may import which."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import idemproof

SPECIFICATION = sorted(Path(idemproof.__file__).with_name("spec").glob("*.py"))
PACKAGE = "idemproof"

HEAVY = {
    "aiobotocore",
    "boto3",
    "botocore",
    "redis",
    "pydantic",
    "hypothesis",
    "typer",
    "rich",
    "sqlite3",
    "opentelemetry",
}

PURE = {"abc", "collections", "dataclasses", "enum", "functools", "itertools", "operator", "typing"}
"""What the specification may know of the standard library: no clock, no randomness, no I/O, no threads."""

ALIASES = {
    "CachePersistenceLayer": "RedisCachePersistenceLayer",
    "AsyncCachePersistenceLayer": "AsyncRedisCachePersistenceLayer",
}


def imported_by_the_specification() -> set[str]:
    """The first names of all modules of others that the specification imports, wherever in its code."""
    found = set()
    for path in SPECIFICATION:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found


def modules_after(script: str) -> set[str]:
    """The top-level modules, and those of this package in full, that are loaded after a script."""
    reported = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script) + "\nimport sys; print(*sys.modules)"],
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    ).stdout.split()
    return {name if name.startswith(PACKAGE) else name.partition(".")[0] for name in reported}


# What importing costs.


def test_importing_the_package_loads_next_to_nothing() -> None:
    before = modules_after("")
    loaded = modules_after("import idemproof") - before
    assert {name for name in loaded if name.startswith(PACKAGE)} == {PACKAGE}
    assert (
        loaded & (HEAVY | {"asyncio", "jmespath", "json", "inspect", "logging", "threading", "socket"})
        == set()
    )


def test_importing_the_errors_loads_the_specification_alone() -> None:
    loaded = modules_after("import idemproof.errors") - modules_after("")
    inside = {name for name in loaded if name.startswith(PACKAGE)}
    assert all(name in {PACKAGE, "idemproof.errors"} or name.startswith("idemproof.spec") for name in inside)
    assert loaded & (HEAVY | {"asyncio", "jmespath"}) == set()


def test_protecting_a_function_over_a_blocking_layer_needs_no_asyncio() -> None:
    loaded = modules_after("""
        from idemproof import DynamoDBPersistenceLayer, RedisCachePersistenceLayer, SQLitePersistenceLayer
        from idemproof import idempotent_function

        idempotent_function(
            len, data_keyword_argument="obj", persistence_store=SQLitePersistenceLayer("never opened.db")
        )
    """)
    assert {"idemproof.backends.dynamodb", "idemproof.backends.redis"} <= loaded
    assert "asyncio" not in loaded


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_decorating_and_calling_over_memory_loads_no_other_software(kind: str) -> None:
    call = "asyncio.run(pay({'id': 1}))" if kind == "async def" else "pay({'id': 1})"
    loaded = modules_after(f"""
        import asyncio
        from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function

        config = IdempotencyConfig(
            event_key_jmespath="id", use_local_cache=True, in_progress_expires_after_seconds=60
        )
        @idempotent_function(
            data_keyword_argument="data", persistence_store=InMemoryPersistenceLayer(), config=config
        )
        {kind} pay(data):
            return data["id"]

        assert {call} == {call} == 1
    """)
    assert loaded & HEAVY == set()
    assert "jmespath" in loaded


# What there is to import.


@pytest.mark.parametrize("name", idemproof.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(idemproof, name)
    named = repr(value).rpartition(".")[2] if name.isupper() else value.__name__  # a constant has no name
    assert named == ALIASES.get(name, name)
    assert name in dir(idemproof)


def test_public_names_are_sorted_and_unique() -> None:
    in_order = sorted(set(idemproof.__all__), key=lambda name: (not name.isupper(), name))
    assert in_order == idemproof.__all__


def test_a_star_import_gives_all_public_names() -> None:
    names: dict[str, object] = {}
    exec("from idemproof import *", names)
    assert set(idemproof.__all__) <= set(names)


@pytest.mark.parametrize("name", ["idempotant", "__path", "_nothing", "spce"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"^module 'idemproof' has no attribute '{name}'$"):
        getattr(idemproof, name)


# What the specification may use.


@pytest.mark.clause("TIME-1")
def test_the_specification_imports_pure_modules_alone() -> None:
    assert {"collections", "typing"} <= imported_by_the_specification() <= PURE


@pytest.mark.parametrize("builtin", ["open", "input", "print", "eval", "exec", "__import__"])
def test_the_specification_calls_nothing_impure(builtin: str) -> None:
    for path in SPECIFICATION:
        names = {
            node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)
        }
        assert builtin not in names, path.name
