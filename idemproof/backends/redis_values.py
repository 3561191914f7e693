"""Builds requests to Redis or Valkey and parses replies. Uses no client and no clock, and decides nothing."""

import hashlib
import json
from dataclasses import dataclass

from ..drivers.exchanges import Ask, Exchange, class_names
from ..spec.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConsistencyError,
    IdempotencyRecordTooLargeError,
)
from ..spec.record import Record, same_version
from .names import ChangeableNames, check_attributes, missing
from .redis_errors import corrupt, refuses_writes_only

SWAP = """\
-- Replace a record if its text is the expected one; else change nothing.
-- KEYS[1]  the key of the record
-- ARGV[1]  the expected text, '' for no record
-- ARGV[2]  the new text, '' to delete the record
-- ARGV[3]  for how many milliseconds to keep the new text
-- Returns 1 if the record was replaced, else the current text, or nil for no record.
-- Texts are compared without decoding, because Lua's numbers would lose digits.
local current = redis.call('GET', KEYS[1])
if current ~= (ARGV[1] ~= '' and ARGV[1]) then
    return current
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
"""
SWAP_SHA = hashlib.sha1(SWAP.encode(), usedforsecurity=False).hexdigest()

SWAP_WHEN_FULL = "#!lua flags=allow-oom\n" + SWAP
"""The same script for a store with full memory, for a record that is not much larger than the old one."""
_EXTRA_BYTES = 64
"""By how many bytes the new record may be larger."""

LARGEST_VALUE = 512 * 1024 * 1024
"""The largest size of a value in bytes."""

_FOREVER_MS = 2**52  # more would overflow the store's clock
_REWRITES = 3
_GET = {"get": True}
_quoted = json.encoder.encode_basestring_ascii


