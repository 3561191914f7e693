"""The deliveries of the demo, as the sender of the webhooks sees them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import Any

LIMIT_MS = 30_000
"""The default time limit of an invocation, in milliseconds."""


@dataclass(frozen=True)
class Payment:
    """A payment that the sender wants to happen once.

    Parameters
    ----------
    id
        The payment's id.
    amount
        In the currency's smallest unit.
    currency
        ISO 4217 code.
    customer
        The customer that pays.
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
        The event that Lambda gets from API Gateway (REST, proxy integration).
    worker
        The process that gets the delivery.
    expect
        The correct outcomes.
    title
        A title for this and the next deliveries.
    together
        Adjacent deliveries with the same value are sent at the same time.
    once_inside
        Whether it is sent only when another delivery of the group is known to be running.
    kill
        Whether the worker is killed while the handler runs.
    bank
        The error of the bank, or None.
    after_lease
        Whether it is sent only when the lease that blocks its payment has ended.
    time_limit_ms
        The time limit of the invocation in milliseconds, which is also its lease.
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
        """The delivery's id. A repeat of the same webhook has another id."""
        return str(self.event["headers"]["X-Webhook-Delivery"])

    @property
    def payment(self) -> Payment:
        """The payment, read without the library."""
        body = json.loads(self.event["body"])
        return Payment(body["payment_id"], body["amount"], body["currency"], body["customer"])


def shipped() -> list[Delivery]:
    """Return the deliveries in the package, in the order in which they are made."""
    return read(files(__package__).joinpath("webhooks.jsonl").read_text(encoding="utf-8"))


def read(text: str) -> list[Delivery]:
    """Parse deliveries from lines with one JSON object each: ``{"delivery": {…}, "event": {…}}``."""
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
    """Yield the deliveries in order; those that are made at the same time are in one list."""
    for together, group in groupby(deliveries, key=lambda delivery: delivery.together):
        if together is None:
            for delivery in group:
                yield [delivery]
        else:
            yield list(group)
