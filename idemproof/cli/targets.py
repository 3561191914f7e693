"""The target of a command: the object that ``module:name`` names."""

import difflib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import typer


class TargetError(Exception):
    """There is no such target; the message says what to do."""


def found(target: str) -> Any:
    """Import the object that ``module:factory`` names, or refuse the command."""
    try:
        return imported(target)
    except TargetError as missing:
        raise refusal(str(missing)) from None


def imported(target: str) -> Any:
    """Import the object that ``module:factory`` names, or raise :class:`TargetError`."""
    module, colon, name = target.partition(":")
    if "/" in module or module.endswith(".py"):
        name_of_it = Path(module).stem
        raise TargetError(
            f"Give the module, not its file: {name_of_it}:{name or 'make_layer'}, in its directory."
        )
    if not (module and colon and name):
        raise TargetError(f"{target!r} is not of the form module:factory, such as shop.layers:make_layer.")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - in the form that sys.path has
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - same
    try:
        named: Any = importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # noqa: BLE001 - importing a module may raise any error
        if isinstance(failure, ModuleNotFoundError) and failure.name in _parents(module):
            raise TargetError(
                f"There is no module {failure.name!r} in this directory or on Python's search path."
            ) from None
        raise TargetError(f"The module {module!r} cannot be imported: {_with_place(failure)}") from None
    for part in name.split("."):
        if not hasattr(named, part):
            raise TargetError(f"The module {module!r} has no {name!r}.{_nearest(named, part)}")
        named = getattr(named, part)
    return named


def _with_place(failure: BaseException) -> str:
    """Return an error with its line and file."""
    from idemproof.conformance.suite.subjects import frame_of_the_users, place_of  # noqa: PLC0415 - as in check

    kind = type(failure).__name__
    if isinstance(failure, SyntaxError) and failure.filename is not None:
        return f"{kind}: {failure.msg} (line {failure.lineno} of {failure.filename})"
    frame = frame_of_the_users(failure)
    return f"{kind}: {failure}" + (f" ({place_of(frame)})" if frame is not None else "")


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _nearest(where: Any, name: str) -> str:
    near = difflib.get_close_matches(name, dir(where), n=1)
    return f" Is it {near[0]!r}?" if near else ""


def refusal(sentence: str) -> typer.Exit:
    """Print why the command cannot run; return the exit to raise."""
    typer.echo(sentence, err=True)
    return typer.Exit(2)
