"""The contract tier: every field is read as it was written, and every key has its own record."""

import json
from collections.abc import Iterable
from typing import Any

from ...spec.record import COMPLETED, INPROGRESS, RESULT_UNAVAILABLE, Record, ceil_seconds, expiry_ms
from ..harness import requests
from ..suite.checks import Case, check
from .contract import HOUR_MS, claim_of

_SIZES = (0, 1, 2, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097, 65535, 65536, 65537, 262_143, 262_144)

_TEXTS: tuple[object, ...] = (
    "\U0001f600 and \U0001d518\U0001d52b\U0001d526",
    "\u00e9 as one character, e\u0301 as two",  # neither may become the other
    "A\u030a \u212b \u00c5 \ufb01 \u2163",
    "".join(map(chr, range(1, 32))) + "\x00",
    "\x7f\x80\x85\x9f\xa0\xad\u200b\u200e\u2028\u2029\ufeff\ufffd\uffff",
    "'single' \"double\" `back` \\ \\\\ \\n \\u0041 %s {0} $1 ; -- /* */ </script>",
    {"key": [1, 2.5, None, True, {"": []}], "b": 1, "a": 2},
)

_RAW_TEXTS = (
    '""',
    "null",
    "0",
    "-0.0",
    "false",
    "[]",
    "{}",
    "1e400",
    "12345678901234567890.123456789",
    "NaN",
    '"null"',
    '"0123"',
    '"2024-02-30T00:00:00Z"',
    '" leading and trailing "',
    ' {"spaced": 1} ',
    '{\n "of": [\n  "several lines"\n ]\r\n}\n\t',
    '{"b": 1, "a": 2, "b": 3}',
)

_HASHES = (
    "d41d8cd98f00b204e9800998ecf8427e",
    "00000000000000000000000000000012",
    "12345678901234567890123456789012",
    "1234567890e123456789012345678901",
    "D41D8CD98F00B204E9800998ECF8427E",
    "3q2+7w==",
    "f" * 128,
    "null",
)

_EXPIRIES = (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**33, 2**37)

_CLAIM = ("status", "expiry_timestamp", "in_progress_expiry_timestamp")

_PRECISE_MS = (1, 10, 123, 499, 500, 501, 999, 1000)


@check("contract", "CAS-3", "CAS-8")
def a_response_of_any_size_comes_back(case: Case) -> None:
    """A response of any size up to the claimed limit is read as it was stored, byte for byte."""
    largest = case.capabilities.largest_response
    sizes = [size for size in _SIZES if size < largest] + [largest]
    for size in case.some(sizes, least=2):
        for text in dict.fromkeys((_sized(size, "0123456789"), _sized(size, "é€😀"))):
            _response(case, text, f"a response of {size:,} bytes")


@check("contract", "CAS-3", "CAS-8")
def a_response_of_any_text_comes_back(case: Case) -> None:
    """A response is read as the text that was stored, whatever its characters."""
    encoded = [json.dumps(text, ensure_ascii=ascii_only) for text in _TEXTS for ascii_only in (True, False)]
    for text in case.some((*_RAW_TEXTS, *encoded), least=3):
        _response(case, text, f"the response {text!a}")


@check("contract", "CAS-3", "REC-6")
def the_marker_of_an_unavailable_result_comes_back(case: Case) -> None:
    """The marker of an unavailable result is stored and read unchanged, although it is not JSON."""
    _response(case, RESULT_UNAVAILABLE, "the marker of a result that is unavailable")


@check("contract", "CAS-3", "REC-4")
def no_response_comes_back_as_none(case: Case) -> None:
    """A result without a response is read without one: empty and absent mean the same."""
    for nothing in (None, ""):
        _response(case, nothing, f"the response {nothing!r}")


@check("contract", "CAS-3")
def a_payload_hash_comes_back(case: Case) -> None:
    """A payload hash is read as it was stored, even if it looks like a number or is absent."""
    for text in case.some((*_HASHES, None, ""), least=2):
        claim = claim_of(case, case.new_key())._replace(payload_hash=text)
        _round_trip(case, claim, f"a claim with the payload hash {text!r}", ("payload_hash",))
        _result(case, f"a result with the payload hash {text!r}", "payload_hash", payload_hash=text)


