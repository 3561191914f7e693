"""The errors of attempts that complete within transactions (TXN-2, TXN-6, TXN-7)."""

from ..backends.within import NOT_VISIBLE, ROLLED_BACK, Client, Records
from ..spec.errors import IdempotencyTransactionError

ALREADY_COMPLETED, RESULT_DIFFERS, LEASE_REQUIRED = (
    "AlreadyCompleted",
    "ResultDiffers",
    "LeaseRequired",
)


def unusable(key: str, what: str, kind: str) -> IdempotencyTransactionError:
    """Return the error for a connection that is in no state to complete."""
    return IdempotencyTransactionError(
        f"The attempt on {key!r} cannot complete within this connection: {what}. Nothing was written.",
        kind=kind,
    )


def completed_before(key: str) -> IdempotencyTransactionError:
    """Return the error for a second completion."""
    return IdempotencyTransactionError(
        f"The attempt on {key!r} has completed within a transaction before, or has tried to. Nothing was "
        "written now. Complete once in a call. To repeat a transaction that the database has rolled back, "
        "let the error leave the function, and call it again.",
        kind=ALREADY_COMPLETED,
    )


def of_another(client: Client, records: Records) -> str:
    """Return why a connection to another kind of database sees no claim."""
    return (
        f"it is of a database of {client.dialect or 'unknown kind'}, and the records are in {records.dialect}"
    )


def not_visible(key: str, why: str, *, unsent: bool = False) -> IdempotencyTransactionError:
    """Return the error for a transaction that does not see the claim."""
    left = "Nothing was written" if unsent else "The transaction cannot commit"
    return IdempotencyTransactionError(
        f"The transaction does not see the claim on {key!r}: {why}. {left}. Use a connection to the database "
        "of the records, and begin the transaction in the function.",
        kind=NOT_VISIBLE,
    )


def rolled_back(key: str, why: str) -> IdempotencyTransactionError:
    """Return the error for a completion that is not recorded."""
    return IdempotencyTransactionError(
        f"The function for {key!r} completed within a transaction, but its result is not recorded: {why}. "
        "Let errors of the transaction leave the function. Then retry.",
        kind=ROLLED_BACK,
    )


def unrecorded(key: str, *, sent: bool, ended: bool, may_be_torn: bool) -> IdempotencyTransactionError:
    """Return the error for a function that returned, although its completion is not recorded.

    Parameters
    ----------
    key
        The key of the call.
    sent
        Whether the completion was sent here, and not left to the application.
    ended
        Whether the transaction has ended.
    may_be_torn
        Whether it may have been committed without the record.
    """
    if not sent:
        return rolled_back(key, "the application did not send it, or the database has refused it")
    if ended and may_be_torn:
        return rolled_back(
            key,
            "the transaction was rolled back, or only a savepoint, and its effect committed, or its commit "
            "is still on its way. Check it",
        )
    if ended:
        return rolled_back(
            key,
            "the transaction was rolled back, or only prepared, and nothing that it contained has happened",
        )
    return rolled_back(key, "it was rolled back in the transaction, which cannot commit any more")


def differs(key: str, *, committed: bool, stored: bool) -> IdempotencyTransactionError:
    """Return the error for a function that returned something else than it had completed with."""
    what = "something else than it had completed with"
    if not stored:
        what = "what cannot be stored, and had completed with something else"
    end = "Its transaction cannot commit any more"
    if committed:
        end = "The transaction was committed before, so repeats get what was completed"
    return IdempotencyTransactionError(
        f"The function for {key!r} returned {what}. {end}. This error carries what was returned. Return what "
        "complete() returns.",
        kind=RESULT_DIFFERS,
    )
