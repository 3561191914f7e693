"""Templates: real tools accept them, all declare one table and one policy, and the function works with it."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import boto3
import pytest

INFRASTRUCTURE = Path(__file__).parents[2] / "examples" / "infrastructure"
SAM = INFRASTRUCTURE / "sam" / "template.yaml"
VALKEY = INFRASTRUCTURE / "cloudformation" / "valkey_serverless.yaml"
ACTIONS = ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem")
EVENT = {"subscription": "S-42", "month": "2026-11"}


class Declared(NamedTuple):
    """What a template says of the table, of the function, and of what it may do."""

    keys: list[tuple[str, str, str]]  # name, kind and type
    billing: str
    expiry: str
    actions: list[str]
    only_on_the_table: bool
    handler: str
    told_the_table: bool


def the_one(resources: dict[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the properties of the only resource of a kind."""
    ((name, found),) = [(name, each) for name, each in resources.items() if each["Type"] == kind]
    return name, found["Properties"]


def of_cloudformation(table: str, properties: dict[str, Any], statement: Any, function: Any) -> Declared:
    types = {each["AttributeName"]: each["AttributeType"] for each in properties["AttributeDefinitions"]}
    keys = [(each["AttributeName"], each["KeyType"]) for each in properties["KeySchema"]]
    ttl = properties["TimeToLiveSpecification"]
    assert ttl["Enabled"] is True
    assert statement["Effect"] == "Allow"
    where = {"Fn::GetAtt": [table, "Arn"]}
    return Declared(
        [(name, kind, types[name]) for name, kind in keys],
        properties["BillingMode"],
        ttl["AttributeName"],
        sorted(statement["Action"]),
        statement["Resource"] in (where, [where]),
        function["Handler"],
        function["Environment"]["Variables"] == {"TABLE_NAME": {"Ref": table}},
    )


def of_sam(_: Path) -> Declared:
    resources = in_yaml(SAM)["Resources"]
    table, properties = the_one(resources, "AWS::DynamoDB::Table")
    _, function = the_one(resources, "AWS::Serverless::Function")
    ((statement,),) = [policy["Statement"] for policy in function["Policies"]]
    return of_cloudformation(table, properties, statement, function)


def of_cdk(scratch: Path) -> Declared:
    """Synthesise as the command ``cdk synth`` does: by running the app with an output directory."""
    app = INFRASTRUCTURE / "cdk"
    command = json.loads((app / "cdk.json").read_text(encoding="utf-8"))["app"].split()
    assert command[0] == "python"
    context = json.dumps({"code": str(INFRASTRUCTURE / "src")})
    subprocess.run(
        [sys.executable, "-B", *command[1:]],
        cwd=app,
        env={**os.environ, "CDK_OUTDIR": str(scratch), "CDK_CONTEXT_JSON": context},
        check=True,
    )
    template = json.loads((scratch / "Billing.template.json").read_text(encoding="utf-8"))
    table, properties = the_one(template["Resources"], "AWS::DynamoDB::Table")
    _, function = the_one(template["Resources"], "AWS::Lambda::Function")
    _, policy = the_one(template["Resources"], "AWS::IAM::Policy")
    (statement,) = policy["PolicyDocument"]["Statement"]
    return of_cloudformation(table, properties, statement, function)


def of_terraform(_: Path) -> Declared:
    blocks = in_hcl(INFRASTRUCTURE / "terraform" / "main.tf")
    table = block(blocks, "resource", "aws_dynamodb_table", "idempotency")
    function = block(blocks, "resource", "aws_lambda_function", "billing")
    policy = block(blocks, "data", "aws_iam_policy_document", "idempotency_records")
    attached = block(blocks, "resource", "aws_iam_role_policy", "idempotency_records")
    assert attached["policy"] == "${data.aws_iam_policy_document.idempotency_records.json}"
    assert attached["role"] == "${aws_iam_role.billing.id}"
    assert function["role"] == "${aws_iam_role.billing.arn}"
    (attribute,), (ttl,), (statement,) = table["attribute"], table["ttl"], policy["statement"]
    assert attribute["name"] == table["hash_key"]
    assert ttl["enabled"] is True
    (environment,) = function["environment"]
    return Declared(
        [(table["hash_key"], "HASH", attribute["type"])],
        table["billing_mode"],
        ttl["attribute_name"],
        sorted(statement["actions"]),
        statement["resources"] == ["${aws_dynamodb_table.idempotency.arn}"],
        function["handler"],
        environment["variables"] == {"TABLE_NAME": "${aws_dynamodb_table.idempotency.name}"},
    )


def in_yaml(file: Path) -> Any:
    """Read a template with CloudFormation's tags in their long form."""
    return importlib.import_module("cfnlint.decode.cfn_yaml").load(str(file))


def in_hcl(file: Path) -> Any:
    return unquoted(importlib.import_module("hcl2").loads(file.read_text(encoding="utf-8")))


def unquoted(value: Any) -> Any:
    """Return what HCL says without the quotation marks that its parser leaves."""
    if isinstance(value, dict):
        return {unquoted(key): unquoted(each) for key, each in value.items()}
    if isinstance(value, list):
        return [unquoted(each) for each in value]
    return value.strip('"') if isinstance(value, str) else value


