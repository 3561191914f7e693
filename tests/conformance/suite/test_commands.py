"""Layers in other languages: right commands are kept, broken ones found, and malformed ones named."""

import gc
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import idemproof.spec
import malformed_layer
import servers
from idemproof.conformance import Capabilities, FactoryError, Profile, Report, check
from idemproof.conformance.commands import child, messages
from idemproof.conformance.commands.child import Child
from idemproof.conformance.commands.layer import CommandError, CommandFactory, CommandLayer, longest_line
from idemproof.conformance.harness.messages import Look, Start
from idemproof.conformance.harness.processes import Process, place_of
from idemproof.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConnectionError,
    IdempotencyPersistenceLayerError,
    IdempotencyRecordTooLargeError,
)
from idemproof.spec.record import COMPLETED, INPROGRESS, Record

pytestmark = pytest.mark.once

EXAMPLES = Path(__file__).parents[3] / "examples" / "other_languages"
MALFORMED = malformed_layer.__file__
TINY = Profile("tiny", 2, 5, 5, 1, 0.2, 0.2, 1, 60)
CLAIM = Record("k", INPROGRESS, 4_102_444_804, 4_102_444_802_500, None, "a hash", "alice")


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        servers.missing("node", "install Node.js 20 or newer, for example by apt-get install nodejs")
    return found


