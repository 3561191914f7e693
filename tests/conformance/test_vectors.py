"""The portable test vectors are complete, and match the transition, all layers and the keys."""

import asyncio
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from aws_lambda_powertools.utilities.idempotency import BasePersistenceLayer as OriginalLayer
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig as OriginalConfig
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyKeyError as OriginalKeyError,
)
from jsonschema import Draft202012Validator
from moto import mock_aws

import idemproof.spec
import servers
from idemproof import (
    AsyncInMemoryPersistenceLayer,
    AsyncSQLitePersistenceLayer,
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    SQLitePersistenceLayer,
)
from idemproof.errors import IdempotencyInvalidStatusError, IdempotencyKeyError
from idemproof.reference.keys import KeyDerivation, function_prefix
from idemproof.spec.events import Abandon, Claim, Complete, CompleteWithin, Evict, Release, Renew
from idemproof.spec.record import Record, checked
from idemproof.spec.transition import TABLE, deciding_row, transition
from places import moto_client
from sides import Side
from vectors.keys import named_function

FOLDER = Path(__file__).parents[2] / "idemproof" / "spec" / "vectors"
TRANSITION, KEYS, SCHEMA = (
    json.loads((FOLDER / name).read_text(encoding="utf-8"))
    for name in ("transition.json", "keys.json", "schema.json")
)
CASES, READINGS = TRANSITION["cases"], TRANSITION["readings"]
PROTOCOL = (files(idemproof.spec) / "protocol.md").read_text(encoding="utf-8")
VALIDATOR = Draft202012Validator(SCHEMA)


def by_id(cases: list[Any]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case["id"] for case in cases])


# The files.


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("document", [TRANSITION, KEYS], ids=["transition", "keys"])
def test_the_vectors_are_valid(document: Any) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []
    assert f"Version {document['protocol']}." in PROTOCOL
    assert f"version {document['protocol']} " in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_each_flag_is_described_and_names_cases_and_leaves_others() -> None:
    for file, lists in ((TRANSITION, ("cases", "readings")), (KEYS, ("cases",))):
        cases = [case for name in lists for case in file[name]]
        assert {flag for case in cases for flag in case["flags"]} == set(file["flags"])
        assert any(not case["flags"] for case in cases)


FEATURES: dict[str, Any] = {
    "durable-execution": lambda case: '"durable:' in json.dumps(case),
    "eviction": lambda case: '"Evict"' in json.dumps(case),
    "no-lease": lambda case: any(
        step["event"].get("lease", 0) is None for step in case["steps"] if step["event"]["kind"] == "Claim"
    ),
    "renewal": lambda case: '"Renew"' in json.dumps(case),
    "takeover-policy": lambda case: any(
        "policy" in step["event"] or step["event"]["kind"] == "Abandon" for step in case["steps"]
    ),
    "payload-hash": lambda case: '"payload_hash": "' in json.dumps(case),
    "no-owner": lambda case: any(step["event"].get("owner", "") is None for step in case["steps"]),
    "result-unavailable": lambda case: "result-unavailable" in json.dumps(case["steps"]),
}


@pytest.mark.parametrize("flag", FEATURES)
def test_without_a_flag_a_trace_does_not_need_the_feature(flag: str) -> None:
    assert {case["id"] for case in CASES if flag in case["flags"]} == {
        case["id"] for case in CASES if FEATURES[flag](case)
    }


def test_the_package_has_the_version_of_the_protocol_and_names_every_file() -> None:
    package = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))
    assert package["name"] == "idemproof-vectors"
    assert package["version"] == f"{TRANSITION['protocol']}.0"
    shipped = {*package["files"], "package.json", "README.md"}
    assert shipped == {each.name for each in FOLDER.iterdir()}
    exported = {name.removeprefix("./") for name in package["exports"]}
    assert exported == shipped - {"README.md", "package.json", "run.mjs"}


