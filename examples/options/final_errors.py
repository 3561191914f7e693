from typing import Any

from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function


class CardDeclinedError(Exception):
    """The bank said no, and would say so again."""


config = IdempotencyConfig(
    event_key_jmespath="id", in_progress_expires_after_seconds=60, final_errors=(CardDeclinedError,)
)
asked: list[str] = []


def ask_bank(order: dict[str, Any]) -> str:
    asked.append(order["id"])
    raise CardDeclinedError("insufficient funds", order["amount"])


@idempotent_function(
    data_keyword_argument="order", persistence_store=InMemoryPersistenceLayer(), config=config
)
def charge(order: dict[str, Any]) -> str:
    return ask_bank(order)
