"""Every option, as a caller sees it: what is answered, what runs again, and what it costs."""

import itertools
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from idemproof.backends.dynamodb_clients import returns_conflict
from idemproof.errors import IdempotencyAlreadyInProgressError

Load = Callable[[str], ModuleType]
Event = Callable[[str], Any]

pytestmark = pytest.mark.usefixtures("aws", "clock")


def requests_of(example: ModuleType) -> list[str]:
    """Return a list to which every request to DynamoDB adds its name."""
    seen: list[str] = []
    events = example.store.client.meta.events
    events.register("before-call.dynamodb", lambda model, **_: seen.append(model.name))
    return seen


class TestLocalCache:
    def test_a_repeat_makes_no_request(self, load: Load, event: Event, context: object) -> None:
        example = load("options/local_cache.py")
        requests = requests_of(example)
        order = event("options/local_cache.json")
        first = example.handler(order, context)
        assert requests == ["PutItem", "UpdateItem"]
        assert example.handler(order, context) == first
        assert requests == ["PutItem", "UpdateItem"]
        assert example.sold == ["A1"]

    def test_an_order_that_left_the_cache_is_found_in_the_table(
        self, load: Load, event: Event, context: object
    ) -> None:
        example = load("options/local_cache.py")
        order = event("options/local_cache.json")
        first = example.handler(order, context)
        for number in range(example.config.local_cache_max_items):
            example.handler({"order": f"C-{number}", "seat": f"G{number}"}, context)
        requests = requests_of(example)
        assert example.handler(order, context) == first
        reading = [] if returns_conflict(example.store.client) else ["GetItem"]
        assert requests == ["PutItem", *reading]
        assert example.sold.count("A1") == 1


class TestPayloadSubset:
    def test_neither_headers_nor_spaces_make_a_new_order(
        self, load: Load, event: Event, context: object
    ) -> None:
        example = load("options/payload_subset.py")
        request = event("options/payload_subset.json")
        first = example.handler(request, context)
        retry = request | {
            "headers": {"x-request-id": "another"},
            "body": '{"plan":"yearly",   "newsletter": false, "customer":"c-88"}',
        }
        assert example.handler(retry, context) == first
        assert example.billed == ["c-88"]

    def test_another_plan_is_another_order(self, load: Load, event: Event, context: object) -> None:
        example = load("options/payload_subset.py")
        request = event("options/payload_subset.json")
        first = example.handler(request, context)
        other = example.handler(request | {"body": '{"customer": "c-88", "plan": "monthly"}'}, context)
        assert other != first
        assert example.billed == ["c-88", "c-88"]


def test_a_transfer_is_remembered_for_a_day(load: Load, event: Event, context: object, clock: Any) -> None:
    example = load("options/expiry_window.py")
    order = event("options/expiry_window.json")
    first = example.handler(order, context)
    clock.shift(24 * 60 * 60 - 0.001)
    assert example.handler(order, context) == first
    assert example.moved == [25000]
    clock.shift(0.001)
    assert example.handler(order, context)["receipt"] != first["receipt"]
    assert example.moved == [25000, 25000]


