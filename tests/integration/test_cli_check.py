"""``idemproof check``: what it judges, where it reports, and its exit codes."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from command_lines import runner
from idemproof.cli.app import app

pytestmark = pytest.mark.once

LAYERS = '''
import os
import signal

from idemproof import InMemoryPersistenceLayer

print("importing layers")


def good():
    print("making a layer")
    os.write(1, b"past Python\\n")
    return InMemoryPersistenceLayer()


class Forgetful(InMemoryPersistenceLayer):
    """Does not keep the payload hash."""

    def _swap(self, key, expected, new, ttl_ms):
        kept = None if new is None else new._replace(payload_hash=None)
        return super()._swap(key, expected, kept, ttl_ms)


class Interrupted(InMemoryPersistenceLayer):
    requests = 0

    def _load(self, key):
        self.requests += 1
        if self.requests == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return super()._load(key)


class Factories:
    forgetful = Forgetful


def failing():
    raise ConnectionError("no server listens")


def needing(path):
    return path


def interrupted_at_once():
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
'''

ENDING = """
import atexit
import fcntl
import os
import signal
import subprocess
import sys

from idemproof import InMemoryPersistenceLayer
from layers import Forgetful


def ending(how, request=60):
    class Ending(InMemoryPersistenceLayer):
        requests = 0

        def _swap(self, key, expected, new, ttl_ms):
            Ending.requests += 1
            if Ending.requests >= request:
                how()
            return super()._swap(key, expected, new, ttl_ms)

    return Ending


def fork():
    if os.fork():
        os._exit(0)


exits = ending(lambda: os._exit(0))
exits_at_once = ending(lambda: os._exit(0), 1)
execs = ending(lambda: os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"]))
is_killed = ending(lambda: os.kill(os.getpid(), signal.SIGKILL))
forks = ending(fork)


def exits_in_factory():
    os._exit(0)


class exits_in_close(InMemoryPersistenceLayer):
    def close(self):
        os._exit(0)


def exits_at_exit():
    atexit.register(os._exit, 0)
    return InMemoryPersistenceLayer()


def replaces(layer=Forgetful):
    sys.exit = os._exit = print = lambda *_: None
    if sys.stdout is not None:
        sys.stdout.close()
    sys.stdout = sys.stderr = None
    return layer()


def replaces_and_keeps():
    return replaces(InMemoryPersistenceLayer)


def leaves_a_process():
    if leaves_a_process.left:
        return InMemoryPersistenceLayer()
    leaves_a_process.left = True
    with open("left", "w") as file:  # locked until this process and the other one have ended
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = [sys.executable, "-c", "import time; time.sleep(600)"]
        subprocess.Popen(waiting, pass_fds=[file.fileno()])
    return InMemoryPersistenceLayer()


leaves_a_process.left = False


def hangs_with_a_process():
    leaves_a_process()
    return ending(hang)()


def hang():
    open("begun", "w").close()
    signal.pause()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "layers.py").write_text(LAYERS, encoding="utf-8")
    (tmp_path / "ending.py").write_text(ENDING, encoding="utf-8")
    (tmp_path / "gone.py").write_text("import os\nos._exit(0)\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("import nothing_of_the_kind\n", encoding="utf-8")
    (tmp_path / "slip.py").write_text("good = 1\ndef good(:\n", encoding="utf-8")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    return tmp_path


def check(place: Path, *arguments: str, before: str = "") -> "subprocess.CompletedProcess[str]":
    run = f"{before}\nimport sys; from idemproof.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", run, "check", *arguments],
        cwd=place,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100", "NO_COLOR": "1"},
    )


QUICK = ("--profile", "quick", "--tier", "contract", "--seed", "7")


