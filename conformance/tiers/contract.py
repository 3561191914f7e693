"""The contract tier: each method does what is documented, and every field comes back as it was given."""

from ...spec.errors import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from ...spec.record import COMPLETED, INPROGRESS, Record
from ..suite.checks import Case, check, same

HOUR_MS = 3_600_000


def claim_of(case: Case, key: str, owner: str = "alice") -> Record:
    """Return a claim that holds for an hour."""
    lease = case.now + HOUR_MS
    return Record(key, INPROGRESS, lease // 1000 + 3600, lease, payload_hash="a hash", owner=owner)


def result_of(claim: Record, response: str = '"done"') -> Record:
    """Return what the completion of ``claim`` stores."""
    return claim._replace(status=COMPLETED, in_progress_expiry_timestamp=None, response_data=response)


@check("contract", "CAS-1", "CAS-3")
def a_claim_comes_back_as_it_was_put(case: Case) -> None:
    """What was put is what is read, in every field that the protocol needs."""
    claim = claim_of(case, case.new_key())
    story = case.story(claim.idempotency_key)
    case.layer.put(claim)
    story.tell("client 1", "puts a claim")
    found = case.layer.get(claim.idempotency_key)
    story.tell("client 1", "reads it")
    case.require(found[1] == INPROGRESS, f"The claim came back with the status {found[1]!r}.", story)
    for field in ("expiry_timestamp", "in_progress_expiry_timestamp", "payload_hash"):
        given, got = getattr(claim, field), getattr(found, field)
        case.require(given == got, f"The {field} {given!r} came back as {got!r}.", story)
    if case.layer.swaps:
        case.require(
            same(case.layer.load(claim.idempotency_key), claim), "The claim came back changed.", story
        )


@check("contract", "CAS-3")
def a_missing_record_is_reported_as_missing(case: Case) -> None:
    """Reading a key that nothing stands for raises IdempotencyItemNotFoundError."""
    key = case.new_key()
    story = case.story(key)
    try:
        found = case.layer.get(key)
    except IdempotencyItemNotFoundError:
        return
    case.fail(f"Reading an unused key gave {found!r}, not IdempotencyItemNotFoundError.", story)


@check(
    "contract",
    "CAS-8",
    seen_in="Powertools for AWS Lambda 3.37: its Redis layer forgets the payload hash, and refuses the same "
    "payload as tampered with",
)
def a_completion_keeps_the_payload_hash(case: Case) -> None:
    """A result is stored with the payload hash it was given."""
    claim = claim_of(case, case.new_key())
    story = case.story(claim.idempotency_key)
    case.layer.put(claim)
    story.tell("client 1", "puts a claim")
    case.layer.update(result_of(claim))
    story.tell("client 1", "completes it")
    found = case.layer.get(claim.idempotency_key)
    case.require(
        found.payload_hash == claim.payload_hash,
        f"The payload hash {claim.payload_hash!r} came back as {found.payload_hash!r} after the completion.",
        story,
    )


@check("contract", "CAS-7", "TIME-2")
def a_live_claim_refuses_another_put(case: Case) -> None:
    """A put on a live claim raises IdempotencyItemAlreadyExistsError, and changes nothing."""
    claim = claim_of(case, case.new_key())
    story = case.story(claim.idempotency_key)
    case.layer.put(claim)
    story.tell("client 1", "puts a claim")
    try:
        case.workers[1].put(claim._replace(owner="bob", expiry_timestamp=claim.expiry_timestamp + 1))
    except IdempotencyItemAlreadyExistsError:
        story.tell("client 2", "puts another, and is refused")
    else:
        story.tell("client 2", "puts another, and is let in")
        case.fail("Two attempts were given the same key.", story)
    found = case.layer.get(claim.idempotency_key)
    case.require(
        found.expiry_timestamp == claim.expiry_timestamp, "A refused put changed what stands.", story
    )
