"""The body that runs in the current context."""

from contextvars import ContextVar

from ..spec.commands import RunBody

running: ContextVar[RunBody | None] = ContextVar("idemproof_running", default=None)
"""The innermost call whose body runs in this context. It is set while the body runs, and no longer."""
