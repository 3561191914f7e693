"""Check before the body runs that enough stack is left to complete the call.

The result must be stored, so no completion may fail because the call began too close to the recursion limit.
Requests to the store are made from the same depth before and after the body. Only encoding, logging and
errors need more stack than the claim did.
"""

import sys
from typing import Any

RESERVE = 50
"""How many frames must be left."""

# Python 3.11 counts calls of C functions as frames, so a nested tuple tests the limit quickly: each level
# takes one frame. Later versions only count Python frames, which can be inspected.
_LEVELS: Any = ()
for _ in range(RESERVE):
    _LEVELS = (_LEVELS,)
_ONE_LIMIT = sys.version_info < (3, 12)


def require_stack(key: str) -> None:
    """Raise ``RecursionError`` unless enough frames are left for a call with ``key``."""
    if _ONE_LIMIT:
        try:
            isinstance(None, _LEVELS)
        except RecursionError:
            pass
        else:
            return
    else:
        try:
            sys._getframe(max(0, sys.getrecursionlimit() - RESERVE))
        except ValueError:
            return
    raise RecursionError(
        f"Fewer than {RESERVE} frames are left below the recursion limit, so the result of {key!r} might not "
        "be stored. Nothing ran. Call from a shallower stack, or raise the limit."
    )
