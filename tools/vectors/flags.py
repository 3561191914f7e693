"""Flags of vectors: features that a port may leave out, with every case that carries the flag."""

from collections.abc import Iterator
from typing import Any

from idemproof.spec.record import DURABLE, ERROR_UNAVAILABLE, FINAL_ERROR, RESULT_UNAVAILABLE

TRANSITION_FLAGS = {
    "durable-execution": "An owner token names a durable execution (clauses DUR).",
    "eviction": "A record that has expired is deleted.",
    "final-error": "The response is a final error, or says that one could not be stored (clauses FIN).",
    "no-lease": "A claim has no lease, and is live until it expires.",
    "no-owner": "A record or an event has no owner, as those of other software.",
    "payload-hash": "A payload hash is stored or compared.",
    "renewal": "A lease is extended.",
    "result-unavailable": "The response is the marker of a result that could not be stored (REC-6).",
    "takeover-policy": "A claim refuses or asks instead of taking over another's, or is abandoned (clauses "
    "TAKE).",
    "transactions": "An attempt completes within a transaction of its own (clauses TXN).",
    "untyped-store": "A value of the wrong type, which a store with typed columns cannot return.",
}

KEY_FLAGS = {
    "exact-numbers": "The parser must distinguish 1.0 from 1, or keep all digits of an integer beyond 2^53.",
    "hash-function": "The hash function is not MD5.",
    "hash-secret": "The hashes are HMACs.",
    "jmespath": "A JMESPath expression selects a part of the payload.",
    "payload-hash": "A payload hash is derived.",
    "powertools-functions": "The expression calls powertools_json or powertools_base64.",
    "service": "The key contains the name of a service.",
}

_FLAGS_OF_EVENTS = {
    "Abandon": "takeover-policy",
    "CompleteWithin": "transactions",
    "Evict": "eviction",
    "Renew": "renewal",
}
_TEXTS = ("response", "payload_hash", "owner")


def flags_of_trace(steps: list[dict[str, Any]]) -> list[str]:
    """Return the flags of a trace, in the form that it has in the file."""
    return sorted({flag for step in steps for flag in _of_event(step["event"])})


def flags_of_reading(stored: dict[str, Any]) -> list[str]:
    """Return the flags of a reading."""
    flags = set()
    if any(type(stored[name]) not in (int, type(None)) for name in ("expiry", "lease")) or any(
        not isinstance(stored[name], str | None) for name in (*_TEXTS, "status")
    ):
        flags.add("untyped-store")
    if stored["response"] == RESULT_UNAVAILABLE:
        flags.add("result-unavailable")
    if str(stored["response"]).startswith((FINAL_ERROR, ERROR_UNAVAILABLE)):
        flags.add("final-error")
    return sorted(flags)


def flags_of_key(case: dict[str, Any], *, exact_numbers: bool) -> list[str]:
    """Return the flags of a key vector, in the form that it has in the file."""
    expressions = [text for text in (case["expression"], case["validation"]) if text is not None]
    present = {
        "exact-numbers": exact_numbers,
        "hash-function": case["hash_function"] != "md5",
        "hash-secret": case["hash_secret"] is not None,
        "jmespath": case["expression"] is not None or case["validation"] not in (None, "@"),
        "payload-hash": case["validation"] is not None,
        "powertools-functions": any("powertools_" in text for text in expressions),
        "service": case["service"] is not None,
    }
    return [flag for flag, is_present in present.items() if is_present]


def _of_event(event: dict[str, Any]) -> Iterator[str]:
    kind = event["kind"]
    if kind in _FLAGS_OF_EVENTS:
        yield _FLAGS_OF_EVENTS[kind]
    if kind != "Evict" and event["owner"] is None:
        yield "no-owner"
    if (event.get("owner") or "").startswith(DURABLE):
        yield "durable-execution"
    if "policy" in event:
        yield "takeover-policy"
    if kind == "Claim" and event["lease"] is None:
        yield "no-lease"
    if event.get("payload_hash") is not None:
        yield "payload-hash"
    if event.get("response") == RESULT_UNAVAILABLE:
        yield "result-unavailable"
