"""Layers that change the records they store, or confuse keys."""

# ruff: noqa: D102 - what is overridden is documented where it comes from

import json
import struct
import unicodedata

from idemproof.spec.record import COMPLETED, Record

from .exhibits import broken
from .foundations import Dictionary

_LONGEST_COLUMN = 255
_LONGEST_TEXT = 65_535


class _Keeps(Dictionary):
    """Changes the records that it stores."""

    def write(self, key: str, new: Record | None) -> None:
        super().write(key, None if new is None else self.kept(new))

    def kept(self, record: Record) -> Record:
        """Return the record as it is stored."""
        raise NotImplementedError


@broken(
    CAS_8="contract",
    CAS_3="contract",
    seen_in="Powertools for AWS Lambda 3.37: its Redis layer drops the payload hash, and then rejects the "
    "same payload as changed",
)
class ForgetsTheHashOnCompletion(_Keeps):
    """It stores a result without the payload hash."""

    def kept(self, record: Record) -> Record:
        return record._replace(payload_hash=None) if record.status == COMPLETED else record


@broken(CAS_3="contract")
class ForgetsTheHash(_Keeps):
    """It never stores a payload hash, so a different payload for the same key is not detected."""

    def kept(self, record: Record) -> Record:
        return record._replace(payload_hash=None)


@broken(CAS_3="contract")
class ForgetsTheOwner(_Keeps):
    """It never stores the owner of a record."""

    def kept(self, record: Record) -> Record:
        return record._replace(owner=None)


@broken(CAS_1="contract")
class ReadsWithoutTheOwner(Dictionary):
    """Its load omits the owner, although its swap compares it."""

    def _load(self, key: str) -> Record | None:
        found = super()._load(key)
        return None if found is None else found._replace(owner=None)


@broken(CAS_3="contract")
class ForgetsTheOwnerOnCompletion(_Keeps):
    """It stores a result without its owner, so no attempt recognises its own write."""

    def kept(self, record: Record) -> Record:
        return record._replace(owner=None) if record.status == COMPLETED else record


@broken(CAS_3="contract")
class ForgetsTheLease(_Keeps):
    """It never stores a lease, so a dead worker holds its key until the window ends."""

    def kept(self, record: Record) -> Record:
        return record._replace(in_progress_expiry_timestamp=None)


@broken(CAS_3="contract")
class KeepsTheLeaseOfAResult(_Keeps):
    """A result keeps the lease of the claim that it replaces."""

    def kept(self, record: Record) -> Record:
        before = self.rows.get(record.idempotency_key)
        if before is None or record.status != COMPLETED:
            return record
        return record._replace(in_progress_expiry_timestamp=before.in_progress_expiry_timestamp)


@broken(CAS_3="contract")
class KeepsTheFirstExpiry(_Keeps):
    """A result keeps the expiry of the claim that it replaces."""

    def kept(self, record: Record) -> Record:
        before = self.rows.get(record.idempotency_key)
        return record if before is None else record._replace(expiry_timestamp=before.expiry_timestamp)


@broken(CAS_3="contract")
class ForgetsTheResponse(_Keeps):
    """It stores that an operation is done, but not its response."""

    def kept(self, record: Record) -> Record:
        return record._replace(response_data=None)


@broken(
    CAS_3="contract",
    seen_in='Powertools for AWS Lambda 3.37: {} [] 0 0.0 False "" are replayed as None',
)
class ForgetsFalsyResponses(_Keeps):
    """It treats an empty or false result as no result."""

    def kept(self, record: Record) -> Record:
        empty = record.response_data in ("{}", "[]", "0", "0.0", "false", '""')
        return record._replace(response_data=None) if empty else record


@broken(CAS_3="contract")
class RewritesTheResponse(_Keeps):
    """It parses the response and encodes it again: duplicate names, spaces and digits of numbers change."""

    def kept(self, record: Record) -> Record:
        try:
            return record._replace(response_data=json.dumps(json.loads(record.response_data or "")))
        except ValueError:
            return record


@broken(CAS_3="contract")
class KeepsAShortColumn(_Keeps):
    """It truncates a response after 255 characters."""

    def kept(self, record: Record) -> Record:
        return record._replace(response_data=(record.response_data or "")[:_LONGEST_COLUMN] or None)


@broken(CAS_3="contract")
class KeepsAText(_Keeps):
    """It truncates a response after 64 KB."""

    def kept(self, record: Record) -> Record:
        return record._replace(response_data=(record.response_data or "")[:_LONGEST_TEXT] or None)


@broken(CAS_3="contract")
class KeepsLatin(_Keeps):
    """It stores a response in Latin-1; other letters become question marks."""

    def kept(self, record: Record) -> Record:
        text = (record.response_data or "").encode("latin-1", "replace").decode("latin-1")
        return record._replace(response_data=text or None)


@broken(CAS_3="contract")
class KeepsNormalisedText(_Keeps):
    """It normalises the Unicode text of a response, so a replay differs from the first answer."""

    def kept(self, record: Record) -> Record:
        text = unicodedata.normalize("NFC", record.response_data or "")
        return record._replace(response_data=text or None)


@broken(CAS_3="contract")
class StripsTheResponse(_Keeps):
    """It strips white space around a response."""

    def kept(self, record: Record) -> Record:
        return record._replace(response_data=(record.response_data or "").strip() or None)


