"""Mutate the specification and the engine, and ask of every mutant that lives why it may.

``python tests/mutation/run.py`` mutates every module of :mod:`selections` in a temporary folder, writes
``docs/mutation.md``, and fails if a survivor has no reason in ``explained*.toml``, or a reason no survivor.
With ``--module`` it judges one module, or several, and writes nothing.
"""

import argparse
import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from explanations import REPORT, Change, Tally, complaints, explanations, report
from mutants import Mutant, verdicts
from selections import MODULES, UNEXPLAINED, Module
from workplace import ROOT, configure, prepare

PATIENCE_SECONDS = 300
"""How long the wide selection may take against one mutant; it takes less than a minute against none."""

MEMORY_BYTES = 6 << 30
"""What one process may use: a mutant of a search may search for ever."""

AT_ONCE = 2


def say(text: str) -> None:
    """Tell how far it has come."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a run whose verdicts depend on nothing but the code."""
    return os.environ | {"CI": "true", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"} | more


def mutate(place: Path, module: Module) -> None:
    """Let mutmut make the mutants of ``module`` and run the quick selection against each."""
    configure(place, module)
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(AT_ONCE)]
    with (place / "mutmut.log").open("w+", encoding="utf-8") as log:
        done = subprocess.run(command, cwd=place, env=environment(), stdout=log, stderr=log, check=False)
        log.seek(0)
        reported = log.read()
    # Of a module whose functions all run while it is imported, mutmut cannot judge any mutant: they are left.
    if done.returncode and "Unable to force test failures" not in reported:
        raise RuntimeError(f"mutmut failed on {module.path}:\n{reported[-4000:]}")


def kills(place: Path, module: Module, source: str) -> bool:
    """Run all tests of ``module`` in ``place`` against ``source``; tell whether they see something wrong."""
    quick = (*module.quick, "-k", module.only) if module.only else module.quick
    return any(fails(place, module, tests, source) for tests in (quick, module.wide))


def fails(place: Path, module: Module, tests: tuple[str, ...], source: str) -> bool:
    """Run ``tests`` in ``place`` against ``source``; tell whether one fails, or they do not end."""
    path = place / "idemproof" / module.path
    original = path.read_text(encoding="utf-8")
    path.write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=place,
            env=environment(PYTHONPATH=str(place)),
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(original, encoding="utf-8")
    if source == original and done.returncode:
        reported = f"{done.stdout}{done.stderr}"[-4000:]
        raise RuntimeError(f"the tests fail without any mutation:\n{reported}")
    return done.returncode != 0


def survivors(work: Path, package: Path | None, module: Module, living: list[Mutant]) -> list[Mutant]:
    """Return which of ``living`` the wide selection lets live too."""
    places: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for number in range(AT_ONCE):
        place = work / f"wide-{number}"
        prepare(place, package)
        places.put(place)

    def lives(source: str) -> bool:
        place = places.get()
        try:
            return not kills(place, module, source)
        finally:
            places.put(place)

    original = (work / "wide-0" / "idemproof" / module.path).read_text(encoding="utf-8")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        _, *fates = pool.map(lives, [original, *(mutant.source for mutant in living)])
    return [mutant for mutant, lived in zip(living, fates, strict=True) if lived]


def judge(work: Path, package: Path | None, module: Module) -> Tally:
    """Mutate one module and return what became of its mutants."""
    known = work / "tallies" / f"{module.path.replace('/', '.')}.json"
    if known.exists():
        path, mutants, wording, living = json.loads(known.read_text(encoding="utf-8"))
        return Tally(path, mutants, wording, [Change(*change) for change in living])
    begun = time.monotonic()
    place = work / "quick"
    prepare(place, package)
    original = (place / "idemproof" / module.path).read_text(encoding="utf-8")
    mutate(place, module)
    quick = verdicts(place, module.path, original)
    serious = [mutant for mutant in quick.living if not mutant.wording]
    lived = f"{len(quick.living)} live, {len(serious)} not for their words"
    say(f"{module.path}: {quick.mutants} mutants, {lived}")
    left = survivors(work, package, module, serious) if serious else []
    changes = sorted(Change(mutant.where, mutant.removed, mutant.added) for mutant in left)
    tally = Tally(module.path, quick.mutants, len(quick.living) - len(serious), changes)
    known.parent.mkdir(exist_ok=True)
    known.write_text(json.dumps(tally, indent=1), encoding="utf-8")
    say(f"{module.path}: {len(changes)} live after {time.monotonic() - begun:.0f} s")
    return tally


def main(arguments: list[str] | None = None) -> int:
    """Judge the modules that are asked for; return 1 if there is something to explain."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    paths = [module.path for module in MODULES]
    parser.add_argument(
        "--module",
        action="append",
        choices=[*paths, *(module.path for module in UNEXPLAINED)],
        help="judge it alone, and write no report",
    )
    parser.add_argument("--package", type=Path, help="the installed package's folder; else the checkout's")
    parser.add_argument(
        "--work", type=Path, help="where to work; modules with a tally there are not run again"
    )
    options = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        chosen = [each for each in (*MODULES, *UNEXPLAINED) if each.path in (options.module or paths)]
        tallies = [judge(work, options.package, module) for module in chosen]
    reasons = explanations()
    wrong = complaints(tallies, reasons)
    for complaint in wrong:
        say(complaint)
    if not wrong and not options.module:
        (ROOT / REPORT).write_text(report(tallies, reasons), encoding="utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
