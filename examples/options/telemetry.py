import idemproof
from idemproof import IdempotencyConfig, InMemoryPersistenceLayer, idempotent_function
from idemproof.otel import Telemetry

idemproof.set_default_observers([Telemetry()])  # after the SDK is set up


@idempotent_function(
    data_keyword_argument="order",
    persistence_store=InMemoryPersistenceLayer(),
    config=IdempotencyConfig(in_progress_expires_after_seconds=60),
)
def charge(order: str) -> str:
    return f"charged {order}"
