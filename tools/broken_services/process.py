"""``python -m broken_services.process NAME FILE PORT``: serve one service of this package as a process."""

import sys
from pathlib import Path

import uvicorn

from . import SERVICES


def main() -> None:
    """Serve until the process ends."""
    name, file, port = sys.argv[1:]
    application = SERVICES[name].make(Path(file))
    uvicorn.run(application, host="127.0.0.1", port=int(port), log_level="critical", lifespan="off")


if __name__ == "__main__":
    main()
