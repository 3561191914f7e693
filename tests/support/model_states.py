"""Records of the model, and its clients that have called with one payload."""

from typing import Any

from idemproof.spec.moves import LEASE, WINDOW
from idemproof.spec.record import COMPLETED, INPROGRESS, Record
from idemproof.spec.states import Client

CLAIMED = Record("", INPROGRESS, WINDOW, LEASE * 1000, None, "a", "held")
STORED = Record("", COMPLETED, WINDOW, None, "held", "a", "held")
ABANDONED = CLAIMED._replace(owner="gone")
ABANDONED_RESULT = STORED._replace(owner="gone", response_data="gone")


def client(phase: str, lease: int = 0, expiry: int = 0, **more: Any) -> Client:
    return Client(phase, "a", lease, expiry, **more)
