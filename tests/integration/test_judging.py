"""The process that judges for ``idemproof check``: what hangs in it is found, wherever it hangs."""

import sys
import time
from pathlib import Path
from types import FrameType

import pytest

from idemproof import InMemoryPersistenceLayer
from idemproof.cli import judged as judged_process
from idemproof.cli import judging
from idemproof.cli.judged import _outermost_first, _Watch
from idemproof.cli.judging import NothingToJudge, follow
from idemproof.cli.messages import Busy, Imported, Interrupted, Job, Leaving, Refused, line_of, message_of
from idemproof.conformance.suite.profiles import PROFILES
from idemproof.conformance.suite.report import CheckResult, Finding, Report
from idemproof.conformance.suite.run_log import Began, Closed, Opened, RunLog
from idemproof.conformance.suite.runner import Session, checks
from idemproof.conformance.suite.trace import Line
from idemproof.spec.record import Record

pytestmark = pytest.mark.once

LAYERS = """
import atexit
import os
import re
import signal
import threading
import time

from idemproof import InMemoryPersistenceLayer

if os.path.exists("wait_at_import"):
    threading.Event().wait()


class UnspeakableError(Exception):
    def __str__(self):
        threading.Event().wait()


class WithAnUnspeakableError(InMemoryPersistenceLayer):
    def _load(self, key):
        raise UnspeakableError


class Stopped(InMemoryPersistenceLayer):
    def _load(self, key):
        os.kill(os.getpid(), signal.SIGSTOP)


def keeps_the_interpreter():
    re.match(r"(a+)+$", "a" * 60 + "b")


def does_not_end():
    atexit.register(threading.Event().wait)
    return InMemoryPersistenceLayer()


class WithoutEnd(InMemoryPersistenceLayer):
    def __del__(self, wait=threading.Event().wait):  # the names of this module may be gone by then
        wait()


layers = []


def does_not_vanish():
    layers.append(WithoutEnd())
    return layers[-1]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hanging.py").write_text(LAYERS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(judging, "_GRACE_SECONDS", 0.0)
    return tmp_path


def judged(name: str, place: Path) -> Report:
    tiers = ("contract",)
    course = RunLog(checks(tiers), name, "quick", 1)
    job = Job(
        f"hanging:{name}", False, "quick", 1, {}, tiers, str(place), judging.farewell(), time.perf_counter()
    )
    follow(job, PROFILES["quick"]._replace(patience=3.0), course, lambda _: None)
    return course.report()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("WithAnUnspeakableError", ", in __str__ did not end within "),
        ("Stopped", "The process that used the layer sent nothing for 3 seconds"),
        ("keeps_the_interpreter", "while the factory made the layers"),
        (
            "does_not_end",
            "did not end within 3 seconds after the last check: an exit handler or a destructor",
        ),
        ("does_not_vanish", "did not end within 3 seconds after the last check: an exit handler or a destr"),
    ],
)
def test_what_hangs_outside_of_a_request_is_found(name: str, said: str, place: Path) -> None:
    report = judged(name, place)
    assert said in str(report.aborted)
    assert not report.keeps()


def test_a_module_that_hangs_is_found(place: Path) -> None:
    (place / "wait_at_import").touch()
    report = judged("Stopped", place)
    assert "while the module 'hanging' was imported: it hangs." in str(report.aborted)
    assert {each.verdict for each in report.checks} == {"not judged"}


def test_a_target_that_is_missing_is_refused(place: Path) -> None:
    with pytest.raises(NothingToJudge, match=r"The module 'hanging' has no 'Stoped'\. Is it 'Stopped'"):
        judged("Stoped", place)


RECORD = Record("key", "COMPLETED", 2, None, '"ünd"', None, "alice")
FINDING = Finding("a", "contract", ("CAS-1",), "Why.", (Line(0, "client 1", "reads", RECORD),), None)


@pytest.mark.parametrize(
    "message",
    [
        Imported(),
        Refused("no"),
        Interrupted(),
        Busy(1.5, "line 1 of a.py"),
        Leaving(["a thread"]),
        Opened("Layer"),
        Began(3),
        CheckResult("a", "contract", ("CAS-1",), "Asks.", "broken", None, (FINDING,), 1, 2, 0.5),
        Closed(finished=True, notes=("a note",), aborted=None),
    ],
)
def test_messages_arrive_as_they_were_sent(message: judging.Message) -> None:
    line = line_of(message)
    assert line.count(b"\n") == 1
    assert message_of(line) == message


def test_code_outside_of_the_suite_may_run_for_ever() -> None:
    watch = _Watch("shop.layers:layer")
    for _ in range(2):
        assert watch.longest() == Busy(0.0, None)
        time.sleep(0.01)


def test_a_check_that_takes_long_is_no_call_of_the_user_wherever_hypothesis_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slow store must not seem to hang in Hypothesis, which calls the layer while the check runs."""
    monkeypatch.setattr(judged_process, "_INSTALLED", ("/nowhere",))
    watch = _Watch("a_module:Layer")
    outermost: list[FrameType | None] = []

    class Layer(InMemoryPersistenceLayer):
        def _load(self, key: str) -> Record | None:
            outermost.append(watch._first_of_the_user(_outermost_first(sys._getframe())))
            return super()._load(key)

    (histories,) = (each for each in checks(["time"]) if each.name == "a-random-history-follows-the-protocol")
    session = Session(Layer, PROFILES["quick"]._replace(examples=2), 1)
    outermost.clear()
    session.judge(histories)
    session.close()
    assert {each.f_code.co_name for each in outermost if each is not None} == {"_load"}
