"""What is known about a completion within a transaction of the application."""

from typing import Any

from ..backends.within import Client, Records
from ..spec.errors import IdempotencyError
from ..spec.events import CompleteWithin
from ..spec.record import Record


class Completion:
    """A completion within a transaction that was sent, or will be.

    Parameters
    ----------
    event
        What the table is asked.
    claim
        The claim that it replaces.
    now
        When it was decided (epoch milliseconds).
    client
        The connection; None if the application sends the completion itself.
    records
        Where the records are; None without a connection.
    """

    __slots__ = (
        "answer",
        "claim",
        "client",
        "event",
        "is_committed",
        "may_arrive",
        "may_be_torn",
        "now",
        "records",
        "refusal",
        "transaction",
        "was_rolled_back",
    )

    def __init__(
        self,
        event: CompleteWithin,
        claim: Record,
        now: int,
        client: Client | None = None,
        records: Records | None = None,
    ) -> None:
        self.event = event
        self.claim = claim
        self.now = now
        self.client = client
        self.records = records
        # Why nothing was written, so that the transaction cannot commit.
        self.refusal: IdempotencyError | None = None
        # Whether a savepoint may be rolled back alone, so that the effect is committed without a record.
        self.may_be_torn = False
        # Whether the record was found committed.
        self.is_committed = False
        # Whether it was over and not recorded, so that its commit may still arrive if the release fails.
        self.may_arrive = False
        # What the caller gets, once the result is found recorded.
        self.answer: Any = None
        # The number of the transaction, if the database tells.
        self.transaction: int | None = None
        # Whether a refusal has rolled the transaction back, so that what is open now is a later one.
        self.was_rolled_back = False

    @property
    def table(self) -> Records:
        """Where the records are, as the connection finds them."""
        assert self.records is not None  # there is a connection
        return self.records

    @property
    def is_open(self) -> bool:
        """Whether the transaction may still be open."""
        if self.client is None or self.was_rolled_back:
            return False
        return self.client.is_open() and not self.client.is_over()