def block(blocks: Any, kind: str, *labels: str) -> Any:
    """Return the one block of a kind with these labels."""
    first, second = labels
    (found,) = [each[first][second] for each in blocks[kind] if second in each.get(first, {})]
    return found


def policy_in_json() -> Any:
    (statement,) = json.loads((INFRASTRUCTURE / "iam_policy.json").read_text(encoding="utf-8"))["Statement"]
    return statement


def lint(*files: Path) -> list[str]:
    """Return a line for each thing that the linter has to say; it starts with the file's name."""
    command = [Path(sys.executable).with_name("cfn-lint"), "--include-checks", "I", "--format", "parseable"]
    done = subprocess.run([*command, "--template", *files], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.once
def test_the_linter_sees_a_wrong_property_and_has_nothing_else_to_say(tmp_path: Path) -> None:
    wrong = [tmp_path / "sam.yaml", tmp_path / "valkey.yaml"]
    for right, file in zip((SAM, VALKEY), wrong, strict=True):
        file.write_text(right.read_text(encoding="utf-8").replace("Runtime:", "Runtim:"), encoding="utf-8")
    said = lint(SAM, VALKEY, *wrong)
    for file in wrong:
        assert any(line.startswith(f"{file}:") and "Runtim'" in line for line in said), said
    assert [line for line in said if not line.startswith(tuple(map(str, wrong)))] == []


@pytest.mark.once
@pytest.mark.parametrize("read", [of_sam, pytest.param(of_cdk, marks=pytest.mark.nightly), of_terraform])
def test_each_template_declares_the_same_table_policy_and_function(
    read: Callable[[Path], Declared], tmp_path: Path
) -> None:
    assert read(tmp_path) == Declared(
        keys=[("id", "HASH", "S")],
        billing="PAY_PER_REQUEST",
        expiry="expiration",
        actions=sorted(ACTIONS),
        only_on_the_table=True,
        handler="subscription.handler",
        told_the_table=True,
    )


@pytest.mark.once
def test_the_function_and_the_cache_speak_to_each_other_only() -> None:
    resources = in_yaml(VALKEY)["Resources"]
    name, cache = the_one(resources, "AWS::ElastiCache::ServerlessCache")
    _, function = the_one(resources, "AWS::Lambda::Function")
    _, door = the_one(resources, "AWS::EC2::SecurityGroupIngress")
    of_cache, of_function = {"Ref": "CacheSecurityGroup"}, {"Ref": "FunctionSecurityGroup"}
    (out,) = resources["FunctionSecurityGroup"]["Properties"]["SecurityGroupEgress"]
    assert "SecurityGroupIngress" not in resources["CacheSecurityGroup"]["Properties"]
    assert cache["Engine"] == "valkey"
    assert cache["SecurityGroupIds"] == [of_cache]
    assert function["VpcConfig"] == {"SecurityGroupIds": [of_function], "SubnetIds": cache["SubnetIds"]}
    assert (door["GroupId"], door["SourceSecurityGroupId"]) == (of_cache, of_function)
    assert out["DestinationSecurityGroupId"] == of_cache
    assert {each[side] for each in (door, out) for side in ("FromPort", "ToPort")} == {6379}
    assert function["Environment"]["Variables"] == {
        "CACHE_HOST": {"Fn::GetAtt": [name, "Endpoint.Address"]},
        "CACHE_PORT": {"Fn::GetAtt": [name, "Endpoint.Port"]},
    }
    module, handler = function["Handler"].split(".")
    assert f"def {handler}(" in (INFRASTRUCTURE / "src" / f"{module}.py").read_text(encoding="utf-8")


def test_the_policy_allows_what_the_layer_asks_for_on_one_table() -> None:
    statement = policy_in_json()
    assert statement["Effect"] == "Allow"
    assert sorted(statement["Action"]) == sorted(ACTIONS)
    assert statement["Resource"].endswith(":table/IdempotencyTable")


def test_the_function_bills_once_and_asks_for_nothing_that_the_policy_forbids(
    aws: None,
    load: Callable[[str], ModuleType],
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TABLE_NAME", "IdempotencyTable")
    billing = load("infrastructure/src/subscription.py")
    asked: set[str] = set()
    billing.store.client.meta.events.register(
        "before-call.dynamodb", lambda model, **_: asked.add(f"dynamodb:{model.name}")
    )

    def fails(_: str) -> None:
        raise ConnectionError("the payment provider is down")

    with monkeypatch.context() as outage:
        outage.setattr(billing, "print", fails, raising=False)
        with pytest.raises(ConnectionError):
            billing.handler(EVENT, context)  # its key is released
    answers = [billing.handler(EVENT, context) for _ in range(2)]
    assert answers == [{"invoice": "S-42/2026-11"}] * 2
    assert capsys.readouterr().out == "charging S-42 for 2026-11\n"
    assert {*ACTIONS[1:]} <= asked <= set(policy_in_json()["Action"])
    (item,) = boto3.client("dynamodb").scan(TableName="IdempotencyTable")["Items"]
    assert {"id", "expiration"} <= item.keys()
