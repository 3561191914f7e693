"""Locks that a fork leaves usable: another thread may have held one at that moment."""

import os
import threading
import weakref
from typing import Protocol


class _Locked(Protocol):
    _lock: threading.Lock

    def __hash__(self) -> int: ...


_owners: "weakref.WeakSet[_Locked]" = weakref.WeakSet()


def give_lock(owner: _Locked) -> None:
    """Give ``owner`` its ``_lock``, and a new one in each forked child."""
    owner._lock = threading.Lock()
    _owners.add(owner)


def _renew_locks() -> None:
    for owner in _owners:
        owner._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