@check("contract", "CAS-3", "REC-3")
def a_lease_comes_back_to_the_millisecond(case: Case) -> None:
    """A lease is read to the millisecond, and an absent lease stays absent."""
    second = case.now // 1000 * 1000 + HOUR_MS
    for ms in case.some(_PRECISE_MS, least=2):
        claim = claim_of(case, case.new_key())._replace(in_progress_expiry_timestamp=second + ms)
        _round_trip(case, claim, f"a claim whose lease ends {ms} ms after a full second", _CLAIM)
    claim = claim_of(case, case.new_key())._replace(in_progress_expiry_timestamp=None)
    _round_trip(case, claim, "a claim without a lease", _CLAIM)


@check("contract", "CAS-3", "REC-1")
def deadlines_of_any_year_come_back(case: Case) -> None:
    """An expiry beyond 31 and 32 bits of seconds is read as it was stored, and so is its lease."""
    for expiry in case.some(_EXPIRIES, least=2):
        if expiry * 1000 <= case.now + HOUR_MS:
            continue
        claim = claim_of(case, case.new_key())._replace(
            expiry_timestamp=expiry, in_progress_expiry_timestamp=expiry * 1000 - 1
        )
        _round_trip(case, claim, f"a claim that expires at {expiry:,}", _CLAIM)
        _result(case, f"a result that expires at {expiry:,}", "expiry_timestamp", expiry_timestamp=expiry)


@check("contract", "CAS-3", "REC-3", needs=("swaps",))
def deadlines_keep_every_digit(case: Case) -> None:
    """A lease with more digits than a floating-point number holds is stored and compared exactly."""
    lease = 2**53 + 1
    key = case.new_key()
    trace = case.trace(key)
    claim = claim_of(case, key)._replace(
        expiry_timestamp=ceil_seconds(lease), in_progress_expiry_timestamp=lease
    )
    try:
        case.layer.swap(key, None, claim, expiry_ms(claim) - case.now)
    except Exception:  # noqa: BLE001 - a store may refuse a time so far in the future
        return
    trace.log("client 1", f"stores a claim whose lease is {lease}")
    found = requests.read(case.workers[-1], key)
    if found is None:
        return  # a store need not keep a record for so long
    case.require(found == claim, f"The lease {lease} did not come back: {found!r} is stored.", trace)
    near = claim._replace(in_progress_expiry_timestamp=lease - 1)
    case.layer.swap(key, near, None, 0)
    trace.log("client 2", f"deletes the claim whose lease is {lease - 1}")
    case.require(
        requests.read(case.workers[-1], key) == claim,
        f"A claim was treated as another one whose lease is one millisecond earlier, {lease - 1}.",
        trace,
        ["CAS-2"],
    )


@check("contract", "CAS-3", "REC-4", "REC-5", needs=("swaps",))
def an_owner_comes_back(case: Case) -> None:
    """An owner token is read as it was stored, even if it looks like a number or is absent."""
    for owner in case.some((*_HASHES, "a/b#c:d e", "é€😀", None, ""), least=2):
        claim = claim_of(case, case.new_key())._replace(owner=owner)
        _round_trip(case, claim, f"a claim of the owner {owner!r}", ("owner",))


