"""The body that runs in the current context."""

import sys
from contextvars import ContextVar
from typing import Any

from ..spec.commands import RunBody

running: ContextVar[RunBody | None] = ContextVar("idemproof_running", default=None)
"""The innermost call whose body runs in this context. It is set while the body runs, and no longer."""

NOT_SET: Any = object()
"""What a driver restores if it has not set ``running``."""

wanted = False
"""Whether anything in this process may ask. Until then drivers save setting ``running``: 3 % of a call."""


def body_here() -> RunBody | None:
    """Return the innermost call whose body runs here, even if it began before anything asked."""
    found = running.get()
    frame = sys._getframe(1) if found is None else None
    while frame is not None and found is None:
        is_driver = frame.f_code.co_name in ("drive", "drive_async")
        if is_driver and frame.f_globals.get("__package__") == __package__:
            call = frame.f_locals.get("call")
            if call is not None and not call.returned and call.failure is None:
                found = call
        frame = frame.f_back
    return found
