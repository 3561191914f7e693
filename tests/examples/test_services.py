"""Services: what callers of an endpoint, a queue, a task and a script see, and how often the effect ran."""

import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import httpx
import pytest
import time_machine

import servers
from idemproof.errors import IdempotencyAlreadyInProgressError

SERVICES = Path(__file__).parents[2] / "examples" / "services"
HUNG = 60  # seconds after which a test that waits for what never comes is given up
NOON = dt.datetime(2030, 11, 23, 12, tzinfo=dt.UTC)
Load = Callable[[str], ModuleType]


@pytest.fixture
def frozen() -> Iterator[None]:
    """Let the wall clock stand still, so that no lease ends while a busy machine is at a test."""
    with time_machine.travel(NOON, tick=False):
        yield


# FastAPI.

ORDER = {"show": "Metropolis, 8 p.m.", "seats": ["F7", "F8"]}
SOLD = {**ORDER, "receipt": "receipt of ada"}


@pytest.fixture
def shop(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: None) -> Iterator[ModuleType]:
    monkeypatch.setenv("DATABASE", str(tmp_path / "orders.db"))
    module = load("services/fastapi_orders.py")
    yield module
    module.store.close()


def client_of(shop: ModuleType) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(shop.app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://cinema")


def order(shop: ModuleType, key: str | None, customer: str = "ada", **changed: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}

    async def post() -> httpx.Response:
        async with client_of(shop) as client:
            return await client.post(f"/customers/{customer}/orders", json=ORDER | changed, headers=headers)

    return asyncio.run(post())


def test_an_order_is_charged_once_and_its_repeat_is_marked(
    shop: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = order(shop, "k-1"), order(shop, "k-1")
    assert (first.status_code, first.json()) == (201, SOLD)
    assert (second.status_code, second.json()) == (201, SOLD)
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert capsys.readouterr().out == "charging ada 24 euros\n"


@pytest.mark.parametrize("key", [None, ""])
def test_an_order_without_a_key_is_refused(
    shop: ModuleType, key: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = order(shop, key)
    assert refused.status_code == 400
    assert "Idempotency-Key" in refused.json()["detail"]
    assert capsys.readouterr().out == ""


def test_a_key_that_came_with_another_order_is_refused(
    shop: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    order(shop, "k-1")
    refused = order(shop, "k-1", seats=["A1"])
    assert refused.status_code == 422
    assert "another order" in refused.json()["detail"]
    assert capsys.readouterr().out == "charging ada 24 euros\n"


def test_keys_are_each_customers_own(shop: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    order(shop, "k-1")
    assert order(shop, "k-1", "grace").json()["receipt"] == "receipt of grace"
    assert capsys.readouterr().out == "charging ada 24 euros\ncharging grace 24 euros\n"


def test_a_repeat_of_a_running_order_learns_when_to_retry(
    shop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> tuple[httpx.Response, ...]:
        charging, may_go_on = asyncio.Event(), asyncio.Event()

        async def charge(customer: str, euros: int) -> str:
            charges.append(euros)
            if not charging.is_set():
                charging.set()
                await may_go_on.wait()
            return f"receipt of {customer}"

        monkeypatch.setattr(shop, "charge", charge)
        async with client_of(shop) as client:

            async def post() -> httpx.Response:
                return await client.post(
                    "/customers/ada/orders", json=ORDER, headers={"Idempotency-Key": "k-1"}
                )

            first = asyncio.create_task(post())
            await charging.wait()
            early = await post()
            may_go_on.set()
            return await first, early, await post()

    charges: list[int] = []
    first, early, late = asyncio.run(asyncio.wait_for(scenario(), HUNG))
    assert (first.status_code, first.json()) == (201, SOLD)
    assert (early.status_code, early.headers["Retry-After"]) == (409, "30")
    assert (late.status_code, late.json()) == (201, SOLD)
    assert late.headers["Idempotency-Replayed"] == "true"
    assert charges == [24]


def test_an_order_whose_payment_failed_may_be_repeated(
    shop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def declined(customer: str, euros: int) -> str:
        raise ConnectionError("the payment provider is down")

    with monkeypatch.context() as outage:
        outage.setattr(shop, "charge", declined)
        assert order(shop, "k-1").status_code == 500
    again = order(shop, "k-1")
    assert again.status_code == 201
    assert "Idempotency-Replayed" not in again.headers


# SQS.


@pytest.fixture
def queue_url(aws: None) -> str:
    """Return a queue that delivers again at once what was not deleted."""
    made = boto3.client("sqs").create_queue(QueueName="labels", Attributes={"VisibilityTimeout": "0"})
    return made["QueueUrl"]


def send(queue_url: str, **body: Any) -> None:
    boto3.client("sqs").send_message(QueueUrl=queue_url, MessageBody=json.dumps(body))


def left(queue_url: str) -> int:
    wanted = ["ApproximateNumberOfMessages"]
    reported = boto3.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=wanted)
    return int(reported["Attributes"][wanted[0]])


def test_a_message_that_is_delivered_again_prints_no_second_label(
    load: Load, queue_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = load("services/sqs_worker.py")
    send(queue_url, parcel="P-7", city="Ulm")

    def dies(**_: Any) -> None:
        raise SystemExit("killed between work and deletion")

    with monkeypatch.context() as dying:
        dying.setattr(worker.sqs, "delete_message", dies)
        with pytest.raises(SystemExit):
            worker.work(queue_url)
    assert left(queue_url) == 1
    worker.work(queue_url)
    assert left(queue_url) == 0
    assert capsys.readouterr().out == "label for P-7 to Ulm\n"


def test_a_parcel_that_is_sent_twice_gets_one_label(
    load: Load, queue_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = load("services/sqs_worker.py")
    for number, parcel in enumerate(("P-7", "P-7", "P-8")):
        send(queue_url, parcel=parcel, city="Ulm", sent_as=number)
    worker.work(queue_url)
    assert left(queue_url) == 0
    printed = capsys.readouterr().out.splitlines()
    assert sorted(printed) == ["label for P-7 to Ulm", "label for P-8 to Ulm"]


@pytest.mark.filterwarnings("default::idemproof.IdempotencyWarning")
def test_a_message_that_fails_stays_and_does_not_keep_others_waiting(
    load: Load, queue_url: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    worker = load("services/sqs_worker.py")
    send(queue_url, parcel=None, city="Ulm")  # no key
    send(queue_url, parcel="P-8", city="Ulm")
    worker.work(queue_url)
    assert left(queue_url) == 1
    assert capsys.readouterr().out == "label for P-8 to Ulm\n"
    assert "stays in the queue" in caplog.text


def test_a_message_whose_twin_is_at_work_elsewhere_stays(
    load: Load, queue_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = load("services/sqs_worker.py")
    send(queue_url, parcel="P-7", city="Ulm")

    def running_elsewhere(order: dict[str, str]) -> None:
        raise IdempotencyAlreadyInProgressError

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(worker, "print_label", running_elsewhere)
        worker.work(queue_url)
    assert left(queue_url) == 1
    worker.work(queue_url)
    assert (left(queue_url), capsys.readouterr().out) == (0, "label for P-7 to Ulm\n")


# Celery.

BILL = {"subscription": "S-42", "month": "2026-11", "cents": 900}
CHARGED = "charging 900 cents for S-42 in 2026-11\n"
SENT = "sending S-42/2026-11\n"


@pytest.fixture
def billing(
    load: Load, valkey_server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    monkeypatch.setenv("REDIS_URL", f"redis://{valkey_server.host}:{valkey_server.port}/9")
    module = load("services/celery_worker.py")
    module.store.client.flushdb()
    module.app.conf.task_always_eager = True
    yield module
    module.store.close()
    module.app.close()


def test_a_task_that_is_delivered_twice_charges_once(
    billing: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [billing.bill_subscription.delay(**BILL) for _ in range(2)]
    assert [result.get() for result in results] == ["S-42/2026-11"] * 2
    assert capsys.readouterr().out == CHARGED + SENT * 2


def test_a_task_that_is_tried_again_does_not_charge_again(
    billing: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outages = [ConnectionError("the mail server is down")] * 2
    send_invoice = billing.send_invoice

    def flaky(invoice: str) -> None:
        if outages:
            raise outages.pop()
        send_invoice(invoice)

    monkeypatch.setattr(billing, "send_invoice", flaky)
    assert billing.bill_subscription.delay(**BILL).get() == "S-42/2026-11"
    assert capsys.readouterr().out == CHARGED + SENT


def test_a_task_that_finds_its_twin_running_tries_again_when_that_ones_lease_has_ended(
    billing: ModuleType, monkeypatch: pytest.MonkeyPatch, frozen: None
) -> None:
    reported: list[dict[str, Any]] = []

    class PostponedError(Exception):
        pass

    def retry(**how: Any) -> Exception:
        reported.append(how)
        return PostponedError()

    def deliver_again_while_charging(text: str) -> None:
        if text + "\n" == CHARGED:
            with pytest.raises(PostponedError):
                billing.bill_subscription.run(**BILL)

    monkeypatch.setattr(billing.bill_subscription, "retry", retry)
    monkeypatch.setattr(billing, "print", deliver_again_while_charging, raising=False)
    assert billing.bill_subscription.run(**BILL) == "S-42/2026-11"
    assert [how["countdown"] for how in reported] == [120]


def test_the_task_is_acknowledged_late_and_survives_its_worker(billing: ModuleType) -> None:
    assert billing.bill_subscription.acks_late
    assert billing.bill_subscription.reject_on_worker_lost


# Programs.


def run(*command: str, **environment: str) -> list[str]:
    """Run a program as a user does, and return the lines that it prints."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=SERVICES,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_async_program_prints_one_label_for_three_tasks() -> None:
    assert run("async_function.py") == [
        "printing the label of P-1001",
        *["tracking number of P-1001"] * 3,
    ]


def test_of_tasks_that_ask_at_once_one_prints_the_label(
    load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], frozen: None
) -> None:
    module = load("services/async_function.py")

    async def scenario() -> list[Any]:
        asked, answer = asyncio.Event(), asyncio.Event()

        async def ask_the_carrier(parcel: str) -> str:
            if not asked.is_set():
                asked.set()
                await answer.wait()
            return "T-1"

        monkeypatch.setattr(module, "ask_the_carrier", ask_the_carrier)
        first = asyncio.create_task(module.print_label(parcel="P-1"))
        await asked.wait()
        others = await asyncio.gather(
            *(module.print_label(parcel="P-1") for _ in range(3)), return_exceptions=True
        )
        answer.set()
        return [await first, *others, await module.label_of("P-1")]

    first, *others, replay = asyncio.run(asyncio.wait_for(scenario(), HUNG))
    assert first == replay == {"parcel": "P-1", "tracking": "T-1"}
    assert [type(other) for other in others] == [IdempotencyAlreadyInProgressError] * 3
    assert capsys.readouterr().out == "printing the label of P-1\n"


def test_the_script_answers_its_second_run_from_its_file(tmp_path: Path) -> None:
    database = str(tmp_path / "billing.db")
    invoice = "invoice S-42/2026-11"
    assert run("sqlite_script.py", "2026-11", DATABASE=database) == [
        "charging 900 cents for 2026-11",
        invoice,
    ]
    assert run("sqlite_script.py", "2026-11", DATABASE=database) == [invoice]
    assert run("sqlite_script.py", "2026-12", DATABASE=database)[0] == "charging 900 cents for 2026-12"
