"""The command line: ``idemproof``, or ``python -m idemproof``."""

import sys

_NEEDED = ("typer", "rich")


def main() -> None:
    """Run the command line; without its libraries, say how to install them and exit with code 2."""
    try:
        from .cli.app import app  # noqa: PLC0415 - needs the `cli` extra
    except ModuleNotFoundError as missing:
        library = (missing.name or "").partition(".")[0]
        if library not in _NEEDED:
            raise
        sys.stderr.write(
            f'The idemproof command needs {library}, which is not installed: pip install "idemproof[cli]"\n'
        )
        raise SystemExit(2) from None
    app(prog_name="idemproof")


if __name__ == "__main__":
    main()
