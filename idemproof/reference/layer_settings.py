"""The settings of one function for its layer, with the attribute names of Powertools' layers."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..backends.records import DataRecord
from ..spec.record import COMPLETED, INPROGRESS, ceil_seconds
from .encoding import encode
from .keys import KeyDerivation

if TYPE_CHECKING:
    from .config import IdempotencyConfig


class LayerSettings:
    """The settings and derived values that a layer can read for its function.

    Parameters
    ----------
    config
        The function's configuration.
    prefix
        Returns the prefix of the function's keys.
    """

    configured = True

    def __init__(self, config: "IdempotencyConfig", prefix: Callable[[], str]) -> None:
        self._config = config
        self._prefix = prefix
        self._derivation: KeyDerivation | None = None
        self.event_key_jmespath = config.event_key_jmespath
        self.event_key_compiled_jmespath = config.key_expression
        self.jmespath_options = config.jmespath_options or {
            "custom_functions": config.search_options.custom_functions
        }
        self.payload_validation_enabled = config.validation_expression is not None
        self.validation_key_jmespath = config.validation_expression
        self.raise_on_no_idempotency_key = config.raise_on_no_idempotency_key
        self.expires_after_seconds = config.expires_after_seconds
        self.use_local_cache = config.use_local_cache
        self.hash_function = getattr(hashlib, config.hash_function)

    @property
    def function_name(self) -> str:
        """The prefix of the function's keys."""
        return self._prefix()

    def key_of(self, data: Any) -> str | None:
        """Return the idempotency key of a payload; None if it has no key."""
        return self._derived(data)[0]

    def payload_hash_of(self, data: Any) -> str:
        """Return the hash of a payload's validated part; '' if nothing is validated."""
        return self._keys().payload_hash(data) or ""

    def hash_of(self, data: Any) -> str:
        """Return the hash of plain data."""
        return self._keys().hash_of(data)

    def expiry_from_now(self) -> int:
        """Return the expiry, in seconds since the epoch, of a result that is stored now."""
        return ceil_seconds(self._config.clock() - int(-self._config.expires_after_seconds * 1000 // 1))

    def claim(self, key: str, data: Any, remaining_ms: int | None) -> DataRecord:
        """Return the INPROGRESS record of an attempt that begins now."""
        lease = None if remaining_ms is None else self._config.clock() + remaining_ms
        hashed = self._derived(data)[1]
        return DataRecord(key, INPROGRESS, self.expiry_from_now(), lease, payload_hash=hashed or "")

    def result(self, key: str, data: Any, result: Any) -> DataRecord:
        """Return the COMPLETED record of an attempt that ends now."""
        hashed = self._derived(data)[1]
        return DataRecord(
            key, COMPLETED, self.expiry_from_now(), None, self.encode(result), payload_hash=hashed or ""
        )

    def encode(self, result: Any) -> str:
        """Return the stored text of a result."""
        return encode(result)

    def _derived(self, data: Any) -> tuple[str | None, str | None]:
        return self._keys().derive(data)

    def _keys(self) -> KeyDerivation:
        if self._derivation is None:
            self._derivation = KeyDerivation(self._config, self._prefix())
        return self._derivation
