"""The code that a user of the library writes: a Lambda handler that charges a payment."""

import json
from pathlib import Path
from typing import Any, Protocol

from idemproof import NOT_DONE, IdempotencyConfig, SQLitePersistenceLayer, idempotent


class Bank(Protocol):
    """The bank that holds the money."""

    def contact(self) -> None:
        """Ask the bank whether it will pay. This takes time, and may raise an error."""

    def charge(self, payment: dict[str, Any]) -> str:
        """Take the money: the effect that must happen once. Return the charge's id."""

    def find(self, payment_id: str) -> str | None:
        """Return the id of the charge of a payment, or None if there is none."""


class Handler(Protocol):
    """A Lambda handler."""

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Return the response to the webhook."""


def protected_handler(bank: Bank, store: Path, *, asks: bool = False) -> Handler:
    """Return the handler, protected by Idemproof.

    Parameters
    ----------
    bank
        The bank that holds the money.
    store
        The file that all workers share.
    asks
        Whether the bank is asked before a charge is repeated that may have been made.
    """

    def look_up(event: dict[str, Any], context: Any) -> Any:  # noqa: ARG001 - as the handler is called
        payment = json.loads(event["body"])
        charge = bank.find(payment["payment_id"])
        return NOT_DONE if charge is None else receipt(payment, charge)

    protect = idempotent(
        config=IdempotencyConfig(
            event_key_jmespath="powertools_json(body).payment_id",
            payload_validation_jmespath="powertools_json(body).[amount, currency]",
            in_progress_expires_after_seconds=30,
        ),
        persistence_store=SQLitePersistenceLayer(store),
        on_takeover=look_up if asks else None,
    )
    return protect(payment_handler(bank))


def payment_handler(bank: Bank) -> Handler:
    """Return the handler without protection: it charges each time it is called.

    Parameters
    ----------
    bank
        The bank that holds the money.
    """

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - as Lambda calls it
        payment = json.loads(event["body"])
        bank.contact()
        return receipt(payment, bank.charge(payment))

    return handler


def receipt(payment: dict[str, Any], charge: str) -> dict[str, Any]:
    """Return the response to the webhook of a payment."""
    receipt = {
        "payment_id": payment["payment_id"],
        "charge_id": charge,
        "amount": payment["amount"],
        "currency": payment["currency"],
    }
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(receipt),
    }
