"""What importing costs, and which part may import which."""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import idemproof

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "idemproof"

HEAVY = {"aiobotocore", "boto3", "botocore", "redis", "pydantic", "hypothesis", "typer", "rich", "sqlite3"}

PURE = {"abc", "collections", "dataclasses", "enum", "functools", "itertools", "operator", "typing"}
"""What the specification may know of the standard library: no clock, no randomness, no I/O, no threads."""

ALLOWED = {
    "spec": {"spec"},
    "backends": {"backends", "spec"},
    "reference": {"reference", "backends", "spec"},
    "conformance": {"conformance", "reference", "backends", "spec"},
}

BACKENDS_FOR_REFERENCE = {
    "async_drivers",
    "base",
    "called_layers",
    "clock",
    "commands",
    "documented",
    "doubles",
    "drivers",
    "forksafe",
    "interrupts",
    "layer_settings",
    "logs",
    "overrides",
    "records",
    "settle",
    "warning",
}


ALIASES = {
    "CachePersistenceLayer": "RedisCachePersistenceLayer",
    "AsyncCachePersistenceLayer": "AsyncRedisCachePersistenceLayer",
}


class Import(NamedTuple):
    where: str
    module: str
    inside: bool


def imports_of(folder: str) -> Iterator[Import]:
    """All imports of a subpackage, wherever in the code; those of this package by their full names."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        where = path.relative_to(ROOT)
        package = [PACKAGE, *where.parent.parts]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) + 1 - node.level] if node.level else []
                stem = [*base, *filter(None, [node.module])]
                names = [alias.name for alias in node.names]
                # `from ..part import name`, outside of a module: the name is the module.
                bare = stem[:1] == [PACKAGE] and stem[1:] in [[part] for part in ALLOWED]
                modules = [".".join([*stem, name]) for name in names] if bare else [".".join(stem)]
            else:
                continue
            for module in modules:
                yield Import(str(where), module, module.partition(".")[0] == PACKAGE)


def modules_after(script: str) -> set[str]:
    """The top-level modules, and those of this package in full, that are loaded after a script."""
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script) + "\nimport sys; print(*sys.modules)"],
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    ).stdout.split()
    return {name if name.startswith(PACKAGE) else name.partition(".")[0] for name in told}


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
    assert value.__name__ == ALIASES.get(name, name)
    assert name in dir(idemproof)


def test_public_names_are_sorted_and_unique() -> None:
    assert sorted(set(idemproof.__all__)) == idemproof.__all__


def test_a_star_import_gives_all_public_names() -> None:
    names: dict[str, object] = {}
    exec("from idemproof import *", names)
    assert set(idemproof.__all__) <= set(names)


@pytest.mark.parametrize("name", ["idempotant", "__path", "_nothing", "spce"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"^module 'idemproof' has no attribute '{name}'$"):
        getattr(idemproof, name)


# Which part may import which.


@pytest.mark.clause("TIME-1")
def test_the_specification_imports_pure_modules_alone() -> None:
    found = list(imports_of("spec"))
    assert [item for item in found if not item.inside and item.module.partition(".")[0] not in PURE] == []
    assert any(item.inside for item in found)


@pytest.mark.parametrize("builtin", ["open", "input", "print", "eval", "exec", "__import__"])
def test_the_specification_calls_nothing_impure(builtin: str) -> None:
    for path in (ROOT / "spec").rglob("*.py"):
        names = {
            node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)
        }
        assert builtin not in names, path.name


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_point_one_way(folder: str) -> None:
    # The demonstration and the commands do as users do: they enter by the front door.
    wrong = [
        item
        for item in imports_of(folder)
        if item.inside
        and item.module.split(".")[1:2] not in [[part] for part in ALLOWED[folder]]
        and not item.where.startswith(("reference/demo/", "reference/cli"))
    ]
    assert wrong == []


def test_the_reference_knows_of_the_backends_the_contract_alone() -> None:
    used = {
        item.module.split(".")[2]
        for item in imports_of("reference")
        if item.module.startswith("idemproof.backends.")
    }
    assert {"base", "drivers"} <= used <= BACKENDS_FOR_REFERENCE


def test_the_demonstration_enters_by_the_front_door() -> None:
    doors = {
        item.module
        for item in imports_of("reference/demo")
        if item.inside and not item.module.startswith("idemproof.reference.demo")
    }
    assert doors <= {"idemproof", "idemproof.errors", "idemproof.serialization"}
