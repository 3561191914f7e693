from idemproof import (
    IdempotencyConfig,
    InMemoryPersistenceLayer,
    Occurrence,
    idempotent_function,
)

seen: list[Occurrence] = []


def report(occurrence: Occurrence) -> None:
    seen.append(occurrence)
    print(f"{occurrence.kind:<16} {occurrence.row:<6} {occurrence.duration_ms:>4} ms")


config = IdempotencyConfig(in_progress_expires_after_seconds=60, observers=[report])


@idempotent_function(
    data_keyword_argument="order",
    persistence_store=InMemoryPersistenceLayer(),
    config=config,
)
def charge(order: str) -> str:
    return f"charged {order}"


if __name__ == "__main__":
    charge("A-17")
    charge("A-17")
