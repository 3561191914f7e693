"""Requests and answers of commands: records, errors, the schema of the lines and their reader."""

import json
import sys
import threading
from typing import Any

import pytest

import malformed_layer
from command_schema import schema_of
from idemproof.conformance.commands import messages
from idemproof.conformance.commands.layer import CommandLayer, longest_line
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS, Record

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("no_orphans")]

CLAIM = Record("k", INPROGRESS, 4_102_444_804, 4_102_444_802_500, None, "a hash", "alice")

ECHO = """
import json, sys
print(json.dumps({"idemproof": 1, "layer": "echo"}), flush=True)
held = []
for line in sys.stdin:
    held.append(line)
    if len(held) == 3:
        for line in reversed(held):
            request = json.loads(line)
            sys.stderr.write(line)
            error = {"kind": request["key"], "message": "no"}
            good = request["key"].startswith("k")
            print(json.dumps({"id": request["id"], **({"record": None} if good else {"error": error})}))
        sys.stdout.flush()
        held = []
"""


def test_several_requests_are_pending_at_once_and_answered_in_any_order() -> None:
    layer = CommandLayer([sys.executable, "-c", ECHO], answer_seconds=60)
    raised: dict[str, BaseException] = {}

    def load(key: str) -> None:
        try:
            layer._load(key)
        except Exception as failure:
            raised[key] = failure

    for keys in (["k1", "transient", "final"], ["too_large", "config", "k2"]):
        threads = [threading.Thread(target=load, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    layer.close()
    assert {key: type(failure) for key, failure in raised.items()} == {
        "transient": IdempotencyPersistenceConnectionError,
        "final": IdempotencyPersistenceLayerError,
        "too_large": IdempotencyRecordTooLargeError,
        "config": IdempotencyPersistenceConfigError,
    }
    assert {str(failure) for failure in raised.values()} == {"no"}


def test_a_record_is_sent_as_in_the_vectors_and_read_again() -> None:
    result = CLAIM._replace(
        status=COMPLETED, in_progress_expiry_timestamp=None, response_data='"\u2028\U0001f600\x00"'
    )
    assert messages.fields_of(CLAIM._replace(owner="")) == {
        "status": "INPROGRESS",
        "expiry": 4_102_444_804,
        "lease": 4_102_444_802_500,
        "response": None,
        "payload_hash": "a hash",
        "owner": None,
    }
    for record in (CLAIM, result, None):
        line = messages.line_of({"id": 3, "record": messages.fields_of(record)})
        assert line.isascii()
        assert line.count(b"\n") == 1
        found = messages.reply_of(line[:-1])
        assert found == (3, "record", None if record is None else record._replace(idempotency_key=""))


def test_a_deadline_that_no_double_holds_is_refused_before_it_is_sent() -> None:
    with pytest.raises(
        IdempotencyPersistenceLayerError, match="'k' was not stored: its deadline 9007199254740992"
    ):
        messages.fields_of(CLAIM._replace(in_progress_expiry_timestamp=2**53))


def test_lines_may_be_as_long_as_the_claimed_response_in_json() -> None:
    assert longest_line(300_000) == 4 * 2**20
    response = "\x00" * 2_000_000
    record = CLAIM._replace(status=COMPLETED, response_data=response)
    assert len(messages.line_of({"record": messages.fields_of(record)})) < longest_line(2_000_000)


HELLO = {"idemproof": 1, "layer": "memory"}
RECORD = malformed_layer.RECORD
LINES: dict[str, tuple[Any, bool]] = {
    "a first line": (HELLO, True),
    "steps and claims": (HELLO | {"steps": True, "claims": {"durable": True, "largest_response": 1}}, True),
    "an unknown claim": (HELLO | {"claims": {"fast": True}}, False),
    "a claim of another type": (HELLO | {"claims": {"largest_response": 0}}, False),
    "another version": (HELLO | {"idemproof": 2}, False),
    "no name": ({"idemproof": 1}, False),
    "nothing": ({"id": 1, "record": None}, True),
    "a record": ({"id": 1, "record": RECORD}, True),
    "a record without a lease": (
        {"id": 1, "record": {k: v for k, v in RECORD.items() if k != "lease"}},
        False,
    ),
    "an empty owner": ({"id": 1, "record": RECORD | {"owner": ""}}, False),
    "a time beyond 2^53": ({"id": 1, "record": RECORD | {"lease": 2**53}}, False),
    "a time before 1970": ({"id": 1, "record": RECORD | {"expiry": -1}}, False),
    "true as a time": ({"id": 1, "record": RECORD | {"expiry": True}}, False),
    "an error": ({"id": 1, "error": {"kind": "final", "message": ""}}, True),
    "an error of an unknown kind": ({"id": 1, "error": {"kind": "odd", "message": ""}}, False),
    "an error without a message": ({"id": 1, "error": {"kind": "final"}}, False),
    "a step": ({"id": 1, "step": "read"}, True),
    "an empty step": ({"id": 1, "step": ""}, False),
    "two in one": ({"id": 1, "step": "read", "record": None}, False),
    "no id": ({"record": None}, False),
    "true as an id": ({"id": True, "record": None}, False),
}


@pytest.mark.parametrize("case", LINES.values(), ids=LINES)
def test_the_schema_and_the_reader_agree(case: tuple[Any, bool]) -> None:
    line, valid = case
    read = messages.hello_of if "layer" in line or "idemproof" in line else messages.reply_of
    assert schema_of("answer").is_valid(line) is valid
    if valid:
        read(json.dumps(line).encode())
    else:
        with pytest.raises(messages.InvalidLineError):
            read(json.dumps(line).encode())
