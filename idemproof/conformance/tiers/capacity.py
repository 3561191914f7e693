"""The contract tier: a layer keeps a record however many others it stores, and under its own key alone."""

import contextlib
import secrets

from ...spec.record import COMPLETED, Record, expiry_ms
from ..harness import requests
from ..harness.collisions import Pair, known, searched
from ..suite.checks import Broken, Case, check
from ..suite.subjects import came_from_the_layer
from .contract import claim_of, result_of

_AT_LEAST = 300
"""More records than a cache of a usual size holds."""
_USUAL = 2200
"""More than 1,000 claims and 1,000 results."""
_PREFIX = f"conformance-{secrets.token_hex(4)}#"


@check("contract", "CAS-6", "INV-7")
def a_record_is_kept_however_many_others_are(case: Case) -> None:
    """A layer that stores thousands of live claims and results evicts none, and mixes none of them up."""
    seconds = case.profile.race_seconds / 2
    case.histories += 1
    stored: list[Record] = []
    try:
        _fill(case, seconds, stored)
        _look_for(case, seconds, stored)
    finally:
        _empty(case, stored)


def _look_for(case: Case, seconds: float, stored: list[Record]) -> None:
    """Read the records in any order, the first and the last ones before the others."""
    rest = stored[_AT_LEAST // 2 : -_AT_LEAST // 2]
    case.random.shuffle(rest)
    lost, mixed = [], []
    limit = case.limit(seconds)
    ends = stored[: _AT_LEAST // 2] + stored[-_AT_LEAST // 2 :]
    for number, record in enumerate([*ends, *rest]):
        if number >= _AT_LEAST and limit.over:
            break
        found = requests.read(case.workers[-1], record.idempotency_key)
        if found is None:
            lost.append(record)
        elif found.expiry_timestamp != record.expiry_timestamp:
            mixed.append(record)
    what = f"has stored {len(stored):,} live records, including this one"
    for records, why, clauses in (
        (lost, "are gone", ()),
        (mixed, "have become those of other keys", ("CAS-1",)),
    ):
        if records:
            trace = case.trace(records[0].idempotency_key)
            trace.log("client 1", what)
            case.fail(f"Of {len(stored):,} live records, {len(records):,} {why}.", trace, clauses)


@check("contract", "CAS-1", "REC-1")
def no_two_keys_share_a_record_because_of_a_hash(case: Case) -> None:
    """Keys with the same CRC-32, FNV or another short hash, or the same part of a digest, do not collide."""
    for pair in case.some(_pairs(case), least=5):
        claims = [
            claim_of(case, key)._replace(expiry_timestamp=case.now // 1000 + 7200 + number)
            for number, key in enumerate(pair[1:])
        ]
        trace = case.trace(pair.other)
        for claim in claims:
            answer = requests.put(case, case.layer, claim)
            trace.log("client 1", f"puts a claim for the key {claim.idempotency_key}")
            case.require(answer.how == "done", _shared(pair.hash), trace)
        for claim in claims:
            found = requests.get(case.workers[-1], claim.idempotency_key).record
            same = found is not None and found.expiry_timestamp == claim.expiry_timestamp
            case.require(same, _shared(pair.hash), trace)


def _pairs(case: Case) -> list[Pair]:
    """Return pairs of unused keys. The search takes time, so another run of this process may have made it."""
    found = searched(_PREFIX)
    used = any(requests.read(case.workers[-1], key) is not None for pair in found for key in pair[1:])
    return [*known(case.new_key), *(searched(case.new_key()) if used else found)]


def _shared(name: str) -> str:
    return (
        f"Two different keys share one record, because {name} is the same for both: one operation gets the "
        "result of another. Keep records by the key itself, or by a whole SHA-256."
    )


def _fill(case: Case, seconds: float, stored: list[Record]) -> None:
    """Store records, every other one a result, and add those that were acknowledged to ``stored``."""
    usual, longest = case.limit(seconds), case.limit(4 * seconds)
    for number in range(case.profile.records):
        if number >= _AT_LEAST and (usual if number >= _USUAL else longest).over:
            break
        claim = claim_of(case, case.new_key())
        claim = claim._replace(expiry_timestamp=claim.expiry_timestamp + number)
        record = result_of(claim) if number % 2 else claim
        try:
            _store(case, record, claim)
        except Exception as failure:
            if number < _AT_LEAST or isinstance(failure, Broken) or not came_from_the_layer(failure):
                raise
            break  # the store is full, and says so
        stored.append(record)


def _empty(case: Case, stored: list[Record]) -> None:
    """Remove the records: they would slow later checks, if the layer looks at all of them in each request.

    Whether a layer removes records correctly is the subject of other checks.
    """
    with contextlib.suppress(Exception):
        for record in stored:
            if case.layer.swaps:
                case.layer.swap(record.idempotency_key, record, None, 0)
            else:
                requests.delete(case, case.layer, record)


def _store(case: Case, record: Record, claim: Record) -> None:
    if case.layer.swaps:
        case.layer.swap(record.idempotency_key, None, record, expiry_ms(record) - case.now)
        return
    requests.put(case, case.layer, claim)
    if record.status == COMPLETED:
        requests.update(case, case.layer, record)
