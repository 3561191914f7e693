"""The deliveries of the demo, as the sender of the webhooks knows them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import Any

LIMIT_MS = 30_000
"""How long an invocation may run, unless its delivery says otherwise."""


@dataclass(frozen=True)
class Payment:
    """What the sender wants to happen once.

    Parameters
    ----------
    id
        Names the payment.
    amount
        In the currency's smallest unit.
    currency
        ISO 4217 code.
    customer
        Who pays.
    """

    id: str
    amount: int
    currency: str
    customer: str


@dataclass(frozen=True)
class Delivery:
    """One delivery of a webhook: the event, and how the demo delivers it.

    Parameters
    ----------
    event
        What Lambda gets from API Gateway (REST, proxy integration).
    worker
        The process that it is delivered to.
    expect
        The outcomes that are right.
    title
        What the demo shows from here on.
    together
        Adjacent deliveries with the same value here are delivered at the same time.
    once_inside
        Whether it is sent only when one of them is known to be running.
    kill
        Whether the worker is killed while it runs.
    bank
        How the bank fails, if it does.
    after_lease
        Whether it is sent only when the lease that blocks its payment has ended.
    time_limit_ms
        How long the invocation may run. Its lease is that long.
    """

    event: dict[str, Any]
    worker: str
    expect: tuple[str, ...]
    title: str | None = None
    together: str | None = None
    once_inside: bool = False
    kill: bool = False
    bank: str | None = None
    after_lease: bool = False
    time_limit_ms: int = LIMIT_MS

    @property
    def id(self) -> str:
        """The delivery's own name; a repeat of the same webhook has another."""
        return str(self.event["headers"]["X-Webhook-Delivery"])

    @property
    def payment(self) -> Payment:
        """The payment, read without any of the library's help."""
        body = json.loads(self.event["body"])
        return Payment(body["payment_id"], body["amount"], body["currency"], body["customer"])


def shipped() -> list[Delivery]:
    """Return the deliveries that come with the package, in the order in which they are made."""
    return read(files(__package__).joinpath("webhooks.jsonl").read_text(encoding="utf-8"))


def read(text: str) -> list[Delivery]:
    """Read deliveries, one JSON object a line: ``{"delivery": {…}, "event": {…}}``."""
    deliveries = []
    for line in text.splitlines():
        found = json.loads(line)
        how = {**found["delivery"], "expect": tuple(found["delivery"]["expect"])}
        deliveries.append(Delivery(found["event"], **how))
    return deliveries


def payments(deliveries: Iterable[Delivery]) -> dict[str, Payment]:
    """Return the payments to charge, each as its first delivery describes it."""
    wanted: dict[str, Payment] = {}
    for delivery in deliveries:
        wanted.setdefault(delivery.payment.id, delivery.payment)
    return wanted


def scenes(deliveries: Iterable[Delivery]) -> Iterator[list[Delivery]]:
    """Yield the deliveries in order, those that are made at the same time in one list."""
    for together, group in groupby(deliveries, key=lambda delivery: delivery.together):
        if together is None:
            for delivery in group:
                yield [delivery]
        else:
            yield list(group)