@dataclass
class RedisValues(ChangeableNames):
    """The names of a record's attributes, as both persistence layers use them.

    A record is one JSON object under its key. Its attributes have a fixed order, the same as in Powertools
    for AWS Lambda. So a known record has a known text, and comparing texts compares records.

    Parameters
    ----------
    in_progress_expiry_attr, expiry_attr, status_attr, data_attr, validation_key_attr, owner_attr
        Names of attributes.

    Raises
    ------
    IdempotencyPersistenceConfigError
        A name is missing or used twice.
    """

    in_progress_expiry_attr: str
    expiry_attr: str
    status_attr: str
    data_attr: str
    validation_key_attr: str
    owner_attr: str

    def __post_init__(self) -> None:
        self._check()
        # The options of SET that the store has rejected.
        self._unknown_options: set[str] = set()

    def _check(self) -> None:
        attributes = {name: value for name, value in vars(self).items() if name.endswith("_attr")}
        check_attributes(attributes)
        self.missing = missing(attributes)
        self._data, self._status, self._expiry, self._lease, self._validation, self._owner = (
            f"{_quoted(name or '')}: "
            for name in (
                self.data_attr,
                self.status_attr,
                self.expiry_attr,
                self.in_progress_expiry_attr,
                self.validation_key_attr,
                self.owner_attr,
            )
        )

    def require(self, key: str) -> None:
        """Raise an error if a name is missing. Called before a request is sent."""
        if self.missing:
            raise IdempotencyPersistenceConfigError(
                f"Nothing was sent for {key!r}, because {self.missing}. Give each attribute a name."
            )

    def load(self, key: str) -> Exchange:
        """Read the stored record of ``key``."""
        reply = yield Ask("get", (key,))
        return None if reply is None else self.decode(key, reply)

    def swap(self, key: str, expected: Record | None, new: Record | None, ttl_ms: int) -> Exchange:
        """Replace ``expected`` with ``new``, or delete it."""
        if expected is None and new is None:
            return (yield from self.load(key))
        # Bytes where possible, because the client takes a microsecond to encode a text.
        text = b"" if new is None else self.encode(new)
        expected_text = b"" if expected is None else self.encode(expected)
        arguments = expected_text, text, b"%d" % min(ttl_ms, _FOREVER_MS)
        if new is None:  # SET has no option to delete
            return (yield from self._by_script(key, expected, new, arguments))
        try:
            return (yield from self._by_option(key, expected, new, arguments))
        except Exception as error:
            if not refuses_writes_only(error):
                raise
            return (yield from self._when_full(key, new, arguments, error))

    def _by_option(
        self, key: str, expected: Record | None, new: Record, arguments: tuple[bytes, bytes, bytes]
    ) -> Exchange:
        """Claim or replace with an option of SET, or with a script if the store does not know the option."""
        expected_text, text, keep = arguments
        # The client's set() sends the same, but checking its options takes a tenth of the round trip.
        if expected is None:
            option, words = "NX GET", ("SET", key, text, b"NX", b"GET", b"PX", keep)
            ask = Ask("execute_command", words, _GET)
        else:
            option = "IFEQ"
            ask = Ask("execute_command", ("SET", key, text, b"IFEQ", expected_text, b"PX", keep))
        if option not in self._unknown_options:
            try:
                reply = yield ask
            except Exception as error:
                if "syntax error" not in str(error):
                    raise
                self._unknown_options.add(option)
            else:
                if expected is None:
                    return new if reply is None else self.decode(key, reply)
                if reply:
                    return new
        return (yield from self._by_script(key, expected, new, arguments))

    def _when_full(
        self, key: str, new: Record, arguments: tuple[bytes, bytes, bytes], error: Exception
    ) -> Exchange:
        """Read the stored record, or replace it with one that is not larger, which needs no memory."""
        expected_text, text, keep = arguments
        if not expected_text:
            current = yield from self.load(key)
            if current is None:
                raise error
            return current
        if len(text) > len(expected_text) + _EXTRA_BYTES:
            raise error
        reply = yield Ask("eval", (SWAP_WHEN_FULL, 1, key, expected_text, text, keep))
        return new if reply == 1 else None if reply is None else self.decode(key, reply)

    def _by_script(
        self, key: str, expected: Record | None, new: Record | None, arguments: tuple[bytes, bytes, bytes]
    ) -> Exchange:
        """Do what the options of SET do, if the store does not know them or the stored text differs."""
        expected_text: str | bytes
        expected_text, text, keep = arguments
        for _ in range(_REWRITES):
            reply = yield from _replace(key, expected_text, text, keep)
            if reply == 1:
                return new
            current = None if reply is None else self.decode(key, reply)
            if not same_version(current, expected):
                return current
            expected_text = reply  # the same version, but written by other software
        raise IdempotencyPersistenceConsistencyError(
            f"The record of {key!r} was rewritten {_REWRITES} times during one request. Retry."
        )

    def encode(self, record: Record) -> bytes:
        """Return the stored text of a record, in ASCII."""
        _, status, expiry, lease, response, payload_hash, owner = record
        # This takes a quarter of the time of json.dumps, and runs for each record written or expected.
        parts = [] if response is None else [self._data + _quoted(response)]
        parts.append(f"{self._status}{_quoted(status)}, {self._expiry}{expiry}")
        if lease is not None:
            parts.append(f"{self._lease}{lease}")
        if payload_hash is not None:
            parts.append(self._validation + _quoted(payload_hash))
        if owner is not None:
            parts.append(self._owner + _quoted(owner))
        text = f"{{{', '.join(parts)}}}".encode("ascii")
        if len(text) > LARGEST_VALUE:
            raise IdempotencyRecordTooLargeError(
                f"The record of {record.idempotency_key!r} has {len(text)} bytes, but a value may have at "
                f"most {LARGEST_VALUE}. Nothing was sent."
            )
        return text

    def decode(self, key: str, text: str | bytes) -> Record:
        """Return the record in a text. It may be malformed; the specification checks that (REC-7)."""
        try:
            fields = json.loads(text if isinstance(text, str) else text.decode())
        except (ValueError, RecursionError) as error:
            raise corrupt(key, f"it is not JSON ({error})") from error
        if not isinstance(fields, dict):
            raise corrupt(key, f"it is a JSON {type(fields).__name__}, not an object")
        field = fields.get
        return Record(
            key,
            field(self.status_attr),  # type: ignore[arg-type]  # judged later
            field(self.expiry_attr),  # type: ignore[arg-type]
            field(self.in_progress_expiry_attr),
            field(self.data_attr),
            field(self.validation_key_attr),
            field(self.owner_attr),
        )


def _replace(*arguments: str | bytes) -> Exchange:
    try:
        return (yield Ask("evalsha", (SWAP_SHA, 1, *arguments)))
    except Exception as error:
        if "NoScriptError" not in class_names(error) and "NoScriptError" not in str(
            error
        ):  # the text is for GLIDE
            raise
    return (yield Ask("eval", (SWAP, 1, *arguments)))  # also loads the script
