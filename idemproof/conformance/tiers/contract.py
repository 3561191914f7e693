"""The contract tier: each documented method returns, changes and raises what its documentation says."""

from ...spec.record import COMPLETED, INPROGRESS, Record
from ..harness import requests
from ..harness.requests import Answer
from ..suite.checks import Case, check
from ..suite.trace import Trace

HOUR_MS = 3_600_000

_IN_EVERY_LAYER = ("status", "expiry_timestamp", "in_progress_expiry_timestamp", "payload_hash")


def claim_of(case: Case, key: str, owner: str = "alice") -> Record:
    """Return a claim with a lease of one hour."""
    lease = case.now + HOUR_MS
    return Record(key, INPROGRESS, lease // 1000 + 3600, lease, payload_hash="a hash", owner=owner)


def result_of(claim: Record, response: str = '"done"') -> Record:
    """Return the result that a completion of ``claim`` stores."""
    return claim._replace(status=COMPLETED, in_progress_expiry_timestamp=None, response_data=response)


def put_claim(case: Case, claim: Record) -> Trace:
    """Let the first worker put ``claim`` under an unused key, and return the trace that begins with it."""
    trace = case.trace(claim.idempotency_key)
    answer = requests.put(case, case.layer, claim)
    trace.log("client 1", f"puts a claim: {_how(answer)}")
    case.require(
        answer.how == "done", "A claim was refused, although its key had no record.", trace, ["CAS-7"]
    )
    return trace


def complete(case: Case, claim: Record, trace: Trace, response: str = '"done"') -> Record:
    """Let the first worker complete its ``claim``, and return the result."""
    result = result_of(claim, response)
    answer = requests.update(case, case.layer, result)
    trace.log("client 1", f"completes it: {_how(answer)}")
    case.require(answer.how == "done", "The completion of a live claim was refused.", trace, ["CAS-8"])
    return result


def require_stored(case: Case, wanted: Record, trace: Trace, why: str) -> None:
    """Fail unless the other worker reads ``wanted``, in every field that this kind of layer stores."""
    answer = requests.get(case.workers[-1], wanted.idempotency_key)
    trace.log("client 2", f"reads the record: {_how(answer)}")
    case.require(answer.how == "done", f"{why}: no record was found.", trace)
    found = answer.record
    fields = ["response_data", "owner", *_IN_EVERY_LAYER] if case.layer.swaps else [*_IN_EVERY_LAYER]
    if wanted.status == COMPLETED and not case.layer.swaps:
        # A four-method layer may keep the lease of a completed record, and a claim has no response.
        fields.remove("in_progress_expiry_timestamp")
        fields.append("response_data")
    for field in fields:
        given, got = getattr(wanted, field), getattr(found, field)
        case.require(given == got, f"{why}: its {field} is {got!r}, not {given!r}.", trace)


def _how(answer: Answer) -> str:
    return {
        "done": "done",
        "exists": "IdempotencyItemAlreadyExistsError",
        "missing": "IdempotencyItemNotFoundError",
        "lost": "IdempotencyLeaseLostError",
    }[answer.how]


@check("contract", "CAS-1", "CAS-7")
def a_claim_comes_back_as_it_was_put(case: Case) -> None:
    """A claim is read as it was put, in every field that the protocol needs."""
    claim = claim_of(case, case.new_key())
    trace = put_claim(case, claim)
    require_stored(case, claim, trace, "The claim did not come back as it was put")


@check("contract", "CAS-1")
def a_missing_record_is_reported_as_missing(case: Case) -> None:
    """Reading a key that has no record raises IdempotencyItemNotFoundError."""
    key = case.new_key()
    trace = case.trace(key)
    answer = requests.get(case.layer, key)
    trace.log("client 1", f"reads an unused key: {_how(answer)}")
    case.require(
        answer.how == "missing" or answer == Answer("done"),
        f"Reading an unused key returned {answer.record!r} instead of raising IdempotencyItemNotFoundError.",
        trace,
    )
    case.require(
        answer.how == "missing",
        "Reading an unused key returned None instead of raising IdempotencyItemNotFoundError.",
        trace,
    )


@check("contract", "CAS-8")
def a_completion_stores_the_result(case: Case) -> None:
    """A result is stored with its status, response and expiry."""
    claim = claim_of(case, case.new_key())
    trace = put_claim(case, claim)
    later = claim._replace(expiry_timestamp=claim.expiry_timestamp + 7)
    result = complete(case, later, trace, '{"charged": 120}')
    answer = requests.get(case.workers[1], claim.idempotency_key)
    trace.log("client 2", f"reads the record: {_how(answer)}")
    case.require(answer.record is not None, "After a completion no record is stored.", trace)
    for field in ("status", "response_data", "expiry_timestamp"):
        given, got = getattr(result, field), getattr(answer.record, field)
        case.require(given == got, f"After a completion the stored {field} is {got!r}, not {given!r}.", trace)


@check(
    "contract",
    "CAS-8",
    seen_in="Powertools for AWS Lambda 3.37: its Redis layer drops the payload hash, and then rejects the "
    "same payload as changed",
)
def a_completion_keeps_the_payload_hash(case: Case) -> None:
    """A result is stored with its payload hash."""
    claim = claim_of(case, case.new_key())
    trace = put_claim(case, claim)
    complete(case, claim, trace)
    found = requests.get(case.layer, claim.idempotency_key).record
    got = None if found is None else found.payload_hash
    case.require(
        got == claim.payload_hash,
        f"The payload hash {claim.payload_hash!r} came back as {got!r} after the completion.",
        trace,
    )


@check("contract", "CAS-7", "TIME-2")
def a_live_claim_refuses_another_put(case: Case) -> None:
    """A put on a live claim raises IdempotencyItemAlreadyExistsError, and changes nothing."""
    claim = claim_of(case, case.new_key())
    trace = put_claim(case, claim)
    _refuse(case, claim, trace)


@check("contract", "CAS-7", "INV-2")
def a_live_result_refuses_another_put(case: Case) -> None:
    """A put on a live result raises IdempotencyItemAlreadyExistsError, and changes nothing."""
    claim = claim_of(case, case.new_key())
    trace = put_claim(case, claim)
    _refuse(case, complete(case, claim, trace), trace)


def _refuse(case: Case, current: Record, trace: Trace) -> None:
    before = requests.get(case.layer, current.idempotency_key)
    rival = claim_of(case, current.idempotency_key, "bob")
    answer = requests.put(
        case, case.workers[1], rival._replace(expiry_timestamp=current.expiry_timestamp + 1)
    )
    trace.log("client 2", f"puts another claim: {_how(answer)}")
    what = "claim" if current.status == INPROGRESS else "result"
    case.require(answer.how == "exists", f"A put was accepted although a live {what} existed.", trace)
    after = requests.get(case.layer, current.idempotency_key)
    case.require(after == before, f"A refused put changed the stored {what}.", trace)


@check("contract", "CAS-7", "INV-4")
def a_refusal_carries_the_stored_record_or_nothing(case: Case) -> None:
    """The old_data_record of a refusal, if present, is the stored record, because it is replayed."""
    for completed in (False, True):
        claim = claim_of(case, case.new_key())
        trace = put_claim(case, claim)
        current = complete(case, claim, trace, '"the answer"') if completed else claim
        answer = requests.put(case, case.workers[1], claim_of(case, claim.idempotency_key, "bob"))
        trace.log("client 2", f"puts another claim: {_how(answer)}")
        old = answer.record
        if answer.how != "exists" or old is None:
            continue  # another check tests the refusal itself, and a refusal need not carry a record
        for field in ("status", "expiry_timestamp", "payload_hash", *(["response_data"] * completed)):
            given, got = getattr(current, field), getattr(old, field)
            case.require(
                given == got,
                f"The refusal carried the {field} {got!r}; the stored record has {given!r}.",
                trace,
            )
        lease = old.in_progress_expiry_timestamp
        case.require(
            completed or lease in (None, claim.in_progress_expiry_timestamp),
            f"The refusal carried the lease {lease!r}, not the stored one.",
            trace,
        )


@check("contract", "CAS-8", "ROW-10")
def a_deleted_claim_is_gone(case: Case) -> None:
    """After a deletion the key is free at once."""
    claim = claim_of(case, case.new_key())
    trace = put_claim(case, claim)
    answer = requests.delete(case, case.layer, claim)
    trace.log("client 1", f"deletes its claim: {_how(answer)}")
    case.require(answer.how == "done", "A deletion by the owner of the claim was refused.", trace)
    answer = requests.get(case.workers[1], claim.idempotency_key)
    trace.log("client 2", f"reads the record: {_how(answer)}")
    case.require(answer.how != "done" or answer.record is None, "A deleted claim can still be read.", trace)
    answer = requests.put(case, case.workers[1], claim_of(case, claim.idempotency_key, "bob"))
    trace.log("client 2", f"puts a claim: {_how(answer)}")
    case.require(answer.how == "done", "After a deletion the key was still refused.", trace)


@check("contract", "CAS-1")
def what_one_writes_the_other_reads_at_once(case: Case) -> None:
    """A worker that has read a key sees what another worker stores later: no read is stale."""
    first, second = case.workers[0], case.workers[1]
    claim = claim_of(case, case.new_key())
    trace = case.trace(claim.idempotency_key)
    key, result = claim.idempotency_key, result_of(claim)
    requests.get(second, key)
    for what, ask, record, status in (
        ("puts a claim", requests.put, claim, INPROGRESS),
        ("completes it", requests.update, result, COMPLETED),
    ):
        answer = ask(case, first, record)
        trace.log("client 1", f"{what}: {_how(answer)}")
        seen = requests.get(second, key).record
        trace.log("client 2", "reads the record")
        case.require(
            seen is not None and seen.status == status,
            f"After one client had stored a record with the status {status}, the other client still read "
            f"{'nothing' if seen is None else seen.status}.",
            trace,
        )


@check("contract", "CAS-8", needs=("swaps",))
def a_lost_claim_is_reported(case: Case) -> None:
    """An update or deletion by an attempt that does not hold the claim raises IdempotencyLeaseLostError."""
    for completed in (False, True):
        for what, ask in (("update", requests.update), ("deletion", requests.delete)):
            claim = claim_of(case, case.new_key())
            trace = put_claim(case, claim)
            current = complete(case, claim, trace) if completed else claim
            answer = ask(case, case.workers[1], result_of(claim, '"late"')._replace(owner="bob"))
            trace.log("client 2", f"requests the {what} of another client's record: {_how(answer)}")
            require_stored(case, current, trace, f"The {what} by another client changed the record")
            case.require(
                answer.how == "lost",
                f"The {what} of another client's record did not raise IdempotencyLeaseLostError.",
                trace,
            )


@check("contract", "CAS-9", needs=("swaps",))
def a_request_without_an_owner_acts_as_the_holder(case: Case) -> None:
    """Without an owner, an update completes the stored claim, and a deletion removes it."""
    claim = claim_of(case, case.new_key())
    trace = put_claim(case, claim)
    without_owner = result_of(claim)._replace(owner=None)
    answer = requests.update(case, case.workers[1], without_owner)
    trace.log("client 2", f"completes without naming an owner: {_how(answer)}")
    case.require(answer.how == "done", "An update that names no owner was refused.", trace)
    require_stored(case, without_owner, trace, "An update that names no owner did not complete the claim")
    claim = claim_of(case, case.new_key())
    trace = put_claim(case, claim)
    answer = requests.delete(case, case.workers[1], claim._replace(owner=None))
    trace.log("client 2", f"deletes without naming an owner: {_how(answer)}")
    case.require(answer.how == "done", "A deletion that names no owner was refused.", trace)
    left = requests.get(case.layer, claim.idempotency_key)
    case.require(left.how == "missing", "A deletion that names no owner left the claim stored.", trace)


@check("contract", "CAS-9", "INV-2", needs=("swaps",))
def a_request_without_an_owner_leaves_a_live_result_alone(case: Case) -> None:
    """Without an owner, neither an update nor a deletion changes a live result."""
    for what, ask in (("update", requests.update), ("deletion", requests.delete)):
        claim = claim_of(case, case.new_key())
        trace = put_claim(case, claim)
        result = complete(case, claim, trace)
        ask(case, case.workers[1], result._replace(owner=None, response_data='"another"'))
        trace.log("client 2", f"requests the {what} without naming an owner")
        require_stored(case, result, trace, f"The {what} that names no owner changed a live result")
