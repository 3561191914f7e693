"""``idemproof check-http``: judge a running HTTP service and write reports."""

import importlib
import json as json_module
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    from idemproof.conformance.http.target import Target

_OF_ADDRESS = "For an address"


def check_http(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET.TOML|URL",
            help="A file that describes the service, or the address of a request that has an effect.",
        ),
    ],
    profile: Annotated[
        str | None, typer.Option(help="The profile that says what is required, such as ietf or stripe.")
    ] = None,
    seed: SeedOption = None,
    require: RequireOption = None,
    tier: TierOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    i_own_this_host: Annotated[
        bool, typer.Option("--i-own-this-host", help="Allow a target that is not this machine.")
    ] = False,
    method: Annotated[str | None, typer.Option(help="The method.", rich_help_panel=_OF_ADDRESS)] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: VALUE'", help="A header. Repeat it for more.", rich_help_panel=_OF_ADDRESS
        ),
    ] = None,
    payload: Annotated[
        str | None, typer.Option(metavar="JSON", help="The body.", rich_help_panel=_OF_ADDRESS)
    ] = None,
    other_payload: Annotated[
        str | None, typer.Option(metavar="JSON", help="Another valid body.", rich_help_panel=_OF_ADDRESS)
    ] = None,
    second_client: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: VALUE'", help="A header of another client.", rich_help_panel=_OF_ADDRESS
        ),
    ] = None,
    effects: Annotated[
        str | None,
        typer.Option(
            metavar="URL[#PATH]",
            help="An address that returns the number of effects, with the path to it in the JSON.",
            rich_help_panel=_OF_ADDRESS,
        ),
    ] = None,
) -> None:
    """Judge a running HTTP service by its idempotency keys, and show how it breaks its promise.

    The service may be written in any language. The judge sends requests that
    have effects: use a test system. It sends only to the hosts that the target
    names, only to this machine without --i-own-this-host, and never more than
    the limits of the target. The report says what it has sent.

    Exit code 0: no tier is broken; with --require, those tiers are kept. 1: a
    tier is broken, or a required tier is not offered. 2: there is nothing to
    judge, and a message says why. 3: no tier is broken, but some could not be
    judged; the report says why. 130: interrupted; the report shows the results
    so far.

    The tiers: keys, repeats, payloads, scope, errors, races, connections,
    expiry, crashes.
    """
    try:
        importlib.import_module("h11")
    except ModuleNotFoundError:
        raise refusal(
            'idemproof check-http needs h11, which is not installed: pip install "idemproof[http-check]"'
        ) from None
    options = {
        "method": method,
        "headers": _headers("--header", header),
        "json": _json("--payload", payload),
        "other_json": _json("--other-payload", other_payload),
        "tenants": {"second": _headers("--second-client", second_client)} if second_client else None,
        "effects": _effects(effects),
    }
    given = {name: value for name, value in options.items() if value is not None}
    judged = _target(target, given, profile)
    refuse_places_that_cannot_be_written(json, html)
    report = _judged(judged, seed, tier, require, owned=i_own_this_host)
    words = [f"idemproof check-http {shlex.quote(target)} --seed {report.seed}"]
    words += [f"--profile {profile}"] if profile is not None else []
    words += [f"--tier {name}" for name in tier or ()]
    words += [f"--require {name}" for name in require or ()]
    words += ["--i-own-this-host"] if i_own_this_host else []
    texts = {"--method": method, "--payload": payload, "--other-payload": other_payload, "--effects": effects}
    words += [f"{name} {shlex.quote(value)}" for name, value in texts.items() if value is not None]
    words += [f"--header {shlex.quote(each)}" for each in header or ()]
    words += [f"--second-client {shlex.quote(each)}" for each in second_client or ()]
    deliver(report, " ".join(words), require or (), json, html)
    raise typer.Exit(exit_code(report, require or ()))


def _judged(
    target: "Target", seed: int | None, tiers: list[str] | None, required: list[str] | None, *, owned: bool
) -> "Report":
    from idemproof.conformance.http.baseline import NothingToJudge  # noqa: PLC0415 - needs the extra
    from idemproof.conformance.http.runner import check_http as judge  # noqa: PLC0415 - same
    from idemproof.conformance.suite.kinds import HTTP_TIERS  # noqa: PLC0415 - same
    from idemproof.conformance.suite.options import tiers_named  # noqa: PLC0415 - same
    from idemproof.conformance.suite.wording import clean  # noqa: PLC0415 - same

    try:
        tiers_named(required or HTTP_TIERS, HTTP_TIERS)
        for name in required or ():
            if tiers and name not in tiers:
                raise refusal(f"The tier {name} is required, but not judged: add --tier {name}.")
        with show_checks("sending the first request") as progress:
            return judge(target, seed=seed, tiers=tiers or HTTP_TIERS, owned=owned, progress=progress)
    except (NothingToJudge, ValueError) as why:
        raise refusal(clean(str(why))) from None
    except KeyboardInterrupt:
        typer.echo("Interrupted before anything was judged.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _target(target: str, given: dict[str, Any], profile: str | None) -> "Target":
    """Return the target that a file or the options describe, or refuse the command."""
    from idemproof.conformance.http.target_file import (  # noqa: PLC0415 - needs the extra
        TargetFileError,
        read,
        target_of,
    )

    try:
        if "://" in target:
            found = target_of({"url": target, **given})
        elif given:
            raise refusal(f"{next(iter(given))} is an option for an address. Write it into {target}.")
        else:
            found = read(Path(target))
    except TargetFileError as wrong:
        raise refusal(str(wrong)) from None
    return found if profile is None else found._replace(profile=profile)


def _headers(option: str, lines: list[str] | None) -> dict[str, str] | None:
    if not lines:
        return None
    pairs = [line.partition(":") for line in lines]
    if wrong := [line for line, pair in zip(lines, pairs, strict=True) if not pair[1]]:
        raise refusal(f"{option} must be 'NAME: VALUE', not {wrong[0]!r}.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _json(option: str, text: str | None) -> Any:
    try:
        return None if text is None else json_module.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise refusal(f"{option} is not JSON: {wrong}.") from None


def _effects(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    url, _, path = text.partition("#")
    return {"url": url, "json": path}
