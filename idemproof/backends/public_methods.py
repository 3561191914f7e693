"""The methods that Powertools calls on a layer, for those who call or override them; as generators."""

from collections.abc import Generator
from typing import Any

from ..spec.commands import Command, Invoke
from ..spec.errors import IdempotencyItemNotFoundError, IdempotencyValidationError
from .layer_settings import Setting, settings_of, visit_of
from .records import ByHand, DataRecord

Steps = Generator[Command, Any, Any]

DOCUMENTED = ("_get_record", "_put_record", "_update_record", "_delete_record")
PUBLIC = ("save_inprogress", "save_success", "get_record", "delete_record")
METHODS = (*DOCUMENTED, *PUBLIC, "configure")
"""What users override, and tests replace."""

REPLACED = "_methods_replaced"
"""The attribute of a layer that tells that one of them was set on it."""


class WhatLayersOffer:
    """What a layer of either side offers beside its store, under the names that Powertools has."""

    _settings_can_be_set = True

    function_name = Setting("")
    configured = Setting(False)
    event_key_jmespath = Setting("")
    event_key_compiled_jmespath = Setting(None)
    jmespath_options = Setting(None)
    payload_validation_enabled = Setting(True)
    """Whether payloads are validated. True where no call is in progress: then a record's hash counts."""
    validation_key_jmespath = Setting(None)
    raise_on_no_idempotency_key = Setting(False)
    expires_after_seconds = Setting(3600)
    use_local_cache = Setting(False)
    hash_function = Setting(None)

    def configure(self, config: Any, function_name: str | None = None, key_prefix: str | None = None) -> None:
        """Say for which function the public methods and the settings are, outside of its calls.

        The decorators do not need it: they pass the settings of each call.

        Parameters
        ----------
        config
            The function's ``IdempotencyConfig``.
        function_name
            Its module and qualified name, joined with a dot.
        key_prefix
            What the decorator got as ``key_prefix``.
        """
        own = vars(self)
        for name in [name for name in own if isinstance(getattr(type(self), name, None), Setting)]:
            del own[name]
        own["_settings"] = config.for_layers(function_name or "", key_prefix)

    @staticmethod
    def is_missing_idempotency_key(data: Any) -> bool:
        """Return whether what was selected is no key: nothing, or a list or dict of nothing.

        Parameters
        ----------
        data
            What ``event_key_jmespath`` selected.
        """
        if isinstance(data, dict):
            return all(value is None for value in data.values())
        if isinstance(data, tuple | list):
            return all(value is None for value in data)
        return not isinstance(data, int | float) and not data

    def _get_hashed_idempotency_key(self, data: Any) -> str | None:
        return settings_of(self).key_of(data)

    def _get_hashed_payload(self, data: Any) -> str:
        return settings_of(self).payload_hash_of(data)

    def _generate_hash(self, data: Any) -> str:
        return settings_of(self).hash_of(data)

    def _get_expiry_timestamp(self) -> int:
        return settings_of(self).expiry_from_now()

    def _validate_payload(self, data_payload: Any, stored_data_record: DataRecord) -> None:
        if not self.payload_validation_enabled:
            return
        if isinstance(data_payload, DataRecord):
            given = data_payload.payload_hash
        else:
            given = self._get_hashed_payload(data_payload)
        if (stored_data_record.payload_hash or "") != (given or ""):
            raise IdempotencyValidationError(
                f"The payload of {stored_data_record.idempotency_key!r} is not the one that this key came "
                "with first. Nothing ran. Use a new key for a new operation."
            )

    # The engine keeps the local cache itself; layers written for Powertools may still ask.

    def _save_to_cache(self, data_record: DataRecord) -> None:
        """Do nothing: completed records are cached by the engine."""

    def _retrieve_from_cache(self, idempotency_key: str) -> DataRecord | None:
        """Return None: before it asks a layer, the engine has looked."""

    def _delete_from_cache(self, idempotency_key: str) -> None:
        """Do nothing: the engine caches no record that is deleted."""


# What each public method does. In a call it carries the record that the engine has decided on.


def save_inprogress(layer: Any, data: Any, remaining_time_in_millis: int | None) -> Steps:
    """Claim the key of ``data``, or raise that a live record has it."""
    visit = visit_of(layer)
    record = None if visit is None else visit.record
    if record is None:
        settings = settings_of(layer)
        key = settings.key_of(data)
        if key is None:
            return
        record = settings.claim(key, data, remaining_time_in_millis)
    yield Invoke("_put_record", record)


def save_success(layer: Any, data: Any, result: Any) -> Steps:
    """Store the result of ``data``."""
    visit = visit_of(layer)
    record = None if visit is None else visit.record
    settings = settings_of(layer)
    if record is None:
        key = settings.key_of(data)
        if key is None:
            return
        record = ByHand(*settings.result(key, data, result))
    else:
        record.response_data = settings.encode(result)  # an override may have changed it
    yield Invoke("_update_record", record)


def delete_record(layer: Any, data: Any) -> Steps:
    """Remove the claim of ``data``."""
    visit = visit_of(layer)
    record = None if visit is None else visit.record
    if record is None:
        key = settings_of(layer).key_of(data)
        if key is None:
            return
        record = ByHand(key)
    yield Invoke("_delete_record", record)


def get_record(layer: Any, data: Any) -> Steps:
    """Return the record of ``data``, or raise that there is none, or that its payload is another."""
    visit = visit_of(layer)
    if visit is not None and visit.known is not None:
        return visit.known
    if visit is not None and visit.record is not None:
        key: str | None = visit.record.idempotency_key
    else:
        key = settings_of(layer).key_of(data)
    if key is None:
        return None
    record = yield Invoke("_get_record", key)
    if record is None:
        raise IdempotencyItemNotFoundError(f"No record has the key {key!r}.")
    layer._validate_payload(data_payload=data, stored_data_record=record)
    return record
