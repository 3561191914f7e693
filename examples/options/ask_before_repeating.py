"""Ask the payment provider before a charge is repeated that may have been made.

The provider keeps the order's number with each charge, so that it can be asked. ``find`` returns the charge
of an order, or None.
"""

from typing import Any

from idemproof import NOT_DONE, IdempotencyConfig, SQLitePersistenceLayer, idempotent_function

store = SQLitePersistenceLayer("idempotency.db")
charges: dict[str, str] = {}


class CardDeclinedError(Exception):
    """The provider has refused. Nothing was charged."""


def create_charge(order: dict[str, Any]) -> str:
    if order["cents"] > 100_000:
        raise CardDeclinedError(order["number"])
    return charges.setdefault(order["number"], f"ch_{len(charges) + 1}")


def find(number: str) -> str | None:
    return charges.get(number)


def look_up(order: dict[str, Any]) -> Any:
    charge = find(order["number"])
    return NOT_DONE if charge is None else {"charge": charge}


config = IdempotencyConfig(in_progress_expires_after_seconds=60, released_errors=(CardDeclinedError,))


@idempotent_function(
    data_keyword_argument="order",
    persistence_store=store,
    config=config,
    on_takeover=look_up,
)
def pay(order: dict[str, Any]) -> dict[str, Any]:
    return {"charge": create_charge(order)}