@check("contract", "CAS-1", "REC-1")
def every_key_has_its_own_record(case: Case) -> None:
    """Keys that differ only in case, a separator, accents, spaces or the last character do not collide."""
    for keys in case.some([*_alike(case.new_key())], least=2):
        records = [
            claim_of(case, key)._replace(expiry_timestamp=case.now // 1000 + 7200 + number)
            for number, key in enumerate(keys)
        ]
        for record in records:
            trace = case.trace(record.idempotency_key)
            answer = requests.put(case, case.layer, record)
            trace.log("client 1", f"puts a claim for {_short(record.idempotency_key)}")
            case.require(
                answer.how == "done",
                f"The unused key {_short(record.idempotency_key)} was refused after a similar one was used.",
                trace,
            )
        for record in records:
            found = requests.get(case.workers[-1], record.idempotency_key).record
            case.require(
                found is not None and found.expiry_timestamp == record.expiry_timestamp,
                f"The key {_short(record.idempotency_key)} returned the record of a similar key.",
            )
        requests.delete(case, case.layer, records[0])
        for record in records[1:]:
            case.require(
                requests.get(case.layer, record.idempotency_key).how == "done",
                f"Deleting {_short(records[0].idempotency_key)} also deleted "
                f"{_short(record.idempotency_key)}.",
            )


def _alike(key: str) -> Iterable[list[str]]:
    """Return groups of keys that a careless store confuses."""
    yield [f"{key}-case", f"{key}-CASE", f"{key}-Case"]
    yield [key + end for end in ("", "-", "-0", "-0-", "-00")]
    yield [f"{key}a{separator}b" for separator in "#:/ |.\\_%*?\t"]
    yield [f"{key}-{function}#payload" for function in ("one", "another")]
    yield [f"{key}{text}" for text in ("-space", "-space ", "-space  ", " -space")]
    yield [key + text for text in ("\u00e9", "e\u0301", "e", "\u00c9", "\u00df", "ss")]
    yield [key + text for text in ("\U0001f600", "\U0001f601", "?", "??")]
    for length in (64, 255, 256, 1024):
        yield [key.ljust(length - 1, "k") + end for end in "ab"]


def _short(key: str) -> str:
    return repr(key) if len(key) <= _WIDEST else f"{key[:_WIDEST]!r}… ({len(key)} characters, …{key[-1]})"


_WIDEST = 60


def _sized(size: int, characters: str) -> str:
    """Return JSON text of ``size`` bytes of UTF-8, made of ``characters``."""
    if size <= 1:
        return "7" * size
    space = size - 2
    width = len(characters.encode())
    text = characters * (space // width)
    return f'"{text}{"x" * (space - len(text.encode()))}"'


def _response(case: Case, response: str | None, what: str) -> None:
    _result(case, what, "response_data", response_data=response)


def _result(case: Case, what: str, field: str, **values: Any) -> None:
    """Replace a claim with a result that has these values, and require that its ``field`` is unchanged."""
    claim = claim_of(case, case.new_key())
    done = {"status": COMPLETED, "in_progress_expiry_timestamp": None, "response_data": '"done"'}
    result = claim._replace(**{**done, **values})
    claim = result._replace(
        status=INPROGRESS,
        in_progress_expiry_timestamp=claim.in_progress_expiry_timestamp,
        response_data=None,
    )
    _round_trip(case, result, what, ("status", field), after=claim)


def _round_trip(
    case: Case, record: Record, what: str, fields: tuple[str, ...], after: Record | None = None
) -> None:
    """Store ``record`` in place of ``after``, if given, and require that its ``fields`` are unchanged."""
    key = record.idempotency_key
    trace = case.trace(key)
    try:
        _store(case, record, after)
    except Exception as failure:  # noqa: BLE001 - any error refuses a record that it must store
        case.fail(f"Storing {what} raised {type(failure).__name__}: {str(failure).rstrip('. ')}.", trace)
    found = requests.read(case.workers[-1], key)
    wanted = requests.plain(record, key, swaps=True)
    for field in fields:
        given, got = getattr(wanted, field), getattr(found, field, None)
        if found is None or given != got:
            trace.log("client 1", f"stores {what[:100]}")
            case.require(found is not None, f"After storing {what[:100]} no record is stored.", trace)
            why = f"Of {what[:100]}, the {field} came back as {_few(got)}, not {_few(given)}."
            case.fail(why, trace)


def _few(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}… ({len(text):,} characters)"


def _store(case: Case, record: Record, after: Record | None) -> None:
    if case.layer.swaps:
        ttl_ms = max(1, expiry_ms(record) - case.now)
        if after is not None:
            case.layer.swap(record.idempotency_key, None, after, ttl_ms)
        case.layer.swap(record.idempotency_key, after, record, ttl_ms)
        return
    requests.put(case, case.layer, record if after is None else after)
    if after is not None:
        requests.update(case, case.layer, record)
