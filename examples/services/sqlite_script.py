"""A script that bills a subscription, and can be run again when in doubt: `python sqlite_script.py 2026-11`.

The first run charges and prints the invoice. Every later run for that month prints the same invoice, from the
file next to it, and charges nothing.
"""

import os
import sys

from idemproof import IdempotencyConfig, SQLitePersistenceLayer, idempotent_function

store = SQLitePersistenceLayer(os.environ.get("DATABASE", "billing.db"))
config = IdempotencyConfig(
    expires_after_seconds=400 * 24 * 3600,  # longer than anyone will retry
    in_progress_expires_after_seconds=60,
)


@idempotent_function(
    data_keyword_argument="month",
    persistence_store=store,
    config=config,
    key_prefix="billing",  # replaces the module's name, which is __main__ for a script
)
def bill(month: str) -> str:
    print(f"charging 900 cents for {month}")
    return f"invoice S-42/{month}"


if __name__ == "__main__":
    print(bill(month=sys.argv[1]))
