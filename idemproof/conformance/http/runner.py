"""Runs the checks on a service, one by one, and makes the report."""

import secrets
import time
import zlib
from collections.abc import Callable, Sequence
from importlib.metadata import version

from ..suite.checks import Broken, NotJudged, NotOffered
from ..suite.findings import finding_with
from ..suite.kinds import HTTP_SERVICE
from ..suite.options import tiers_named
from ..suite.report import CheckResult, Finding, Report, Verdict
from ..suite.subjects import shortened
from . import checks as _checks  # noqa: F401 - registers them
from .baseline import NothingToJudge, Service
from .budget import Budget, Spent
from .case import HttpCase
from .checking import CHECKS, HttpCheck, missing_settings, require_settings
from .counting import Counter, CounterError
from .expectations import expectations_of
from .places import Place, PlaceError, place_of
from .requests import Maker
from .target import Target
from .texts import Texts, VariableError

Progress = Callable[[HttpCheck, int, int], None]
"""Called with the check that begins, its number from 0, and the number of checks."""

_Open = tuple[Verdict, str]


def check_http(
    target: Target,
    *,
    seed: int | None = None,
    tiers: Sequence[str] = HTTP_SERVICE.tiers,
    owned: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Judge a running HTTP service by the clauses of the protocol about HTTP.

    Parameters
    ----------
    target
        Where the service is, and what to send.
    seed
        The seed of all random choices; a random one if None. The report contains it.
    tiers
        The tiers to judge.
    owned
        Whether you own the hosts of the target. Otherwise they must be this machine.
    progress
        Called when a check begins.

    Returns
    -------
    Report
        The findings. If Ctrl-C interrupts the run, the report contains the findings so far.

    Raises
    ------
    NothingToJudge
        The service does not answer, a host is not allowed, or the effects cannot be counted. The message
        says what to do.
    ValueError
        There is no such profile or tier.
    """
    wanted = [each for each in CHECKS if each.tier in tiers_named(tiers, HTTP_SERVICE.tiers)]
    drawn = secrets.randbelow(2**32) if seed is None else seed
    expects = expectations_of(target.profile, requires_key=target.key_required)
    try:
        places = _places(target, owned=owned)
    except PlaceError as refused:
        raise NothingToJudge(str(refused)) from None
    budget, texts = Budget(target.limits), Texts()
    counter = (
        None if target.effects is None else Counter(target.effects, places.get("effects"), budget, texts)
    )
    service = Service(target, expects, places, budget, texts, counter)
    make = Maker(target, expects, texts)
    try:
        make.try_all()
        service.learn(make)
    except VariableError as wrong:
        raise NothingToJudge(f"{wrong} Nothing was judged.") from None
    except Spent as spent:
        raise NothingToJudge(f"The first requests did not end: {spent}. Nothing was judged.") from None
    return _judged(service, wanted, drawn, progress)


def _judged(service: Service, wanted: Sequence[HttpCheck], seed: int, progress: Progress | None) -> Report:
    results: list[CheckResult] = []
    notes: list[str] = []
    finished = True
    last: int | None = None
    for number, each in enumerate(wanted):
        if progress is not None:
            progress(each, number, len(wanted))
        try:
            result = _result(service, each, seed, notes)
        except KeyboardInterrupt:
            finished = False
            break
        if result.histories:
            _mark_late(service, results, last)
            service.rest()
            last = number
        results.append(result)
    service.rest()
    _mark_late(service, results, last)
    rest = [_without(each, "not judged", "it was interrupted") for each in wanted[len(results) :]]
    missing = dict.fromkeys(each for check in wanted for each in missing_settings(check, service.target))
    if missing:
        notes.append(f"To judge more, describe in the target: {', '.join(missing)}.")
    sent = ", ".join(f"{count:,} to {origin}" for origin, count in service.budget.sent.items())
    return Report(
        f"{service.target.request.method} {service.place.origin}{service.target.request.path}",
        service.expects.name,
        seed,
        version("idemproof"),
        (*results, *rest),
        finished,
        (*service.notes, *dict.fromkeys(notes), f"Requests sent: {sent}."),
        None,
        HTTP_SERVICE,
    )


def _mark_late(service: Service, results: list[CheckResult], last: int | None) -> None:
    """Take back the verdict of the last check that ran if effects happened after it had ended."""
    if service.late and last is not None and results[last].verdict == "kept":
        why = f"{service.late} effects happened after it had ended: raise settle_ms in the target"
        results[last] = results[last]._replace(verdict="not judged", why_not=why)


def _result(service: Service, asked: HttpCheck, seed: int, notes: list[str]) -> CheckResult:
    """Run one check."""
    began, sent = time.monotonic(), service.budget.total
    open_because: _Open | None = None
    findings: list[Broken] = []
    cases = 0
    try:
        require_settings(asked, service.target)
        case = HttpCase(service, zlib.crc32(f"{seed}:{asked.name}".encode()), asked.clauses)
        findings = case.findings
        try:
            asked.run(case)
        finally:
            cases = case.cases
            notes.extend(case.notes)
    except Broken as broken:
        findings.append(broken)
    except NotOffered as why:
        open_because = "not offered", str(why)
    except NotJudged as why:
        open_because = "not judged", str(why)
    except Spent as why:
        open_because = "not run", str(why)
    except CounterError as why:
        open_because = "not judged", f"the effects cannot be counted: {why}"
    verdict: Verdict = "broken" if findings else open_because[0] if open_because else "kept"
    return CheckResult(
        asked.name,
        asked.tier,
        asked.clauses,
        asked.asks,
        verdict,
        service.texts.masked(open_because[1]) if open_because and not findings else None,
        tuple(_finding(asked, each) for each in findings),
        cases,
        service.budget.total - sent,
        time.monotonic() - began,
    )


def _finding(asked: HttpCheck, broken: Broken) -> Finding:
    lines = tuple(line._replace(what=shortened(line.what)) for line in broken.lines)
    return finding_with(lines, asked.name, asked.tier, broken)


def _without(asked: HttpCheck, verdict: Verdict, why: str) -> CheckResult:
    return CheckResult(asked.name, asked.tier, asked.clauses, asked.asks, verdict, why, (), 0, 0, 0.0)


def _places(target: Target, *, owned: bool) -> dict[str, Place]:
    """Return all servers that the target names, checked before anything is sent."""
    named = {"url": target.url, "second_service": target.second_service}
    if target.effects is not None:
        named["effects"] = target.effects.url
    return {name: place_of(url, owned=owned) for name, url in named.items() if url is not None}
