"""Custom layers that were written for Powertools: their use of the base class, and of records.

Each runs against the original too, where it can.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

import idemproof
from both_sides import OURS

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:Couldn't determine the remaining time:UserWarning"),
]


def kept_in_a_dict(side: SimpleNamespace) -> Any:
    """Return a class with the four methods, which keeps records as dictionaries."""

    class Dict(side.Base):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rows: dict[str, dict[str, Any]] = {}

        def _get_record(self, idempotency_key: str) -> Any:
            row = self.rows.get(idempotency_key)
            if row is None:
                raise side.errors.IdempotencyItemNotFoundError
            return self._of(row)

        def _of(self, row: dict[str, Any]) -> Any:
            return side.DataRecord(
                row["idempotency_key"],
                row["_status"],
                row["expiry_timestamp"],
                row["in_progress_expiry_timestamp"],
                row["response_data"],
                row["payload_hash"],
            )

        def _put_record(self, data_record: Any) -> None:
            row = self.rows.get(data_record.idempotency_key)
            if row is not None and row["expiry_timestamp"] > time.time():
                raise side.errors.IdempotencyItemAlreadyExistsError(old_data_record=self._of(row))
            self.rows[data_record.idempotency_key] = dict(vars(data_record))

        def _update_record(self, data_record: Any) -> None:
            self.rows[data_record.idempotency_key] = dict(vars(data_record))

        def _delete_record(self, data_record: Any) -> None:
            self.rows.pop(data_record.idempotency_key, None)

    return Dict


def protect(
    side: SimpleNamespace, layer: Any, body: Callable[[Any], Any], **config: Any
) -> Callable[[Any], Any]:
    def charge(order: Any) -> Any:
        return body(order)

    protected = side.idempotent_function(
        data_keyword_argument="order", persistence_store=layer, config=side.Config(**config)
    )(charge)
    return lambda order: protected(order=order)


def done(order: Any) -> Any:
    return {"done": order["id"]}


SETTINGS = {
    "expires_after_seconds": {"expires_after_seconds": 77},
    "use_local_cache": {"use_local_cache": True},
    "raise_on_no_idempotency_key": {"raise_on_no_idempotency_key": True},
    "event_key_jmespath": {"event_key_jmespath": "id"},
    "payload_validation_enabled": {"payload_validation_jmespath": "amount", "event_key_jmespath": "id"},
    "configured": {},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("method", ["_put_record", "_update_record"])
def test_a_layer_reads_the_settings_of_the_call(side: Any, name: str, method: str) -> None:
    seen = []

    def looking(self: Any, data_record: Any) -> None:
        seen.append(getattr(self, name))
        getattr(super(kind, self), method)(data_record)

    kind: Any = type("Looking", (kept_in_a_dict(side),), {method: looking})
    config = SETTINGS[name]
    assert protect(side, kind(), done, **config)({"id": 1, "amount": 5}) == {"done": 1}
    assert seen == [config.get(name, True)]


def test_the_hash_function_and_the_function_s_name_are_there(side: Any) -> None:
    seen = []

    class Looking(kept_in_a_dict(side)):  # type: ignore[misc]
        def _put_record(self, data_record: Any) -> None:
            seen.append((self.hash_function(b"a").hexdigest(), self.function_name))
            super()._put_record(data_record)

    layer = Looking()
    protect(side, layer, done, hash_function="sha1")({"id": 1})
    ((digest, name),) = seen
    assert digest == "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"
    assert name == next(iter(layer.rows)).rpartition("#")[0]


def test_without_validation_it_is_off(side: Any) -> None:
    seen = []

    class Looking(kept_in_a_dict(side)):  # type: ignore[misc]
        def _put_record(self, data_record: Any) -> None:
            seen.append(self.payload_validation_enabled)
            super()._put_record(data_record)

    protect(side, Looking(), done)({"id": 1})
    assert seen == [False]


def validating(side: SimpleNamespace) -> Any:
    class Validating(kept_in_a_dict(side)):  # type: ignore[misc]
        def _put_record(self, data_record: Any) -> None:
            row = self.rows.get(data_record.idempotency_key)
            if row is not None:
                self._validate_payload(data_payload=data_record, stored_data_record=self._of(row))
            super()._put_record(data_record)

    return Validating


def test_a_layer_validates_payloads_itself(side: Any) -> None:
    charge = protect(
        side, validating(side)(), done, event_key_jmespath="id", payload_validation_jmespath="amount"
    )
    assert [charge({"id": 1, "amount": 5}) for _ in range(2)] == [{"done": 1}] * 2
    with pytest.raises(side.errors.IdempotencyValidationError):
        charge({"id": 1, "amount": 6})


def test_validation_is_off_where_it_is_not_configured(side: Any) -> None:
    charge = protect(side, validating(side)(), done, event_key_jmespath="id")
    assert [charge({"id": 1, "amount": amount}) for amount in (5, 6)] == [{"done": 1}] * 2


def test_a_layer_may_ask_for_keys_and_hashes_of_payloads(side: Any) -> None:
    seen = []

    class Asking(kept_in_a_dict(side)):  # type: ignore[misc]
        def _put_record(self, data_record: Any) -> None:
            payload = {"id": 1, "amount": 5}
            seen.append(self._get_hashed_idempotency_key(payload) == data_record.idempotency_key)
            seen.append(self._get_hashed_payload(payload) == data_record.payload_hash)
            seen.append(abs(self._get_expiry_timestamp() - data_record.expiry_timestamp) <= 1)
            self._validate_payload(data_payload=payload, stored_data_record=data_record)
            super()._put_record(data_record)

    protect(side, Asking(), done, event_key_jmespath="id", payload_validation_jmespath="amount")(
        {"id": 1, "amount": 5}
    )
    assert seen == [True] * 3


# Several functions, one layer. The original gives all of them the first one's settings: ours does not.


def test_threads_see_their_own_function_s_settings() -> None:
    seen: list[tuple[Any, Any]] = []
    barrier = threading.Barrier(4)

    class Looking(kept_in_a_dict(OURS)):  # type: ignore[misc]
        def _put_record(self, data_record: Any) -> None:
            barrier.wait(10)
            seen.append((data_record.expiry_timestamp, self.expires_after_seconds))
            super()._put_record(data_record)

    layer = Looking()
    functions = [
        protect(OURS, layer, done, expires_after_seconds=window, clock=lambda: 1_700_000_000_000)
        for window in (60, 120, 180, 240)
    ]
    threads = [
        threading.Thread(target=function, args=({"id": number},)) for number, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [(1_700_000_000 + window, window) for window in (60, 120, 180, 240)]


def test_tasks_see_their_own_function_s_settings() -> None:
    seen: list[tuple[Any, Any]] = []

    class Looking(idemproof.AsyncBasePersistenceLayer):
        def __init__(self) -> None:
            self.rows: dict[str, Any] = {}

        async def _get_record(self, idempotency_key: str) -> Any:
            return self.rows[idempotency_key]

        async def _put_record(self, data_record: Any) -> None:
            for _ in range(5):
                await asyncio.sleep(0)
                seen.append((data_record.expiry_timestamp, self.expires_after_seconds))

        async def _update_record(self, data_record: Any) -> None:
            await asyncio.sleep(0)
            seen.append((data_record.expiry_timestamp, self.expires_after_seconds))

        async def _delete_record(self, data_record: Any) -> None:
            raise AssertionError

    layer = Looking()

    def function(window: int) -> Any:
        @idemproof.idempotent_function(
            data_keyword_argument="n",
            persistence_store=layer,
            config=idemproof.IdempotencyConfig(expires_after_seconds=window, clock=lambda: 1_700_000_000_000),
        )
        async def work(n: int) -> int:
            return n

        return work

    async def scenario() -> None:
        await asyncio.gather(*(function(window)(n=window) for window in (60, 120, 180)))

    asyncio.run(scenario())
    assert set(seen) == {(1_700_000_000 + window, window) for window in (60, 120, 180)}
    assert len(seen) == 18


def test_an_async_function_s_settings_reach_a_blocking_layer_in_its_thread() -> None:
    seen = []

    class Looking(kept_in_a_dict(OURS)):  # type: ignore[misc]
        def _put_record(self, data_record: Any) -> None:
            seen.append(self.expires_after_seconds)
            super()._put_record(data_record)

    @idemproof.idempotent_function(
        data_keyword_argument="n",
        persistence_store=Looking(),
        config=idemproof.IdempotencyConfig(expires_after_seconds=77),
    )
    async def work(n: int) -> int:
        return n

    assert asyncio.run(work(n=1)) == 1
    assert seen == [77]


def test_the_settings_are_gone_after_the_call() -> None:
    layer = kept_in_a_dict(OURS)()
    assert protect(OURS, layer, done, expires_after_seconds=77)({"id": 1}) == {"done": 1}
    assert layer.expires_after_seconds == 3600


def test_a_setting_that_a_layer_makes_its_own_gives_way_to_the_configuration_aloud(side: Any) -> None:
    seen = []

    class Own(kept_in_a_dict(side)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.expires_after_seconds = 5

        def _put_record(self, data_record: Any) -> None:
            seen.append(self.expires_after_seconds)
            super()._put_record(data_record)

    layer = Own()
    reply = pytest.warns(idemproof.IdempotencyWarning, match="expires_after_seconds=5")
    with reply if side is OURS else nullcontext():
        charge = protect(side, layer, done, expires_after_seconds=77)
    charge({"id": 1})
    assert seen == [77]
    if side is OURS:  # in the original it counts from now on, for all functions
        with pytest.raises(AttributeError, match=r"expires_after_seconds.*IdempotencyConfig"):
            layer.expires_after_seconds = 6


# Records.


def test_a_layer_may_change_records_and_put_notes_on_them(side: Any) -> None:
    class Sealed(kept_in_a_dict(side)):  # type: ignore[misc]
        def _update_record(self, data_record: Any) -> None:
            data_record.response_data = data_record.response_data[::-1]
            data_record.zone = "eu"
            self.rows[data_record.idempotency_key] = dict(vars(data_record))

        def _of(self, row: dict[str, Any]) -> Any:
            record = super()._of(row)
            record.response_data = record.response_data[::-1]
            return record

    layer = Sealed()
    charge = protect(side, layer, done)
    assert [charge({"id": 1}) for _ in range(2)] == [{"done": 1}] * 2
    (row,) = layer.rows.values()
    assert (row["zone"], row["response_data"]) == ("eu", '{"done": 1}'[::-1])


def test_a_layer_may_change_a_claim_which_is_still_released(side: Any) -> None:
    class Patient(kept_in_a_dict(side)):  # type: ignore[misc]
        def _put_record(self, data_record: Any) -> None:
            data_record.expiry_timestamp += 600
            data_record.in_progress_expiry_timestamp = None
            super()._put_record(data_record)

    layer = Patient()

    def fail(order: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        protect(side, layer, fail)({"id": 1})
    assert layer.rows == {}


def test_methods_are_called_by_name(side: Any) -> None:
    names: list[set[str]] = []

    class ByName(kept_in_a_dict(side)):  # type: ignore[misc]
        def _get_record(self, *, idempotency_key: str) -> Any:
            names.append({"idempotency_key"})
            return super()._get_record(idempotency_key)

        def _put_record(self, **given: Any) -> None:
            names.append(set(given))
            super()._put_record(**given)

        def _update_record(self, *, data_record: Any) -> None:
            names.append({"data_record"})
            super()._update_record(data_record)

        def _delete_record(self, *, data_record: Any, more: int = 5) -> None:
            names.append({"data_record"})
            super()._delete_record(data_record)

    layer = ByName()

    def body(order: Any) -> Any:
        return 1 / order["id"]

    charge = protect(side, layer, body)
    assert charge({"id": 1}) == 1
    with pytest.raises(ZeroDivisionError):
        charge({"id": 0})
    assert {frozenset(one) for one in names} <= {frozenset({"data_record"}), frozenset({"idempotency_key"})}
    assert len(layer.rows) == 1


def test_parameters_of_other_names_are_given_by_position() -> None:
    class Otherwise(kept_in_a_dict(OURS)):  # type: ignore[misc]
        def _put_record(self, record: Any) -> None:
            super()._put_record(record)

        def _update_record(self, record: Any, /) -> None:
            super()._update_record(record)

        def _get_record(self, *args: Any) -> Any:
            return super()._get_record(*args)

    assert protect(OURS, Otherwise(), done)({"id": 1}) == {"done": 1}


def test_public_methods_of_a_layer_of_the_user_are_called_too(side: Any) -> None:
    calls = []

    class Observed(kept_in_a_dict(side)):  # type: ignore[misc]
        def save_success(self, data: Any, result: Any) -> None:
            calls.append((data, result))
            super().save_success(data, result)

        def delete_record(self, data: Any, exception: Any) -> None:
            calls.append((data, type(exception)))
            super().delete_record(data, exception)

    layer = Observed()
    assert protect(side, layer, done)({"id": 1}) == {"done": 1}

    def fail(order: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        protect(side, layer, fail)({"id": 2})
    assert calls == [({"id": 1}, {"done": 1}), ({"id": 2}, ZeroDivisionError)]
    assert len(layer.rows) == 1


# Records made by tests.


def test_a_record_is_changed_as_in_the_original(side: Any) -> None:
    record = side.DataRecord("k", status="COMPLETED", response_data="{}")
    assert record.status == "COMPLETED"
    record.expiry_timestamp = int(time.time()) - 5
    assert (record._status, record.status, record.is_expired) == ("COMPLETED", "EXPIRED", True)
    record.note = "by the test"
    record.response_data = '{"a": 1}'
    record.payload_hash = "h"
    assert record.response_json_as_dict() == {"a": 1}
    assert vars(record) == {
        "idempotency_key": "k",
        "payload_hash": "h",
        "expiry_timestamp": record.expiry_timestamp,
        "in_progress_expiry_timestamp": None,
        "_status": "COMPLETED",
        "response_data": '{"a": 1}',
        "sort_key": None,
        "note": "by the test",
    }
    assert len({record, side.DataRecord("other")}) == 2
    record.expiry_timestamp = None
    assert (record.is_expired, record.get_expiration_datetime()) == (False, None)
    record._status = "PAUSED"
    with pytest.raises(side.errors.IdempotencyInvalidStatusError):
        _ = record.status


def test_a_hook_may_put_notes_on_its_record(side: Any) -> None:
    def hook(response: Any, record: Any) -> Any:
        record.seen = True
        record.response_data = "{}"
        return response | {"replayed": record.seen}

    # The original's hook would change what its local cache keeps.
    charge = protect(side, kept_in_a_dict(side)(), done, response_hook=hook, use_local_cache=side is OURS)
    replayed = {"done": 1, "replayed": True}
    assert [charge({"id": 1}) for _ in range(3)] == [{"done": 1}, replayed, replayed]
