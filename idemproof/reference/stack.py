"""Whether enough of the stack is left for a call to end as it should: asked before its body begins.

What has returned must be stored, so no completion may fail because the call began too near to the recursion
limit. The store's requests are made from one depth, before the body and after it; what is left to need more
than a claim did is encoding, logging and errors.
"""

import sys
from typing import Any

RESERVE = 50
"""How many frames must be left."""

# Python 3.11 counts calls of C among the frames, which makes the one limit quick to try: each level of a
# nested tuple takes one. Later versions count frames of Python only, which can be looked at.
_LEVELS: Any = ()
for _ in range(RESERVE):
    _LEVELS = (_LEVELS,)
_ONE_LIMIT = sys.version_info < (3, 12)


def require_stack(key: str) -> None:
    """Raise ``RecursionError`` unless a call with ``key`` has the frames that it may need."""
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
        "be stored. Nothing ran. Call from less deep, or raise the limit."
    )
