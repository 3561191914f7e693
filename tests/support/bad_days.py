"""What DynamoDB answers on a bad day, and what a call then gets: the documentation's table, and its tests."""

from typing import NamedTuple


class Answer(NamedTuple):
    """An error of DynamoDB's, or something that is none of its own."""

    code: str
    status: int = 400
    message: str = "not now"


class BadDay(NamedTuple):
    """One row of the table: answers that mean the same."""

    what: str
    answers: tuple[Answer, ...]
    claim: str
    """The error of a claim; nothing has run."""
    requests: int
    """How many requests a claim makes at most, with those that take it back."""
    waits_ms: int
    """How long it waits between them."""
    result: str
    """What becomes of a result."""

    def at_most(self, request_ms: int) -> float:
        """Return how many seconds a claim takes at most, if a request may take so long."""
        return (self.waits_ms + (self.requests * request_ms if HUNG in self.answers else 0)) / 1000


CONNECTION = "IdempotencyPersistenceConnectionError"
CONFIG = "IdempotencyPersistenceConfigError"
TOO_LARGE = "IdempotencyRecordTooLargeError"
LATER = "tried again"
MARKED = "marked"

HUNG = Answer("no answer within the time limit", 0)
CUT = Answer("the end of the connection", 0)
PAGE = Answer("a page in HTML", 502)
LOGIN = Answer("a page in HTML", 200)
EMPTY = Answer("nothing", 200)
OTHER = Answer("another service", 200)

BAD_DAYS = (
    BadDay(
        "throttles",
        (
            Answer("ProvisionedThroughputExceededException"),
            Answer("ThrottlingException"),
            Answer("RequestLimitExceeded"),
            Answer("LimitExceededException"),
            Answer("ResourceInUseException"),
        ),
        *(CONNECTION, 6, 150, LATER),
    ),
    BadDay(
        "fails: 500, 502, 503, 504",
        (
            Answer("InternalServerError", 500),
            Answer("InternalFailure", 500),
            Answer("BadGateway", 502),
            Answer("ServiceUnavailable", 503),
            Answer("GatewayTimeout", 504),
            PAGE,
        ),
        *(CONNECTION, 6, 150, LATER),
    ),
    BadDay(
        "conflicts with a transaction",
        (
            Answer("TransactionConflictException", 400, "Transaction is ongoing for the item"),
            Answer("TransactionInProgressException"),
        ),
        *(CONNECTION, 6, 150, LATER),
    ),
    BadDay("cuts the connection", (CUT,), *(CONNECTION, 6, 150, LATER)),
    BadDay("is not who answers, but a proxy", (LOGIN, EMPTY, OTHER), *(CONNECTION, 6, 150, LATER)),
    BadDay("does not answer", (HUNG,), *(CONNECTION, 6, 150, LATER)),
    BadDay(
        "refuses the credentials: expired, unknown, not allowed",
        (
            Answer("ExpiredTokenException", 400, "The security token included in the request is expired"),
            Answer("ExpiredToken"),
            Answer("UnrecognizedClientException"),
            Answer("InvalidClientTokenId", 403),
            Answer("MissingAuthenticationTokenException", 403),
            Answer("AccessDeniedException", 400, "User: a is not authorized to perform: dynamodb:PutItem"),
            Answer("AccessDenied", 403),
        ),
        *(CONFIG, 2, 0, LATER),
    ),
    BadDay(
        "refuses the signature or its time",
        (
            Answer("InvalidSignatureException", 400, "Signature expired: 20261129T1 is now earlier than"),
            Answer("InvalidSignatureException", 400, "Signature not yet current: 20261129T1"),
            Answer("InvalidSignatureException", 400, "The request signature we calculated does not match"),
            Answer("RequestTimeTooSkewed", 403, "The difference between the request time and the current"),
            Answer("RequestExpired", 400, "Request has expired."),
            Answer("SignatureDoesNotMatch", 403),
            Answer("IncompleteSignatureException"),
        ),
        *(CONFIG, 2, 0, LATER),
    ),
    BadDay(
        "has no such table, or is creating it",
        (Answer("ResourceNotFoundException", 400, "Requested resource not found"),),
        *(CONFIG, 2, 0, LATER),
    ),
    BadDay(
        "has a table with another key",
        (
            Answer("ValidationException", 400, "The provided key element does not match the schema"),
            Answer("ValidationException", 400, "One of the required keys was not given a value"),
        ),
        *(CONFIG, 2, 0, MARKED),
    ),
    BadDay(
        "cannot store the record: item over 400 KB, an index's key too long, item collection of 10 GB",
        (
            Answer("ValidationException", 400, "Item size has exceeded the maximum allowed size"),
            Answer("ValidationException", 400, "Item size to update has exceeded the maximum allowed size"),
            Answer(
                "ValidationException", 400, "Size of hashkey has exceeded the maximum size limit of2048 bytes"
            ),
            Answer(
                "ValidationException", 400, "Aggregated size of all range keys has exceeded the size limit"
            ),
            Answer("ItemCollectionSizeLimitExceededException", 400, "Collection size exceeded."),
        ),
        *(TOO_LARGE, 2, 0, MARKED),
    ),
)
