"""Commands that print something invalid, are silent or end early are named, and no command is left behind."""

import gc
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import malformed_layer
from child_commands import MALFORMED, TINY, is_running, malformed
from idemproof.conformance import FactoryError, check
from idemproof.conformance.commands import child
from idemproof.conformance.commands.layer import CommandError, CommandFactory, CommandLayer
from idemproof.conformance.harness.messages import Look, Start
from idemproof.conformance.harness.processes import Process, place_of

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("no_orphans")]

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
        process.send(Look("k"))
        assert process.hear().record is None
    (pid,) = map(int, place.read_text(encoding="utf-8").split())
    until(lambda: not is_running(pid))


def test_a_command_without_steps_is_noted() -> None:
    report = check(malformed("behaves"), profile=TINY, seed=1)
    assert report.keeps()
    assert any(note.startswith("The command announces no steps.") for note in report.notes)