@broken(CAS_3="contract", REC_3="contract")
class LosesMilliseconds(_Keeps):
    """It stores a lease in whole seconds."""

    def kept(self, record: Record) -> Record:
        lease = record.in_progress_expiry_timestamp
        return record if lease is None else record._replace(in_progress_expiry_timestamp=lease // 1000 * 1000)


@broken(CAS_3="contract")
class KeepsSinglePrecision(_Keeps):
    """It stores a lease as a single-precision float, which is off by up to a minute."""

    def kept(self, record: Record) -> Record:
        lease = record.in_progress_expiry_timestamp
        if lease is None:
            return record
        (rounded,) = struct.unpack("f", struct.pack("f", lease))
        return record._replace(in_progress_expiry_timestamp=int(rounded))


@broken(CAS_3="contract")
class KeepsALeaseOf32Bits(_Keeps):
    """It stores a lease in 32 bits, which is too small for milliseconds."""

    def kept(self, record: Record) -> Record:
        lease = record.in_progress_expiry_timestamp
        return record if lease is None else record._replace(in_progress_expiry_timestamp=lease % 2**32)


@broken(CAS_3="contract")
class EndsIn2038(_Keeps):
    """It stores an expiry in 32 bits, which overflow in the year 2038."""

    def kept(self, record: Record) -> Record:
        return record._replace(expiry_timestamp=min(record.expiry_timestamp, 2**31 - 1))


class _Keyed(Dictionary):
    """Stores records under a changed key."""

    def read(self, key: str) -> Record | None:
        found = self.rows.get(self.kept_under(key))
        return None if found is None else found._replace(idempotency_key=key)

    def write(self, key: str, new: Record | None) -> None:
        super().write(self.kept_under(key), new)

    def kept_under(self, key: str) -> str:
        """Return the key under which a record is stored."""
        raise NotImplementedError


@broken(CAS_1="contract")
class IgnoresCase(_Keyed):
    """Keys that differ only in case share one record, as in a case-insensitive column."""

    def kept_under(self, key: str) -> str:
        return key.lower()


@broken(CAS_1="contract")
class CutsKeys(_Keyed):
    """Keys that differ after 64 characters share one record."""

    def kept_under(self, key: str) -> str:
        return key[:64]


@broken(CAS_1="contract")
class CutsLongKeys(_Keyed):
    """Keys that differ after 255 characters share one record."""

    def kept_under(self, key: str) -> str:
        return key[:255]


@broken(CAS_1="contract")
class DropsSeparators(_Keyed):
    """Keys that differ only in a separator share one record: it confuses "a#bc" with "ab#c"."""

    def kept_under(self, key: str) -> str:
        return "".join(letter for letter in key if letter.isalnum())


@broken(CAS_1="contract")
class IgnoresTheFunction(_Keyed):
    """It stores a record under the part after the last "#", so functions share their keys."""

    def kept_under(self, key: str) -> str:
        return key.rpartition("#")[2]


@broken(CAS_1="contract")
class StripsKeys(_Keyed):
    """Keys that differ only in trailing white space share one record, as in a fixed-width column."""

    def kept_under(self, key: str) -> str:
        return key.rstrip()


@broken(CAS_1="contract")
class KeepsKeysInAscii(_Keyed):
    """Keys that differ only in non-ASCII letters share one record."""

    def kept_under(self, key: str) -> str:
        return key.encode("ascii", "replace").decode()


@broken(CAS_3="contract")
class KeepsThreeBytes(_Keeps):
    """It stores letters of up to three bytes; the others become question marks, as in an old MySQL table."""

    def kept(self, record: Record) -> Record:
        text = record.response_data or ""
        return record._replace(response_data="".join(each if each < "\U00010000" else "?" for each in text))


@broken(CAS_3="contract", REC_4="contract")
class StoresNoneAsText(_Keeps):
    """It stores an absent response as the text "None"."""

    def kept(self, record: Record) -> Record:
        done = record.status == COMPLETED
        return record._replace(response_data=str(record.response_data)) if done else record


@broken(CAS_3="contract")
class StoresHashesAsNumbers(_Keeps):
    """It stores a payload hash of digits as a number, without its leading zeros."""

    def kept(self, record: Record) -> Record:
        text = record.payload_hash or ""
        return record._replace(payload_hash=str(int(text))) if text.isdigit() else record


@broken(CAS_3="contract")
class StoresOwnersAsNumbers(_Keeps):
    """It stores an owner of digits as a number, without its leading zeros."""

    def kept(self, record: Record) -> Record:
        owner = record.owner or ""
        return record._replace(owner=str(int(owner))) if owner.isdigit() else record


@broken(CAS_3="contract")
class KeepsDoublePrecision(_Keeps):
    """It stores a lease as a double-precision float, which is exact up to 53 bits only."""

    def kept(self, record: Record) -> Record:
        lease = record.in_progress_expiry_timestamp
        return record if lease is None else record._replace(in_progress_expiry_timestamp=int(float(lease)))


@broken(CAS_3="contract")
class EndsIn2106(_Keeps):
    """It stores an expiry in 32 bits without a sign, which overflow in the year 2106."""

    def kept(self, record: Record) -> Record:
        return record._replace(expiry_timestamp=record.expiry_timestamp % 2**32)
