"""Every public name of Powertools exists here, or the migration page lists the difference."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fakeredis
import pytest
from aws_lambda_powertools.utilities import idempotency as original

import idemproof
import idemproof.errors
import idemproof.serialization

ROOT = "aws_lambda_powertools.utilities.idempotency"
PAGE = Path(__file__).parents[2] / "docs" / "migrate" / "from-powertools.md"

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:Redis.* will be removed:DeprecationWarning"),
]


def modules() -> Iterator[Any]:
    yield original
    for found in pkgutil.walk_packages(original.__path__, f"{ROOT}."):
        yield importlib.import_module(found.name)


def public_names() -> dict[str, Any]:
    """Return the classes and functions that the original defines and does not mark as its own."""
    found: dict[str, Any] = {}
    for module in modules():
        for name, value in vars(module).items():
            own = str(getattr(value, "__module__", "")).startswith(ROOT)
            if own and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                found[name] = value
    return found


def ours(name: str) -> Any:
    for place in (idemproof, idemproof.errors, idemproof.serialization):
        if hasattr(place, name):
            return getattr(place, name)
    return None


def documented_as_different(name: str) -> bool:
    """Return whether the table of differences names it."""
    table = PAGE.read_text(encoding="utf-8").partition("## What stays different")[2].partition("\n## ")[0]
    return re.search(rf"`[^`]*\b{name}\b[^`]*`", table) is not None


NAMES = public_names()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_public_name_is_here_or_reported_to_be_different(name: str) -> None:
    assert ours(name) is not None or documented_as_different(name)


def parameters(function: Any) -> list[inspect.Parameter]:
    return [one for one in inspect.signature(function).parameters.values() if one.name != "self"]


SHARED = [name for name in sorted(NAMES) if ours(name) is not None]


@pytest.mark.parametrize("name", SHARED)
def test_the_parameters_are_the_original_s_in_their_order(name: str) -> None:
    theirs, here = NAMES[name], ours(name)
    if getattr(theirs, "_is_protocol", False) or (
        inspect.isclass(theirs) and issubclass(theirs, BaseException)
    ):
        return  # errors have a test of their own
    if name == "idempotent":  # a decorator's decorator: the first three are Lambda's
        expected = parameters(theirs)[3:]
    else:  # the class itself may hide behind a warning
        expected = parameters(theirs.__init__ if inspect.isclass(theirs) else theirs)
    found = {one.name: one for one in parameters(here)}
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    order = [one.name for one in found.values() if one.kind in positional]
    for place, one in enumerate(expected):
        if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
            continue  # of the decorator factory, of object
        assert one.name in found
        if one.default is not one.empty:
            assert found[one.name].default in (one.default, None if one.default is None else one.default)
        if one.kind in positional and name != "idempotent":
            assert order[place] == one.name


def dynamodb(layer: Any) -> Any:
    client = boto3.client("dynamodb", region_name="eu-central-1")
    return layer("orders", boto3_client=client)


def cache(layer: Any) -> Any:
    return layer(client=fakeredis.FakeRedis(server=fakeredis.FakeServer()))


MADE = {
    "DynamoDBPersistenceLayer": dynamodb,
    "RedisCachePersistenceLayer": cache,
    "DataRecord": lambda kind: kind("key", "COMPLETED"),
    "IdempotencyConfig": lambda kind: kind(),
}


@pytest.mark.parametrize("name", MADE)
def test_each_public_attribute_of_an_object_is_here_with_its_value(name: str) -> None:
    theirs, here = MADE[name](NAMES[name]), MADE[name](ours(name))
    for attribute in dir(theirs):
        if attribute.startswith("_"):
            continue
        if not hasattr(here, attribute):
            assert documented_as_different(attribute), attribute
            continue
        value, found = getattr(theirs, attribute), getattr(here, attribute)
        if isinstance(value, str | int | float | bool | None) and attribute != "payload_validation_enabled":
            assert found == value or documented_as_different(attribute), attribute
        if inspect.ismethod(value) or inspect.isfunction(value):
            expected = [one.name for one in parameters(value)]
            assert [one.name for one in parameters(found)][: len(expected)] == expected


@pytest.mark.parametrize(
    "name", ["BasePersistenceLayer", "DynamoDBPersistenceLayer", "RedisCachePersistenceLayer"]
)
def test_documented_methods_take_their_argument_by_the_documented_name(name: str) -> None:
    for method in ("_get_record", "_put_record", "_update_record", "_delete_record"):
        theirs, here = (parameters(getattr(kind, method)) for kind in (NAMES[name], ours(name)))
        assert [one.name for one in theirs] == [one.name for one in here]


ASSIGNED = {
    "DynamoDBPersistenceLayer": dynamodb,
    "RedisCachePersistenceLayer": cache,
    "IdempotencyConfig": lambda kind: kind(),
}


@pytest.mark.parametrize("name", ASSIGNED)
def test_no_assignment_of_an_attribute_is_passed_over(name: str) -> None:
    """It takes effect, or that line raises an error that names the attribute."""
    theirs = ASSIGNED[name](NAMES[name])
    for attribute in vars(theirs):
        here = ASSIGNED[name](ours(name))
        if (
            attribute.startswith("_")
            or attribute in ("client", "lambda_context")
            or not hasattr(here, attribute)
        ):
            continue
        if attribute not in getattr(here, "_names", ()):
            with pytest.raises(AttributeError, match=attribute):
                setattr(here, attribute, "other")
        else:
            setattr(here, attribute, "other")
            holder = getattr(here, here._names_holder)
            assert getattr(here, attribute) == getattr(holder, attribute) == "other"