SPOILT = {
    "a flag that is not text": lambda case: case.update(flags=[1]),
    "no flags": lambda case: case.pop("flags"),
    "a field too many": lambda case: case.update(more=1),
    "a field too few": lambda case: case.pop("why"),
    "an unknown event": lambda case: case["steps"][0]["event"].update(kind="Steal"),
    "another event's field": lambda case: case["steps"][0]["event"].update(response="1"),
    "a time in seconds and a half": lambda case: case["steps"][0].update(now=1.5),
    "a time beyond 2^53": lambda case: case["steps"][0].update(now=2**53),
    "an unknown status": lambda case: case["steps"][0]["record"].update(status="EXPIRED"),
    "an outcome without its record": lambda case: case["steps"][0]["outcome"].pop("record"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_the_schema_refuses_an_invalid_case(spoil: Any) -> None:
    case = json.loads(json.dumps(CASES[0]))
    assert VALIDATOR.is_valid(TRANSITION | {"cases": [case]})
    spoil(case)
    assert not VALIDATOR.is_valid(TRANSITION | {"cases": [case]})


# Coverage.


def test_every_clause_of_record_time_and_table_is_covered() -> None:
    stated = set(re.findall(r"^(?:- \*\*|\| )((?:REC|TIME|ROW)-\d+)", PROTOCOL, re.MULTILINE))
    assert {row.clause for row in TABLE} <= stated
    covered = {clause for case in CASES + READINGS for clause in case["clauses"]}
    assert covered == stated | {"TAKE-2"}


def test_ids_and_inputs_are_unique() -> None:
    for cases in (CASES, READINGS, KEYS["cases"]):
        assert len({case["id"] for case in cases}) == len(cases)
        questions = [
            json.dumps([case.get(name) for name in case if name not in {"id", "why", "clauses", "flags"}])
            for case in cases
        ]
        assert len(set(questions)) == len(questions)
    assert 60 <= len(CASES) <= 250


def deadlines_of(record: dict[str, Any]) -> dict[str, int]:
    expiry = record["expiry"] * 1000
    if record["status"] == "COMPLETED":
        return {"result": expiry}
    if record["lease"] is None:
        return {"claim without a lease": expiry}
    return {"lease": record["lease"], "expiry behind the lease": expiry}


# Releases and renewals do not depend on time: two sides show it. Only eviction waits for the expiry.
AROUND = {
    kind: {
        **dict.fromkeys(("lease", "claim without a lease", "result"), offsets),
        **({"expiry behind the lease": offsets} if kind == "Evict" else {}),
    }
    for kind, offsets in {
        "Claim": {-1, 0, 1},
        "Complete": {-1, 0, 1},
        "CompleteWithin": {-1, 0},
        "Release": {-1, 0},
        "Abandon": {-1, 0},
        "Renew": {-1, 0},
        "Evict": {-1, 0, 1},
    }.items()
}


@pytest.mark.parametrize("kind", AROUND)
def test_both_sides_of_every_deadline_are_covered(kind: str) -> None:
    found: dict[str, set[int]] = {}
    for case in CASES:
        *_, before, last = [{"record": None}, *case["steps"]]
        if last["event"]["kind"] == kind and before["record"] is not None:
            for name, deadline in deadlines_of(before["record"]).items():
                found.setdefault(name, set()).add(last["now"] - deadline)
    for name, offsets in AROUND[kind].items():
        assert offsets <= found[name], name


# The transition.


def event_of(fields: dict[str, Any], key: str) -> Any:
    fields = dict(fields)
    kind = {
        made.__name__: made for made in (Claim, Complete, CompleteWithin, Release, Abandon, Renew, Evict)
    }[fields.pop("kind")]
    return kind(**fields, **({"idempotency_key": key} if kind in (Claim, Complete, CompleteWithin) else {}))


def shown(record: Record | None) -> Any:
    if record is None:
        return None
    return {
        "status": record.status,
        "expiry": record.expiry_timestamp,
        "lease": record.in_progress_expiry_timestamp,
        "response": record.response_data,
        "payload_hash": record.payload_hash,
        "owner": record.owner,
    }


def reported(outcome: Any) -> dict[str, Any]:
    return {"kind": type(outcome).__name__} | {
        name: value if isinstance(value, int) else shown(value)
        for name, value in outcome._asdict().items()
        if value is not False
    }


@by_id(CASES)
@pytest.mark.clause("ROW-0", "TIME-2", "TIME-3", "TIME-4", "TIME-6")
def test_the_transition_decides_as_the_vectors_say(case: Any) -> None:
    record = None
    for step in case["steps"]:
        event = event_of(step["event"], "k")
        assert deciding_row(record, event, step["now"]).clause == step["row"]
        record, outcome = transition(record, event, step["now"])
        assert shown(record) == step["record"]
        assert reported(outcome) == step["outcome"]
    assert case["steps"][-1]["row"] in case["clauses"]


@by_id(READINGS)
@pytest.mark.clause("REC-1", "REC-2", "REC-3", "REC-4", "REC-7")
def test_stored_values_are_read_as_the_vectors_say(case: Any) -> None:
    names = ("key", "status", "expiry", "lease", "response", "payload_hash", "owner")
    stored = Record(*(case["stored"][name] for name in names))
    if case["record"] is None:
        with pytest.raises(IdempotencyInvalidStatusError, match=repr(case["asked"])):
            checked(stored, case["asked"])
    else:
        assert checked(stored, case["asked"]) == tuple(case["record"][name] for name in names)


# Every layer, through the compare-and-swap contract.


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@contextmanager
def layer_of(name: str, side: Side, folder: Path) -> Iterator[Any]:
    if name == "memory":
        yield AsyncInMemoryPersistenceLayer() if side.asynchronous else InMemoryPersistenceLayer()
    elif name == "sqlite":
        make = AsyncSQLitePersistenceLayer if side.asynchronous else SQLitePersistenceLayer
        layer = make(folder / "records.db", durable=False)
        yield layer
        side.wait(layer.close())
    elif name == "redis":
        yield side.redis(fakeredis.FakeRedis())
    else:
        with mock_aws():
            client = moto_client(old=False)
            servers.create_table(client, "records")
            yield side.dynamodb(client)


@pytest.mark.once
@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "async"])
@pytest.mark.parametrize("name", ["memory", "sqlite", "redis", "dynamodb"])
def test_every_layer_follows_the_vectors(
    name: str, asynchronous: bool, runner: asyncio.Runner, tmp_path: Path
) -> None:
    side = Side(runner, asynchronous=asynchronous)
    with layer_of(name, side, tmp_path) as layer:
        for case in CASES:
            key = case["id"]
            for number, step in enumerate(case["steps"], 1):
                current = side.load(layer, key)
                wanted, outcome = transition(current, event_of(step["event"], key), step["now"])
                if wanted != current:
                    assert side.swap(layer, key, current, wanted) == wanted, (key, number)
                assert shown(side.load(layer, key)) == step["record"], (key, number)
                assert reported(outcome) == step["outcome"], (key, number)


