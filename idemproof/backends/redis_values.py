"""What is asked of Redis or Valkey, and what the replies mean. No client, no clock, no decision."""

import hashlib
import json
from dataclasses import dataclass

from ..drivers.exchanges import Ask, Exchange, kinds
from ..spec.errors import (
    IdempotencyPersistenceConfigError,
    IdempotencyPersistenceConsistencyError,
    IdempotencyRecordTooLargeError,
)
from ..spec.record import Record, same_version
from .names import ChangeableNames, check_attributes, missing
from .redis_errors import corrupt, refuses_writes_only

SWAP = """\
-- Replace a record if exactly the expected text stands; else change nothing.
-- KEYS[1]  the record's key
-- ARGV[1]  the text that must stand, '' for nothing
-- ARGV[2]  the text that is to stand, '' for nothing
-- ARGV[3]  how many milliseconds to keep it
-- Returns 1 if it was replaced, else what stands, nil for nothing.
-- Texts are compared, never decoded: a number of Lua's would lose digits of what it compares.
local standing = redis.call('GET', KEYS[1])
if standing ~= (ARGV[1] ~= '' and ARGV[1]) then
    return standing
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
"""The same where the memory is full, for a record that takes no more of it than the one before."""
_ROOM = 64
"""By how many bytes it may be longer all the same."""

LARGEST_VALUE = 512 * 1024 * 1024
"""Bytes that a value may have at most."""

_FOREVER_MS = 2**52  # more would overflow the store's clock
_REWRITES = 3
_GET = {"get": True}
_quoted = json.encoder.encode_basestring_ascii


@dataclass
class RedisValues(ChangeableNames):
    """The names of a record's attributes, as both persistence layers use them.

    A record is one JSON object under its key. Its attributes come in one order, which is also that of
    Powertools for AWS Lambda: so the text of a known record is known, and comparing texts compares records.

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
        # Options of SET that the store turned out not to know.
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
        """Raise what is missing, if anything is. Called before anything is sent."""
        if self.missing:
            raise IdempotencyPersistenceConfigError(
                f"Nothing can be stored for {key!r}: {self.missing}. Give each attribute a name."
            )

    def load(self, key: str) -> Exchange:
        """Read what stands for ``key``."""
        reply = yield Ask("get", (key,))
        return None if reply is None else self.decode(key, reply)

    def swap(self, key: str, expected: Record | None, new: Record | None, keep_ms: int) -> Exchange:
        """Put ``new`` where ``expected`` stands, or delete it."""
        if expected is None and new is None:
            return (yield from self.load(key))
        # Bytes wherever the client need not know better: it takes a microsecond to encode a text.
        text = b"" if new is None else self.encode(new)
        stands = b"" if expected is None else self.encode(expected)
        arguments = stands, text, b"%d" % min(keep_ms, _FOREVER_MS)
        if new is None:  # no option of SET deletes
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
        """Claim or replace by an option of SET; by a script where the store does not know it."""
        stands, text, keep = arguments
        # As the client's own set() asks, whose checks of its options cost a tenth of the round trip.
        if expected is None:
            option, words = "NX GET", ("SET", key, text, b"NX", b"GET", b"PX", keep)
            ask = Ask("execute_command", words, _GET)
        else:
            option = "IFEQ"
            ask = Ask("execute_command", ("SET", key, text, b"IFEQ", stands, b"PX", keep))
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
        """Do what needs no memory: read what stands, or replace it by something as small."""
        stands, text, keep = arguments
        if not stands:
            standing = yield from self.load(key)
            if standing is None:
                raise error
            return standing
        if len(text) > len(stands) + _ROOM:
            raise error
        reply = yield Ask("eval", (SWAP_WHEN_FULL, 1, key, stands, text, keep))
        return new if reply == 1 else None if reply is None else self.decode(key, reply)

    def _by_script(
        self, key: str, expected: Record | None, new: Record | None, arguments: tuple[bytes, bytes, bytes]
    ) -> Exchange:
        """Do what the options of SET do, where they are not known or another spelling stands."""
        stands: str | bytes
        stands, text, keep = arguments
        for _ in range(_REWRITES):
            reply = yield from _replace(key, stands, text, keep)
            if reply == 1:
                return new
            standing = None if reply is None else self.decode(key, reply)
            if not same_version(standing, expected):
                return standing
            stands = reply  # the same version, in another's spelling
        raise IdempotencyPersistenceConsistencyError(
            f"The record of {key!r} was rewritten {_REWRITES} times under one request. Retry."
        )

    def encode(self, record: Record) -> bytes:
        """Return the text under which a record is kept; it is ASCII."""
        _, status, expiry, lease, response, payload_hash, owner = record
        # By hand, in a quarter of json.dumps's time: it is done for each record written or expected.
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
                f"The record of {record.idempotency_key!r} has {len(text)} bytes; a value may have "
                f"{LARGEST_VALUE}."
            )
        return text

    def decode(self, key: str, text: str | bytes) -> Record:
        """Return the record that a text is, well-formed or not: the specification judges that (REC-7)."""
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
        if "NoScriptError" not in kinds(error) and "NoScriptError" not in str(error):  # the latter is GLIDE's
            raise
    return (yield Ask("eval", (SWAP, 1, *arguments)))  # which also loads it
