"""From what a function is called with to its idempotency key and its payload hash.

Both are byte for byte what Powertools for AWS Lambda derives wherever that form loses nothing, so that the
two can share a table. What that form would mask, leave out or cut off either tells keys apart, or is refused
by name.
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
