"""Three tasks want the label of one parcel at the same time: it is printed once, and all three get it.

While the first task runs, the others get `IdempotencyAlreadyInProgressError`. They wait and retry until they
get the stored result.
"""

import asyncio

from idemproof import AsyncInMemoryPersistenceLayer, IdempotencyConfig, idempotent_function
from idemproof.errors import IdempotencyAlreadyInProgressError

store = AsyncInMemoryPersistenceLayer()  # for one process
config = IdempotencyConfig(in_progress_expires_after_seconds=300)


async def ask_the_carrier(parcel: str) -> str:
    """Simulate a slow request."""
    await asyncio.sleep(0.05)
    return f"tracking number of {parcel}"


@idempotent_function(data_keyword_argument="parcel", persistence_store=store, config=config)
async def print_label(parcel: str) -> dict:
    print(f"printing the label of {parcel}")
    return {"parcel": parcel, "tracking": await ask_the_carrier(parcel)}


async def label_of(parcel: str) -> dict:
    while True:
        try:
            return await print_label(parcel=parcel)
        except IdempotencyAlreadyInProgressError:
            await asyncio.sleep(0.02)


async def main() -> None:
    for label in await asyncio.gather(*(label_of("P-1001") for _ in range(3))):
        print(label["tracking"])


if __name__ == "__main__":
    asyncio.run(main())
