"""A command as the target of ``idemproof check``."""

import shlex
from typing import TYPE_CHECKING

from .targets import refusal

if TYPE_CHECKING:
    from idemproof.conformance import Capabilities
    from idemproof.conformance.commands.layer import CommandFactory

_SHARE_OF_PATIENCE = 0.8
"""The command is given up before the suite gives up its layer, so that the reason is known."""


def claims_of(command: str, profile: str) -> dict[str, bool | int]:
    """Return what the layer claims in the first line of the command; refuse a command that prints none."""
    from idemproof.conformance.commands.layer import CommandError  # noqa: PLC0415 - as in check

    try:
        layer = factory_of(command, profile)()
        layer.close()
    except CommandError as failure:
        raise refusal(f"{failure} Nothing was judged.") from None
    return layer.hello.claims


def factory_of(
    command: str, profile: str, capabilities: "Capabilities | None" = None, *, own_group: bool = True
) -> "CommandFactory":
    """Return the factory of the layers that a command is."""
    from idemproof.conformance.commands.layer import CommandFactory, longest_line  # noqa: PLC0415 - as in check
    from idemproof.conformance.suite.profiles import PROFILES  # noqa: PLC0415 - same

    try:
        words = shlex.split(command)
    except ValueError as wrong:
        raise refusal(f"The command {command!r} cannot be split into words: {wrong}.") from None
    if not words:
        raise refusal("The command is empty.")
    longest = longest_line(0 if capabilities is None else capabilities.largest_response)
    patience = PROFILES[profile].patience * _SHARE_OF_PATIENCE
    return CommandFactory(words, patience, longest, own_group)
