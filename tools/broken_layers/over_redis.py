"""Layers over Redis: a correct one, with a script, and broken ones. ``fakeredis`` simulates the server."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import json
from functools import partial
from typing import Any

from idemproof.conformance.suite.capabilities import Capabilities
from idemproof.conformance.suite.factories import Factory
from idemproof.spec.record import COMPLETED, INPROGRESS, Record, same_version

from .exhibits import broken
from .foundations import LooksThenStores, Overwriting

SWAP = """\
-- KEYS[1]: the key. ARGV: the expected version ('' for none), the new record ('' to delete), its time to live
-- (milliseconds). Returns 1, or the stored record.
local current = redis.call('GET', KEYS[1])
if (current and string.sub(current, 1, #ARGV[1]) ~= ARGV[1]) or ((ARGV[1] == '') ~= (not current)) then
    return current
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
"""

ONE_PROCESS = Capabilities(processes=False)
"""The server is in the memory of this process."""

_LOCK_MS = 10_000


class Values(Overwriting):
    """Stores a record as text that begins with its version; a script compares and replaces.

    Parameters
    ----------
    server
        A ``fakeredis.FakeServer``.
    """

    def __init__(self, server: Any) -> None:
        from fakeredis import FakeRedis  # noqa: PLC0415 - only these layers need it

        self.client: Any = FakeRedis(server=server, decode_responses=True)

    @classmethod
    def factory(cls) -> Factory:
        """Return a factory of layers of this class, each with its own client, over one server."""
        from fakeredis import FakeServer  # noqa: PLC0415 - as above

        return partial(cls, FakeServer())

    def close(self) -> None:
        """Close the client."""
        self.client.close()

    def _load(self, key: str) -> Record | None:
        return decoded(key, self.client.get(key))

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        text = "" if new is None else encoded(new)
        reply = self.client.eval(SWAP, 1, key, version(expected), text, self.keeps_for(new, ttl_ms))
        return new if reply == 1 else decoded(key, reply)

    def keeps_for(self, _new: Record | None, ttl_ms: int) -> int:
        """Return the time to live of a record (milliseconds)."""
        return ttl_ms

    def store(self, key: str, new: Record | None, ttl_ms: int) -> None:
        if new is None:
            self.client.delete(key)
        else:
            self.client.set(key, encoded(new), px=self.keeps_for(new, ttl_ms))


def version(record: Record | None) -> str:
    """Return the fields that distinguish versions of a record, as a line; empty if there is no record."""
    if record is None:
        return ""
    parts = (
        record.owner or None,
        record.status,
        record.expiry_timestamp,
        record.in_progress_expiry_timestamp,
    )
    return json.dumps(parts) + "\n"


def encoded(record: Record) -> str:
    """Return a record as the stored text."""
    return version(record) + json.dumps([record.response_data, record.payload_hash])


def decoded(key: str, text: str | None) -> Record | None:
    """Return the record of a stored text."""
    if text is None:
        return None
    first, _, second = text.partition("\n")
    owner, status, expiry, lease = json.loads(first)
    response, payload_hash = json.loads(second)
    return Record(key, status, expiry, lease, response, payload_hash, owner)


@broken(CAS_4="exclusion", INV_1="exclusion", capabilities=ONE_PROCESS)
class GetsThenSets(LooksThenStores, Values):
    """It reads the record, compares, and sets: another client may set in between."""


@broken(
    CAS_4="exclusion",
    capabilities=ONE_PROCESS,
    seen_in="Powertools for AWS Lambda 3.37: its Redis layer overwrites a result that was stored between its "
    "GET and its SET",
)
class GetsBeforeTakingOver(LooksThenStores, Values):
    """Its first claim is a SET NX, but a takeover reads, compares, and then sets."""

    def in_steps(self, expected: Record | None, new: Record | None) -> bool:
        return expected is not None and new is not None and new.status == INPROGRESS


@broken(CAS_4="exclusion", capabilities=ONE_PROCESS)
class GetsBeforeCompleting(LooksThenStores, Values):
    """It reads the owner of the claim, and then sets the result: a takeover may happen in between."""

    def in_steps(self, _expected: Record | None, new: Record | None) -> bool:
        return new is not None and new.status == COMPLETED


@broken(CAS_4="exclusion", capabilities=ONE_PROCESS)
class GetsBeforeReleasing(LooksThenStores, Values):
    """It reads the owner of the claim, and then deletes the record: a takeover may happen in between."""

    def in_steps(self, _expected: Record | None, new: Record | None) -> bool:
        return new is None


@broken(CAS_4="exclusion", capabilities=ONE_PROCESS)
class WatchesTooLate(Values):
    """It reads before it watches, so it misses a write in between."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        current = self._load(key)
        if not same_version(current, expected):
            return current
        with self.client.pipeline() as pipe:
            pipe.watch(key)
            pipe.multi()
            pipe.delete(key)
            if new is not None:
                pipe.set(key, encoded(new), px=ttl_ms)
            pipe.execute()
        return new


@broken(CAS_4="exclusion", capabilities=ONE_PROCESS)
class DeletesThenSets(Values):
    """To take over, it deletes the lapsed claim, and then sets the new one with NX."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if expected is None or new is None or new.status != INPROGRESS:
            return super()._swap(key, expected, new, ttl_ms)
        current = super()._swap(key, expected, None, 0)
        return current if current is not None else super()._swap(key, None, new, ttl_ms)


@broken(
    CAS_4="exclusion",
    capabilities=ONE_PROCESS,
    seen_in="Powertools for AWS Lambda 3.37: a record that is deleted between two steps of its Redis layer "
    "is reported as an outage",
)
class ChokesOnWhatHasGone(Values):
    """If its SET NX is refused, it reads the record, and raises if the record was deleted in between."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if expected is not None or new is None:
            return super()._swap(key, expected, new, ttl_ms)
        if self.client.set(key, encoded(new), px=ttl_ms, nx=True):
            return new
        current = self.client.get(key)
        json.loads(current.partition("\n")[0])
        return decoded(key, current)


@broken(
    CAS_2="fencing",
    capabilities=ONE_PROCESS,
    seen_in="Powertools for AWS Lambda 3.37: its Redis layer takes over under a lock key of ten seconds that "
    "it never deletes",
)
class LocksByAnotherKey(Values):
    """It takes over under a lock key of ten seconds, and never deletes it: the next takeover is refused."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        if expected is None or new is None or new.status != INPROGRESS:
            return super()._swap(key, expected, new, ttl_ms)
        if not self.client.set(f"{key}:lock", "1", nx=True, px=_LOCK_MS):
            return self._load(key)
        return super()._swap(key, expected, new, ttl_ms)


@broken(CAS_6="contract", INV_7="time", capabilities=ONE_PROCESS)
class KeepsForTheLease(Values):
    """Its records expire with the claim's lease, and its results after one minute."""

    def keeps_for(self, new: Record | None, ttl_ms: int) -> int:
        if new is None or new.in_progress_expiry_timestamp is None:
            return min(ttl_ms, 60_000)
        return max(1, new.in_progress_expiry_timestamp - self.clock())


@broken(CAS_6="contract", capabilities=ONE_PROCESS)
class KeepsAThousandth(Values):
    """It passes seconds to the server where milliseconds are required."""

    def keeps_for(self, _new: Record | None, ttl_ms: int) -> int:
        return max(1, ttl_ms // 1000)


@broken(CAS_6="contract", capabilities=ONE_PROCESS)
class KeepsTheOldTimeToLive(Values):
    """It replaces a claim by its result but keeps the claim's time to live (KEEPTTL)."""

    def _swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Record | None:
        remaining = self.client.pttl(key)
        return super()._swap(
            key, expected, new, ttl_ms if expected is None else max(1, min(remaining, ttl_ms))
        )


@broken(CAS_1="faults", capabilities=ONE_PROCESS)
class TakesOutagesForAbsence(Values):
    """It treats an error of its server as an absent record."""

    def _load(self, key: str) -> Record | None:
        try:
            return super()._load(key)
        except Exception:  # noqa: BLE001 - this is the fault
            return None
