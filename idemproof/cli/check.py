"""``idemproof check``: judge a persistence layer and write reports."""

import importlib
import inspect
import secrets
import shlex
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

# As a user would: the suite is not the reference's. It loads when a layer is judged; this is next to nothing.
from idemproof.conformance.suite.capabilities import claims

from .commands import claims_of
from .delivery import (
    INTERRUPTED,
    HtmlOption,
    JsonOption,
    RequireOption,
    SeedOption,
    TierOption,
    deliver,
    exit_code,
    refuse_places_that_cannot_be_written,
    show_checks,
)
from .targets import refusal

if TYPE_CHECKING:
    from idemproof.conformance import Report
    from idemproof.conformance.suite.capabilities import ClaimField

_NEEDED = {"hypothesis": "hypothesis", "time-machine": "idemproof.conformance.without_pytest"}
"""The modules that import the libraries of the extra."""
_FLAGS = {
    "durable": "--durable/--not-durable",
    "fenced": "--fenced/--not-fenced",
    "movable_clock": "--movable-clock/--fixed-clock",
}
_BEGAN = time.perf_counter()
"""When this module was imported, which is when the command began."""


def _flags(claim: "ClaimField") -> str:
    name = claim.name.replace("_", "-")
    return _FLAGS.get(claim.name, f"--{name}/--no-{name}" if _is_yes_or_no(claim) else f"--{name}")


def _is_yes_or_no(claim: "ClaimField") -> bool:
    return claim.default is None or isinstance(claim.default, bool)


def _with_claims(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option to a command for each claim that a layer can make."""
    own = inspect.signature(command)
    parameters = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
    for claim in claims():
        option = typer.Option(_flags(claim), help=claim.says, rich_help_panel="What the layer claims")
        kind: Any = list[str] if isinstance(claim.default, tuple) else type(claim.default)
        if claim.default is None:
            kind = bool | None
        parameters.append(
            inspect.Parameter(
                claim.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=list(claim.default) if isinstance(claim.default, tuple) else claim.default,
                annotation=Annotated[kind, option],
            )
        )
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


@_with_claims
def check(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:FACTORY]",
            help="A function without parameters that returns a layer, or a pair of layers over one store.",
        ),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Instead of a factory: a command that is a layer in another language, such as "
            "'node layer.mjs'. It receives requests on stdin and answers on stdout, as lines of JSON.",
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            help="The profile: quick (at most 60 seconds), default (at most 5 minutes), or thorough."
        ),
    ] = "default",
    seed: SeedOption = None,
    require: RequireOption = None,
    tier: TierOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    **claimed: Any,
) -> None:
    """Judge a persistence layer by the clauses of the protocol, and show how it breaks them.

    The layer is made by a factory in Python, or it is a command in any language.

    Exit code 0: no tier that the layer offers is broken; with --require, those
    tiers are kept. 1: a tier is broken, a required tier is not offered, or the
    layer ended or blocked the process that judged it. 2: there is nothing to
    judge, and a message says why. 3: no tier is broken, but some could not be
    judged; the report says why. On a slow store, some checks may not run, and
    the report names them; that alone changes no exit code, unless a required
    tier is not complete. 130: interrupted; the report shows the results
    so far.

    The tiers: contract, time, exclusion, fencing, faults, concurrency,
    durability.
    """
    _refuse_without_the_extra()
    claimed = {name: tuple(value) if isinstance(value, list) else value for name, value in claimed.items()}
    from idemproof.conformance import Capabilities  # noqa: PLC0415 - needs the extra checked above

    required, tiers = _chosen(profile, require, tier)
    if (target is None) is (command is None):
        raise refusal("Give either MODULE:FACTORY, or --command with a command that is a layer.")
    if command is not None:
        claimed |= _claims_of_the_command(command, profile, context)
    try:
        Capabilities(**claimed)
    except ValueError as wrong:
        raise refusal(str(wrong)) from None
    refuse_places_that_cannot_be_written(json, html)
    judged = str(target) if command is None else command
    report = _judged(judged, profile, seed, claimed, tiers, is_command=command is not None)
    named = judged if command is None else f"--command {shlex.quote(command)}"
    deliver(report, _command(named, report, require, tier, claimed), required, json, html)
    raise typer.Exit(exit_code(report, required))


def _claims_of_the_command(command: str, profile: str, context: typer.Context) -> dict[str, Any]:
    """Return what a command says that its layer claims, without the claims of the command line."""
    said = claims_of(command, profile)

    def is_given(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name != "DEFAULT"

    return {name: value for name, value in said.items() if not is_given(name)}


def _judged(
    target: str,
    profile: str,
    seed: int | None,
    claimed: dict[str, Any],
    tiers: tuple[str, ...],
    *,
    is_command: bool,
) -> "Report":
    """Judge in another process; return the report, or refuse the command."""
    from idemproof.conformance.suite.profiles import PROFILES  # noqa: PLC0415 - same
    from idemproof.conformance.suite.run_log import RunLog  # noqa: PLC0415 - as in check
    from idemproof.conformance.suite.runner import checks  # noqa: PLC0415 - same

    from .judging import NothingToJudge, farewell, follow  # noqa: PLC0415 - same
    from .messages import Job  # noqa: PLC0415 - same

    drawn = secrets.randbelow(2**32) if seed is None else seed
    wanted = checks(tiers)
    course = RunLog(wanted, target, profile, drawn)
    with tempfile.TemporaryDirectory() as scratch, show_checks("opening the layer") as show_progress:
        job = Job(target, is_command, profile, drawn, claimed, tiers, scratch, farewell(), _BEGAN)
        try:
            follow(
                job,
                PROFILES[profile],
                course,
                lambda number: show_progress(wanted[number], number, len(wanted)),
            )
        except NothingToJudge as outcome:
            if why := str(outcome):
                raise refusal(why) from None
            typer.echo("Interrupted before anything was judged.", err=True)
            raise typer.Exit(INTERRUPTED) from None
    return course.report()


def _refuse_without_the_extra() -> None:
    for needed, module in _NEEDED.items():
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            raise refusal(
                f"idemproof check needs {needed}, which is not installed: "
                'pip install "idemproof[conformance]"'
            ) from None


def _chosen(
    profile: str, require: list[str] | None, only: list[str] | None
) -> tuple[list[str], tuple[str, ...]]:
    """Return the required tiers and the judged tiers; refuse unknown names."""
    from idemproof.conformance.suite.checks import TIERS  # noqa: PLC0415 - as in check
    from idemproof.conformance.suite.options import profile_named, tiers_named  # noqa: PLC0415 - same

    required, judged = require or [], tuple(only or TIERS)
    try:
        profile_named(profile)
        tiers_named((*judged, *required))
    except ValueError as wrong:
        raise refusal(str(wrong)) from None
    for name in required:
        if name not in judged:
            raise refusal(f"The tier {name} is required, but not judged: add --tier {name}.")
    return required, judged


def _command(
    target: str, report: "Report", require: list[str] | None, only: list[str] | None, claimed: dict[str, Any]
) -> str:
    """Return the command that repeats this run."""
    words = ["idemproof check", target, f"--profile {report.profile} --seed {report.seed}"]
    words += [f"--tier {name}" for name in only or ()]
    words += [f"--require {name}" for name in require or ()]
    for claim in claims():
        given = claimed[claim.name]
        if given != claim.default:
            yes, _, no = _flags(claim).partition("/")
            values = given if isinstance(given, tuple) else [given]
            words += (
                [(yes if given else no)] if isinstance(given, bool) else [f"{yes} {one}" for one in values]
            )
    return " ".join(words)
