"""Owner tokens: what tells one attempt from all others."""

import os

_BYTES = 16
_AT_ONCE = 256

# Drawn many at once: a system call for each would be a tenth of a call's own cost.
_drawn: list[str] = []


def new_owner() -> str:
    """Return a token that no other attempt has: 128 random bits (ENG-1)."""
    try:
        return _drawn.pop()
    except IndexError:
        text = os.urandom(_BYTES * _AT_ONCE).hex()
        size = 2 * _BYTES
        _drawn.extend(text[start : start + size] for start in range(size, len(text), size))
        return text[:size]


if hasattr(os, "register_at_fork"):
    # Otherwise a forked child would use its parent's tokens.
    os.register_at_fork(after_in_child=_drawn.clear)