@pytest.fixture(autouse=True)
def _no_orphans(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Require that every command of a test has ended when the test ends."""
    started: list[int] = []
    begin = Child.start_reading

    def noted(self: Child) -> None:
        started.append(self.pid)
        begin(self)

    monkeypatch.setattr(Child, "start_reading", noted)
    yield
    gc.collect()
    assert not [pid for pid in started if is_running(pid)]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# The example in JavaScript.


def of_the_example(node: str, program: Path, folder: Path, **options: Any) -> Report:
    factory = CommandFactory([node, str(program), str(folder / "records")], 60)
    return check(factory, seed=1, capabilities=Capabilities(durable=True), **options)


def test_the_layer_in_javascript_is_kept(node: str, tmp_path: Path) -> None:
    report = of_the_example(node, EXAMPLES / "layer.mjs", tmp_path, profile="quick")
    assert report.findings == ()
    assert set(report.tiers.values()) == {"kept"}
    assert report.subject == "numbered files (two methods, a command, two objects over one store)"
    assert {each.name for each in report.checks if each.verdict == "not offered"} == {
        "neither-load-nor-swap-looks-at-a-clock",
        "a-record-stands-for-the-time-it-was-told",
    }


def test_its_broken_twin_lets_two_clients_win_in_every_race(node: str, tmp_path: Path) -> None:
    tiers = ["contract", "exclusion"]
    report = of_the_example(node, EXAMPLES / "broken_layer.mjs", tmp_path, profile="quick", tiers=tiers)
    assert report.tiers == {"contract": "kept", "exclusion": "broken"}
    assert all(each.findings for each in report.checks if each.tier == "exclusion")
    first = next(each for each in report.findings if each.check.startswith("two-claims-of-an-unused"))
    assert first.clauses == ("CAS-4", "INV-1")
    assert first.why == (
        "client 1 and client 2 requested one key at the same time, and each of them got it. "
        "Found by interleaving the calls of the layer's client."
    )
    assert any("create version 1 of" in line.what for line in first.lines)


FAULTS = {
    "compares the status only": (
        '["owner", "status", "expiry", "lease"]',
        '["status"]',
        {"CAS-2"},
    ),
    "writes without comparing": ("if (!sameVersion(record, expected)) return record;", "", {"CAS-2"}),
    "returns the expected record": ("return record;\n    await", "return expected;\n    await", {"CAS-3"}),
    "forgets the owner": (
        "JSON.stringify(record)",
        "JSON.stringify(record && { ...record, owner: null })",
        {"CAS-3"},
    ),
    "confuses keys that differ in case": ("update(key)", "update(key.toLowerCase())", {"REC-1"}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_in_the_layer_is_found(fault: tuple[str, str, set[str]], node: str, tmp_path: Path) -> None:
    old, new, clauses = fault
    source = (EXAMPLES / "layer.mjs").read_text(encoding="utf-8")
    assert source.count(old) == 1
    (tmp_path / "layer.mjs").write_text(source.replace(old, new), encoding="utf-8")
    shutil.copy(EXAMPLES / "lines.mjs", tmp_path)
    report = of_the_example(node, tmp_path / "layer.mjs", tmp_path, profile=TINY, tiers=["contract"])
    assert clauses <= {clause for each in report.findings for clause in each.clauses}


def test_a_lock_that_a_dead_worker_leaves_behind_is_found(node: str, tmp_path: Path) -> None:
    source = (EXAMPLES / "layer.mjs").read_text(encoding="utf-8")
    reading = "    await step(`read ${key}`);\n    const { version"
    assert source.count(reading) == 1
    lock = f"await step('lock');\n if (!create(`${{folder}}/lock`, 1)) throw new Error('locked');\n{reading}"
    unlock = "if (create(fileOf(key, version + 1), wanted)) return wanted;"
    unlocking = (
        f"const done = create(fileOf(key, version + 1), wanted); unlinkSync(`${{folder}}/lock`);{unlock}"
    )
    text = source.replace(reading, lock).replace(
        "return record;\n    await", "{ unlinkSync(`${folder}/lock`); return record; }\n    await"
    )
    text = text.replace(
        unlock, unlocking.replace("if (create(fileOf(key, version + 1), wanted))", "if (done)")
    )
    (tmp_path / "layer.mjs").write_text(text, encoding="utf-8")
    shutil.copy(EXAMPLES / "lines.mjs", tmp_path)
    report = of_the_example(node, tmp_path / "layer.mjs", tmp_path, profile=TINY, tiers=["faults"])
    broken = {each.name for each in report.checks if each.verdict == "broken"}
    assert "a-death-between-two-calls-keeps-nobody-out" in broken


# Malformed commands.


def malformed(way: str, seconds: float = 60) -> CommandFactory:
    return CommandFactory([sys.executable, MALFORMED, way], seconds)


NO_LINE = "each line must be a JSON object, but one is"
SAYS = {
    "logs": f"{NO_LINE} 'took 3 ms'",
    "prints an array": f"{NO_LINE} [12]",
    "prints NaN": NO_LINE,
    "prints bytes": f"{NO_LINE} '\\ufffd\\ufffd'",
    "nests": "… (200,002 characters)",
    "ends": "ended with exit status 0. Its stderr ends with: loading records | out of paper",
    "fails": "ended with exit status 7. Its stderr ends with: loading records | out of paper",
    "is killed": "ended with signal 9",
    "closes stdout": "closed its stdout",
    "ends within a line": "ended with exit status 0 in the middle of a line",
    "answers another request": "answered a request that is not pending, with the id 1012",
    "answers twice": "answered a request that is not pending, with the id 12",
    "answers without an id": 'a line must have a whole "id"',
    "answers nothing": '"record", "error" or "step", but one is {\'id\': 12}',
    "answers too much": 'a line must have a whole "id", and "record", "error" or "step"',
    "answers with a member too many": '"took_ms" is not a member that the lines know',
    "answers with a long line": "printed a line of more than 4,194,304 bytes",
    "never ends a line": "printed a line of more than 4,194,304 bytes",
    "forgets a field": '"lease" is missing',
    "renames a field": '"leaseUntil" is not a member',
    "writes a time as text": "the expiry of a record is '4102444800', not an integer",
    "writes a time as a fraction": "the expiry of a record is 4102444800.5, not an integer",
    "writes another status": "a record has the status 'EXPIRED'",
    "writes a number as the owner": "the owner of a record is 7, which is neither text nor null",
    "answers with text": "a record must be an object or null, not 'a record'",
    "raises an unknown kind": "a kind of transient, final, too_large, config, but one is",
    "announces a step": 'its first line does not have "steps": true',
    "announces a number as a step": "a step must be text that describes it, not 1",
    "announces two steps": "announced a step before it had permission for the one before: write",
}


@pytest.mark.parametrize("way", SAYS)
def test_a_command_that_goes_wrong_is_broken_and_named(way: str) -> None:
    report = check(malformed(way), profile=TINY, seed=1, tiers=["contract"])
    broken, *unjudged = [each for each in report.checks if each.verdict != "kept"]
    (finding,) = broken.findings
    assert SAYS[way] in finding.why
    assert finding.why.startswith("The layer raised CommandError: The command ")
    assert MALFORMED in finding.why
    assert "contract.py" not in finding.why
    assert {each.verdict for each in unjudged} <= {"not judged", "not offered"}
    assert {each.why_not for each in unjudged if each.verdict == "not judged"} == {
        f"the command failed in {broken.name}"
    }
    assert not report.keeps()


SILENT = ["is silent", "is silent, and ignores everything", "does not read"]


@pytest.mark.parametrize("way", SILENT)
def test_a_silent_command_is_broken_and_ended(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_GRACE_SECONDS", 0.2)
    report = check(malformed(way, 2), profile=TINY, seed=1, tiers=["contract"])
    (finding,) = report.findings
    assert "has not printed the answer to swap conformance-" in finding.why
    assert "within 2 seconds" in finding.why


REFUSED = {
    "logs before the first line": f"does not speak the protocol of lines: {NO_LINE} 'listening on port 80'",
    "ends at once": "ended with exit status 0. Its stderr ends with: loading records | out of paper",
    "fails at once": "ended with exit status 3. Its stderr ends with: loading records | out of paper",
    "speaks another version": "its first line must say {\"idemproof\": 1, …}, but is {'idemproof': 2",
    "claims something unknown": "it claims 'fast'; a command may claim fenced, durable, threads, processes",
    "claims something invalid": "The claim durable must be True or False, not 1",
}


@pytest.mark.parametrize("way", REFUSED)
def test_a_command_without_a_valid_first_line_is_refused(way: str) -> None:
    with pytest.raises(FactoryError) as refused:
        check(malformed(way), profile=TINY)
    assert REFUSED[way] in str(refused.value)


SAY_NOTHING = ["says nothing", "says nothing, and ignores everything"]


@pytest.mark.parametrize("way", SAY_NOTHING)
def test_a_command_that_says_nothing_is_refused_and_ended(way: str) -> None:
    with pytest.raises(FactoryError, match=r"printed no first line within 0\.5 seconds"):
        check(malformed(way, 0.5), profile=TINY)


def test_every_malformed_command_is_tested() -> None:
    assert set(malformed_layer.DURING) == {*SAYS, *SILENT}
    assert set(malformed_layer.BEFORE) == {*REFUSED, *SAY_NOTHING}


def test_a_command_that_does_not_exist_is_refused() -> None:
    with pytest.raises(
        CommandError, match="'/no/such/program a' cannot be started: No such file or directory"
    ):
        CommandLayer(["/no/such/program", "a"])


# Its end.


def test_a_command_ends_when_its_layer_is_closed() -> None:
    layer = malformed("behaves")()
    pid = layer._connection.child.pid
    layer.close()
    layer.close()
    assert not is_running(pid)
    assert layer.fault is None
    with pytest.raises(CommandError, match="was ended, because its layer was closed"):
        layer._load("k")


@pytest.mark.parametrize(
    ("way", "how"), [("stays", "by signal 9"), ("fails at its end", "with exit status 5")]
)
def test_a_command_that_does_not_end_well_is_ended_and_noted(
    way: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_GRACE_SECONDS", 0.2)
    report = check(malformed(way), profile=TINY, seed=1, tiers=["contract"])
    assert report.findings == ()
    assert any(f"ended {how} after its stdin was closed" in note for note in report.notes)


def test_a_command_ends_with_a_layer_that_is_never_closed() -> None:
    layer = malformed("stays")()
    pid = layer._connection.child.pid
    del layer
    gc.collect()
    assert not is_running(pid)


def test_what_a_command_has_started_ends_with_it() -> None:
    shell = shutil.which("sh")
    assert shell is not None
    script = f"sleep 600 & echo $! >&2; {sys.executable} {MALFORMED} behaves"
    layer = CommandLayer([shell, "-c", script], answer_seconds=60)
    layer._load("k")
    (pid,) = [int(word) for word in layer._connection.child._errors.split()]
    assert is_running(pid)
    layer.close()
    until(lambda: not is_running(pid))


def until(happened: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + 30
    while not happened():
        assert time.perf_counter() < deadline
        time.sleep(0.01)


def test_a_killed_worker_process_takes_its_command_with_it(tmp_path: Path) -> None:
    # The command of a worker ignores the end of its stdin, so only a signal ends it.
    place = tmp_path / "pids"
    script = f"import os; open({str(place)!r}, 'a').write(f'{{os.getpid()}} '); "
    script += (
        f"import runpy, sys; sys.argv = ['x', 'stays']; runpy.run_path({MALFORMED!r}, run_name='__main__')"
    )
    factory = CommandFactory([sys.executable, "-c", script], 60)
    with Process(Start(place_of(factory), 1_900_000_000_000, False)) as process:
        process.wait_until_up()
        process.tell(Look("k"))
        assert process.hear().record is None
    (pid,) = map(int, place.read_text(encoding="utf-8").split())
    until(lambda: not is_running(pid))


# Requests and answers.

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


def test_a_command_without_steps_is_noted() -> None:
    report = check(malformed("behaves"), profile=TINY, seed=1)
    assert report.keeps()
    assert any(note.startswith("The command announces no steps.") for note in report.notes)


# The schema.

FOLDER = files(idemproof.spec) / "vectors"
SCHEMA, VECTORS_SCHEMA = (
    json.loads((FOLDER / name).read_text(encoding="utf-8")) for name in ("lines.schema.json", "schema.json")
)
REGISTRY: Any = Registry().with_resource("schema.json", Resource.from_contents(VECTORS_SCHEMA))


def schema_of(sender: str) -> Draft202012Validator:
    return Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{sender}"}, registry=REGISTRY)


def test_every_line_of_a_run_is_valid_by_the_schema(
    node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    requests, answers = schema_of("request"), schema_of("answer")
    seen: dict[str, int] = {}
    send, init = Child.send, Child.__init__

    def sent(self: Child, line: bytes) -> None:
        message = json.loads(line)
        assert not list(requests.iter_errors(message))
        seen[message["method"]] = seen.get(message["method"], 0) + 1
        send(self, line)

    def received(self: Child, command: Any, longest: int, on_line: Any, *rest: Any, **options: Any) -> None:
        def noted(line: bytes) -> None:
            wrong.extend(answers.iter_errors(json.loads(line)))
            on_line(line)

        init(self, command, longest, noted, *rest, **options)

    wrong: list[Any] = []
    monkeypatch.setattr(Child, "send", sent)
    monkeypatch.setattr(Child, "__init__", received)
    report = of_the_example(
        node, EXAMPLES / "layer.mjs", tmp_path, profile=TINY, tiers=["contract", "exclusion", "faults"]
    )
    assert report.keeps()
    assert wrong == []
    assert set(seen) == {"load", "swap", "go", "fail"}


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
