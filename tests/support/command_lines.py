"""Command lines that are run in the tests' own process."""

from typer.testing import CliRunner


def runner() -> CliRunner:
    """Return what runs them, and keeps what goes to each stream apart."""
    try:
        return CliRunner(mix_stderr=False)  # type: ignore[call-arg]  # older releases of click mix by default
    except TypeError:
        return CliRunner()
