"""The methods that Powertools calls on a layer, as generators. Users call and override them."""

from typing import Any

from ..spec.commands import CallMethod, Steps
from ..spec.errors import IdempotencyItemNotFoundError, IdempotencyValidationError
from .layer_settings import CONFIGURED, Setting, settings_of, visit_of
from .records import ByHand, DataRecord

DOCUMENTED = ("_get_record", "_put_record", "_update_record", "_delete_record")
PUBLIC = ("save_inprogress", "save_success", "get_record", "delete_record")
METHODS = (*DOCUMENTED, *PUBLIC, "configure")
"""Methods that users override and tests replace."""

REPLACED = "_methods_replaced"
"""The attribute that marks a layer on which one of them was set."""


class WhatLayersOffer:
    """The attributes and methods of layers that are named as in Powertools."""

    _settings_can_be_set = True

    function_name = Setting("")
    configured = Setting(False)
    event_key_jmespath = Setting("")
    event_key_compiled_jmespath = Setting(None)
    jmespath_options = Setting(None)
    payload_validation_enabled = Setting(True)
    """Whether payloads are validated. True outside of calls, so that stored hashes are compared."""
    validation_key_jmespath = Setting(None)
    raise_on_no_idempotency_key = Setting(False)
    expires_after_seconds = Setting(3600)
    use_local_cache = Setting(False)
    hash_function = Setting(None)

    def configure(self, config: Any, function_name: str | None = None, key_prefix: str | None = None) -> None:
        """Set the function whose settings the public methods use outside of calls.

        The decorators do not need it, because they pass the settings of each call.

        Parameters
        ----------
        config
            The ``IdempotencyConfig`` of the function.
        function_name
            The module and the qualified name of the function, joined with a dot.
        key_prefix
            The ``key_prefix`` of the decorator.
        """
        own = vars(self)
        for name in [name for name in own if isinstance(getattr(type(self), name, None), Setting)]:
            del own[name]
        own[CONFIGURED] = config.for_layers(function_name or "", key_prefix)

    @staticmethod
    def is_missing_idempotency_key(data: Any) -> bool:
        """Return whether the selected data has no key: it is empty, or a list or dict with only None.

        Parameters
        ----------
        data
            The data that ``event_key_jmespath`` selected.
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
                f"The payload of {stored_data_record.idempotency_key!r} differs from the payload that this "
                "key was first used with. Nothing ran. Use a new key for a new operation."
            )

    # The engine has the local cache; layers written for Powertools may still call these.

    def _save_to_cache(self, data_record: DataRecord) -> None:
        """Do nothing, because the engine caches completed records."""

    def _retrieve_from_cache(self, idempotency_key: str) -> DataRecord | None:
        """Return None, because the engine has read its cache before it calls the layer."""

    def _delete_from_cache(self, idempotency_key: str) -> None:
        """Do nothing, because the engine never caches a record that is deleted."""


# The public methods. During a call they pass on the record that the engine has decided on.


def save_inprogress(layer: Any, data: Any, remaining_time_in_millis: int | None) -> Steps:
    """Claim the key of ``data``, or raise ``IdempotencyItemAlreadyExistsError``."""
    visit = visit_of(layer)
    record = None if visit is None else visit.record
    if record is None:
        settings = settings_of(layer)
        key = settings.key_of(data)
        if key is None:
            return
        record = settings.claim(key, data, remaining_time_in_millis)
    yield CallMethod("_put_record", record)


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
    yield CallMethod("_update_record", record)


def delete_record(layer: Any, data: Any) -> Steps:
    """Remove the claim of ``data``."""
    visit = visit_of(layer)
    record = None if visit is None else visit.record
    if record is None:
        key = settings_of(layer).key_of(data)
        if key is None:
            return
        record = ByHand(key)
    yield CallMethod("_delete_record", record)


def get_record(layer: Any, data: Any) -> Steps:
    """Return the record of ``data``; raise if there is no record, or if its payload differs."""
    visit = visit_of(layer)
    if visit is not None and visit.known is not None:
        return visit.known
    if visit is not None and visit.record is not None:
        key: str | None = visit.record.idempotency_key
    else:
        key = settings_of(layer).key_of(data)
    if key is None:
        return None
    record = yield CallMethod("_get_record", key)
    if record is None:
        raise IdempotencyItemNotFoundError(f"No record has the key {key!r}.")
    layer._validate_payload(data_payload=data, stored_data_record=record)
    return record
