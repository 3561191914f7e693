"""What tests of examples share: an AWS in this process, and examples loaded as a user runs them."""

import importlib.util
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
import time_machine
from moto import mock_aws

EXAMPLES = Path(__file__).parents[2] / "examples"
NOON = 1_749_902_400  # a whole second, as expiries are
_numbers = itertools.count()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pretend AWS, with the table that examples use by default."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        create_table("IdempotencyTable")
        yield


@pytest.fixture
def clock() -> Iterator[Any]:
    """Stop the clock at a noon: it goes on when the test moves it, however busy the machine is."""
    with time_machine.travel(NOON, tick=False) as stopped:
        yield stopped


def create_table(name: str, key: str = "id", sort_key: str | None = None) -> None:
    keys = [(key, "HASH"), *([(sort_key, "RANGE")] if sort_key else [])]
    boto3.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
        BillingMode="PAY_PER_REQUEST",
    )


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import an example anew, by its path below ``examples/``; it finds what is beside it."""
    loaded = []

    def load_example(path: str) -> ModuleType:
        file = EXAMPLES / path
        monkeypatch.syspath_prepend(str(file.parent))
        name = f"example_{next(_numbers)}_{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses and pydantic look their module up
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield load_example
    for name in loaded:
        del sys.modules[name]


@pytest.fixture
def event() -> Callable[[str], Any]:
    """Read a sample event, by its path below ``examples/``."""
    return lambda path: json.loads((EXAMPLES / path).read_text(encoding="utf-8"))


class LambdaContext:
    """What AWS Lambda passes to handlers, as far as examples and libraries look at it."""

    function_name = "orders"
    function_version = "$LATEST"
    memory_limit_in_mb = 128
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:orders"
    aws_request_id = "6a3b9c9e-8c3f-4f6c-9d0c-7a3c1f3f1b52"

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


@pytest.fixture
def context() -> LambdaContext:
    return LambdaContext()