# The keys.


def host(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    if case["lambda_name"] is not None:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", case["lambda_name"])


def settings_of(case: Any, *, strict: bool) -> dict[str, Any]:
    return {
        "event_key_jmespath": case["expression"] or "",
        "payload_validation_jmespath": case["validation"] or "",
        "hash_function": case["hash_function"],
        "raise_on_no_idempotency_key": strict,
    }


def ours(case: Any, *, strict: bool) -> tuple[str | None, str | None]:
    prefix = function_prefix(named_function(case["function"]), case["key_prefix"], case["service"])
    config = IdempotencyConfig(**settings_of(case, strict=strict), hash_secret=case["hash_secret"])
    return KeyDerivation(config, prefix).derive(json.loads(case["payload"]))


class Original(OriginalLayer):
    def _get_record(self, idempotency_key: Any) -> None: ...

    def _put_record(self, data_record: Any) -> None: ...

    def _update_record(self, data_record: Any) -> None: ...

    def _delete_record(self, data_record: Any) -> None: ...


def the_originals(case: Any, *, strict: bool) -> tuple[str | None, str | None]:
    layer = Original()
    config = OriginalConfig(**settings_of(case, strict=strict))
    layer.configure(config, case["function"], case["key_prefix"])
    payload = json.loads(case["payload"])
    key = layer._get_hashed_idempotency_key(payload)
    return key, (layer._get_hashed_payload(payload) or None) if key else None


@pytest.mark.clause("KEY-11", "KEY-12", "KEY-13")
@pytest.mark.parametrize("derive", [ours, the_originals])
@by_id(KEYS["cases"])
def test_both_derive_the_keys_that_the_vectors_say(
    case: Any, derive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case["service"] is not None or case["hash_secret"] is not None:
        derive = ours  # the original has neither
    host(case, monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for strict in (False, True):
            if case["result"] == "failure":
                with pytest.raises(Exception, match=r"powertools_json|Expecting"):
                    derive(case, strict=strict)
            elif case["result"] == "missing" and strict:
                with pytest.raises((IdempotencyKeyError, OriginalKeyError)):
                    derive(case, strict=strict)
            else:
                assert derive(case, strict=strict) == (case["key"], case["payload_hash"])


@by_id(KEYS["cases"])
def test_vectors_that_need_exact_numbers_are_marked(case: Any) -> None:
    lost = []
    json.loads(
        case["payload"],
        parse_int=lambda digits: lost.append(abs(int(digits)) > 2**53),
        parse_float=lambda digits: lost.append(True),
    )
    assert ("exact-numbers" in case["flags"]) == any(lost)
