from idemproof import Idempotency, IdempotencyConfig, SQLitePersistenceLayer

payments = Idempotency(
    SQLitePersistenceLayer("payments.db"),
    IdempotencyConfig(in_progress_expires_after_seconds=60),
    key_prefix="payments",
)


def charge(order: str, amount: int) -> dict[str, object]:
    return {"order": order, "charged": amount}


def on_message(message: dict[str, object]) -> str:
    order, amount = str(message["order"]), int(str(message["amount"]))
    answer = payments.run(f"order {order}", lambda: charge(order, amount))
    return f"{'replayed' if answer.replayed else 'charged'}: {answer.value['charged']}"
