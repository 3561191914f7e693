"""Derive the idempotency key and the payload hash from the arguments of a call.

Both are byte for byte what Powertools for AWS Lambda derives wherever that form loses nothing, so that the
two can share a table. Values that this form would mask, leave out or cut off are either part of the key, or
refused by name.
"""

from ..prefixes import function_prefix
from .derivation import KeyDerivation, is_missing, key_data
from .encoding import KeyEncoder
from .warned import private_store, warn_of_no_service

__all__ = [
    "KeyDerivation",
    "KeyEncoder",
    "function_prefix",
    "is_missing",
    "key_data",
    "private_store",
    "warn_of_no_service",
]