def test_a_layer_that_keeps_all_is_reported_so_with_exit_code_0(place: Path) -> None:
    done = check(place, "layers:good", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "InMemoryPersistenceLayer (two methods, blocking" in done.stdout
    assert "profile quick, seed 7" in done.stdout
    assert "KEPT" in done.stdout
    assert "idemproof check layers:good --profile quick --seed 7 --tier contract" in done.stdout
    assert "The layer or its factory printed: making a layer" in done.stdout
    assert "importing layers" not in done.stdout
    assert "past Python" not in done.stdout
    assert "Traceback" not in done.stderr


def test_a_layer_that_breaks_a_clause_is_reported_how_where_wanted_with_exit_code_1(place: Path) -> None:
    done = check(place, "layers:Forgetful", *QUICK, "--json", "report.json", "--html", "report.html")
    assert done.returncode == 1, done.stderr
    for words in ("BROKEN", "client 1", "then stored", "CAS-", "payload"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    report = json.loads((place / "report.json").read_text(encoding="utf-8"))
    assert report["tiers"]["contract"] == "broken"
    page = (place / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "idemproof check layers:Forgetful" in page


@pytest.mark.nightly
def test_json_on_stdout_is_nothing_but_json(place: Path) -> None:
    done = check(place, "layers:good", *QUICK, "--json", "-")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert (report["seed"], report["profile"], report["keeps"]) == (7, "quick", True)


def test_the_factory_may_be_an_attribute_of_something(place: Path) -> None:
    done = check(place, "layers:Factories.forgetful", *QUICK, "--json", "-")
    assert done.returncode == 1
    assert json.loads(done.stdout)["subject"].startswith("Forgetful")


def test_required_tiers_decide_the_exit_code(place: Path) -> None:
    kept = check(place, "layers:good", *QUICK, "--require", "contract")
    assert kept.returncode == 0
    assert "Required and kept: contract." in kept.stdout
    missing = check(
        place, "layers:good", "--profile", "quick", "--tier", "durability", "--require", "durability"
    )
    assert missing.returncode == 1
    assert "Required, but: durability is not" in missing.stdout


def test_claims_reach_the_layer_and_the_command_to_run_again(place: Path) -> None:
    claims = (
        "--not-fenced --fixed-clock --largest-response 1000 --client-methods _swap --client-methods _load"
    )
    done = check(place, "layers:good", *QUICK, *claims.split())
    for each in (
        "--not-fenced",
        "--fixed-clock",
        "--largest-response 1000",
        "--client-methods _swap",
        "-methods _load",
    ):
        assert each in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["layers"], "'layers' is not of the form module:factory, such as shop.layers:make_layer."),
        (["layers:"], "'layers:' is not of the form module:factory"),
        (["nowhere:good"], "There is no module 'nowhere' in this directory or on Python's search path."),
        (["nowhere.layers:good"], "There is no module 'nowhere'"),
        (
            ["broken:good"],
            "The module 'broken' cannot be imported: ModuleNotFoundError: No module named 'noth",
        ),
        (["broken:good"], "of_the_kind' (line 1 of "),
        (["slip:good"], "The module 'slip' cannot be imported: SyntaxError: "),
        (["slip:good"], "(line 2 of "),
        (
            ["layers:good", "--largest-response", "-1"],
            "largest_response must be a whole number above 0, not -1.",
        ),
        (
            ["layers:good", "--tier", "contract", "--client-methods", "a.b"],
            "client_methods names 'a.b', which InMemoryPersistenceLayer does not have",
        ),
        (["layers:good", "--json", "r", "--html", "r"], "Both reports cannot be written to 'r'"),
        (["leaving:good"], "The module 'leaving' cannot be imported: SystemExit: 3"),
        (["layers:god"], "The module 'layers' has no 'god'. Is it 'good'?"),
        (["layers:Factories.xyz"], "The module 'layers' has no 'Factories.xyz'."),
        (
            ["layers:failing"],
            "The factory raised ConnectionError: no server listens. Call it on its own first",
        ),
        (["layers:needing"], "The factory needing cannot be called without arguments"),
        (
            ["layers:good", "--profile", "slow"],
            "There is no profile 'slow'. There are: quick, default, thorough.",
        ),
        (["layers:good", "--tier", "speed"], "There is no tier 'speed'. There are: contract, "),
        (["layers:good", "--require", "speed"], "There is no tier 'speed'."),
        (
            ["layers:good", "--tier", "time", "--require", "contract"],
            "is required, but not judged: add --tier",
        ),
        (["layers:good", "--json", "no/where.json"], "'no/where.json' cannot be written"),
        (["layers:good", "--html", "."], "'.' cannot be written"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_with_exit_code_2(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "layers", raising=False)
    done = runner().invoke(app, ["check", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("library", "name"), [("hypothesis", "hypothesis"), ("time_machine", "time-machine")]
)
def test_a_missing_library_is_a_sentence(place: Path, library: str, name: str) -> None:
    done = check(place, "layers:good", before=f"import sys; sys.modules[{library!r}] = None")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f'idemproof check needs {name}, which is not installed: pip install "idemproof[conformance]"\n'
    )


@pytest.mark.usefixtures("_heeding_interrupts")
def test_an_interruption_gives_the_report_so_far_with_exit_code_130(place: Path) -> None:
    done = check(place, "layers:Interrupted", *QUICK)
    assert done.returncode == 130, done.stderr
    assert "INTERRUPTED: " in done.stdout
    assert "Not judged, because it was interrupted:" in done.stdout
    assert "contract (" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("_heeding_interrupts")
def test_an_interruption_before_the_first_check_is_a_sentence(place: Path) -> None:
    done = check(place, "layers:interrupted_at_once", *QUICK)
    assert (done.returncode, done.stdout) == (130, "")
    assert "Interrupted before anything was judged." in done.stderr


@pytest.mark.parametrize(
    "factory",
    [
        *("exits", "forks"),
        pytest.param("execs", marks=pytest.mark.nightly),
        pytest.param("is_killed", marks=pytest.mark.nightly),
    ],
)
def test_a_layer_that_ends_the_process_is_broken(place: Path, factory: str) -> None:
    done = check(place, f"ending:{factory}", *QUICK, "--json", "report.json", "--html", "report.html")
    assert done.returncode == 1, done.stderr
    said = " ".join(done.stdout.split())
    assert "The process that used the layer " in said
    assert " in the middle of the check " in said
    assert "The layer ended the run." in said
    report = json.loads((place / "report.json").read_text(encoding="utf-8"))
    assert not report["keeps"]
    assert report["aborted"]
    assert {"kept", "broken", "not judged"} == {each["verdict"] for each in report["checks"]}
    assert "an earlier check ended the run" in (place / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("ending:exits_at_once", marks=pytest.mark.nightly),
        "ending:exits_in_factory",
        "gone:layer",
    ],
)
def test_a_process_that_ends_before_the_first_check_has_an_exit_code_of_its_own(
    place: Path, target: str
) -> None:
    done = check(place, target, *QUICK, "--require", "contract")
    assert done.returncode == 3, done.stderr
    said = " ".join(done.stdout.split())
    assert "NOT JUDGED: The process that used the layer ended with exit code 0 while the " in said
    assert "the run ended before the first check" in said


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        pytest.param(
            "exits_in_close",
            "ended with exit code 0 while the layers were closed.",
            marks=pytest.mark.nightly,
        ),
        ("exits_at_exit", "ended with exit code 0 after the last check, before its regular end."),
    ],
)
def test_a_layer_that_ends_the_process_after_the_last_check_is_not_kept(
    place: Path, factory: str, said: str
) -> None:
    done = check(place, f"ending:{factory}", *QUICK)
    assert done.returncode == 1, done.stderr
    assert f"BROKEN: The process that used the layer {said}" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("factory", "code"), [("replaces", 1), pytest.param("replaces_and_keeps", 0, marks=pytest.mark.nightly)]
)
def test_a_layer_that_replaces_how_a_program_ends_and_prints_is_judged(
    place: Path, factory: str, code: int
) -> None:
    assert check(place, f"ending:{factory}", *QUICK).returncode == code


def test_no_process_of_a_layer_stays(place: Path) -> None:
    done = check(place, "ending:leaves_a_process", *QUICK)
    assert done.returncode == 0, done.stderr
    assert _is_free(place / "left")


@pytest.mark.usefixtures("_heeding_interrupts")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly), signal.SIGKILL]
)
def test_a_signal_ends_the_command_and_what_it_has_started(place: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "idemproof", "check", "ending:hangs_with_a_process", *QUICK],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as command:
        assert _happens((place / "begun").exists)
        command.send_signal(number)
        said, _ = command.communicate(timeout=60)
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    assert command.returncode == expected[number]
    assert ("INTERRUPTED" in said) is (number == signal.SIGINT)
    assert _is_free(place / "left")


def _is_free(file: Path) -> bool:
    """Return whether no process has the file open any more."""

    def locked() -> bool:
        with file.open(encoding="utf-8") as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    return _happens(locked)


def _happens(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_help_shows_what_each_claim_means(place: Path) -> None:
    done = check(place, "--help")
    said = " ".join(done.stdout.replace("│", " ").split())
    for words in ("--not-fenced", "--fixed-clock", "--no-threads", "survives the process that wrote it"):
        assert words in said