class TestLambdaTimeout:
    def test_a_repeat_takes_over_when_the_time_of_the_first_is_up(
        self,
        load: Load,
        event: Event,
        context: Any,
        clock: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        example = load("options/lambda_timeout.py")
        parcel = event("options/lambda_timeout.json")
        monkeypatch.setattr(context, "get_remaining_time_in_millis", lambda: 3_000)
        answers = []
        invocations = itertools.count(1)
        print_really = example.send_to_printer

        def hang_at_first(number: str) -> None:
            if next(invocations) > 1:
                print_really(number)
                return
            clock.shift(2.999)
            with pytest.raises(IdempotencyAlreadyInProgressError) as refused:
                example.handler(parcel, context)
            assert refused.value.retry_after_ms == 1
            clock.shift(0.001)
            answers.append(example.handler(parcel, context))

        monkeypatch.setattr(example, "send_to_printer", hang_at_first)
        thawed = example.handler(parcel, context)
        answers.append(example.handler(parcel, context))
        # Should the first one wake up after all, it gets the answer that stands.
        assert answers == [thawed, thawed]
        assert example.printed == ["PX-3001"]


class TestExceptions:
    def test_inside_nothing_is_kept_and_a_repeat_charges(
        self, load: Load, event: Event, context: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        example = load("options/exceptions.py")
        order = event("options/exceptions.json")
        with monkeypatch.context() as broken:
            broken.setattr(example, "charge", failing("the card was declined"))
            with pytest.raises(ConnectionError, match="the card was declined"):
                example.handler(order, context)
        assert example.store.client.scan(TableName="IdempotencyTable")["Items"] == []
        answer = example.handler(order, context)
        assert answer["statusCode"] == 200
        assert example.charged == ["sub-4711"]
        assert example.mailed == [answer["invoice"]]

    def test_outside_the_bill_stays_and_a_repeat_only_mails(
        self, load: Load, event: Event, context: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        example = load("options/exceptions.py")
        order = event("options/exceptions.json")
        with monkeypatch.context() as broken:
            broken.setattr(example, "mail", failing("no mail today"))
            with pytest.raises(ConnectionError, match="no mail today"):
                example.handler(order, context)
        assert example.charged == ["sub-4711"]
        answer = example.handler(order, context)
        assert example.charged == ["sub-4711"]
        assert example.mailed == [answer["invoice"]]


def failing(why: str) -> Callable[[str], str]:
    def fail(_: str) -> str:
        raise ConnectionError(why)

    return fail


def test_a_concurrent_request_learns_when_to_retry(
    load: Load,
    event: Event,
    context: object,
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    example = load("options/concurrent_calls.py")
    order = event("options/concurrent_calls.json")
    move, meanwhile = example.move, []

    def move_while_the_twin_asks(cents: int) -> str:
        clock.shift(10)
        meanwhile.append(example.handler(order, context))
        return move(cents)

    monkeypatch.setattr(example, "move", move_while_the_twin_asks)
    first = example.handler(order, context)
    again = example.handler(order, context)
    # The context gives an invocation 30 seconds, of which ten had passed.
    assert meanwhile == [{"statusCode": 409, "headers": {"Retry-After": "20"}, "body": "in progress"}]
    assert first["statusCode"] == 200
    assert again == first
    assert example.moved == [9900]


def test_an_order_that_comes_back_with_another_amount_is_refused(
    load: Load, event: Event, context: object
) -> None:
    example = load("options/payload_validation.py")
    order = event("options/payload_validation_first.json")
    first = example.handler(order, context)
    assert first["statusCode"] == 201
    refused = example.handler(event("options/payload_validation_changed.json"), context)
    assert refused == {"statusCode": 422, "body": "this order came with another amount before"}
    assert example.handler(order, context) == first
    assert example.charged == [9900]


class TestKeyRequired:
    def test_an_order_with_a_number_is_served_once(self, load: Load, event: Event, context: object) -> None:
        example = load("options/key_required.py")
        wish = event("options/key_required_success.json")
        first = example.handler(wish, context)
        assert first["statusCode"] == 200
        assert example.handler(wish, context) == first
        assert example.sold == ["B4"]

    def test_an_order_without_one_is_refused_before_anything_happens(
        self, load: Load, event: Event, context: object
    ) -> None:
        example = load("options/key_required.py")
        requests = requests_of(example)
        refused = example.handler(event("options/key_required_failure.json"), context)
        assert refused == {"statusCode": 400, "body": "send the number of your order"}
        assert example.sold == []
        assert requests == []


def test_replays_are_marked_and_first_answers_are_not(load: Load, event: Event, context: object) -> None:
    example = load("options/response_hook.py")
    now = int(time.time())
    order = event("options/response_hook.json")
    first = example.handler(order, context)
    replays = [example.handler(order, context) for _ in range(2)]
    assert first["headers"] == {"Content-Type": "application/json"}
    marked = first["headers"] | {"Idempotent-Replayed": "true", "Idempotent-Until": str(now + 3600)}
    assert replays == [first | {"headers": marked}] * 2
    assert example.sold == ["D9"]


def test_a_declined_card_stays_declined(load: Load) -> None:
    example = load("options/final_errors.py")
    order = {"id": "o-1", "amount": 120}
    for _ in range(3):
        with pytest.raises(example.CardDeclinedError) as declined:
            example.charge(order=order)
        assert declined.value.args == ("insufficient funds", 120)
    assert example.asked == ["o-1"]


class TestAskBeforeRepeating:
    def test_a_charge_that_was_made_is_found_and_one_that_was_not_is_made(
        self, load: Load, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        example = load("options/ask_before_repeating.py")
        for after in (True, False):
            order = {"number": f"n-{after}", "cents": 500}
            with monkeypatch.context() as dying:
                dying.setattr(example, "create_charge", _dying(example.create_charge, after=after))
                with pytest.raises(KeyboardInterrupt):
                    example.pay(order=order)
            charge = {"charge": f"ch_{1 if after else 2}"}
            assert example.pay(order=order) == example.pay(order=order) == charge
        assert len(example.charges) == 2

    def test_a_declined_card_frees_the_key(
        self, load: Load, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        example = load("options/ask_before_repeating.py")
        with pytest.raises(example.CardDeclinedError):
            example.pay(order={"number": "n-3", "cents": 200_000})
        assert example.pay.idempotency.inspect(order={"number": "n-3", "cents": 200_000}) is None


def _dying(create_charge: Any, *, after: bool) -> Any:
    def dies(order: Any) -> Any:
        if after:
            create_charge(order)
        raise KeyboardInterrupt

    return dies
