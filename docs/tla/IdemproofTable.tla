---------------------------- MODULE IdemproofTable ----------------------------
(* The table of the protocol: what an event does to the record of one key, and what the caller gets. The   *)
(* rows are those of idemproof/spec/transition.py; tools/regenerate.py translates them from their Python   *)
(* source and writes this file. A record, an event and an outcome have the fields that they have there.    *)
(* Deadlines and "now" are in milliseconds, expiries in seconds.                                           *)
EXTENDS Integers

CONSTANTS
    None,            \* no record, no lease, no response, no payload hash, no owner
    ExecutionOf(_)   \* the durable execution that an owner token names, or None (DUR-1)

------------------------------------------------------------------------------
(* Values *)

ASK == "ask"
COMPLETED == "COMPLETED"
INPROGRESS == "INPROGRESS"
REFUSE == "refuse"
RUN == "run"

Record(idempotency_key, status, expiry_timestamp, in_progress_expiry_timestamp, response_data,
        payload_hash, owner) ==
    [idempotency_key |-> idempotency_key,
     status |-> status,
     expiry_timestamp |-> expiry_timestamp,
     in_progress_expiry_timestamp |-> in_progress_expiry_timestamp,
     response_data |-> response_data,
     payload_hash |-> payload_hash,
     owner |-> owner]

Claim(owner, lease, expiry, payload_hash, idempotency_key, policy) ==
    [kind |-> "Claim",
     owner |-> owner,
     lease |-> lease,
     expiry |-> expiry,
     payload_hash |-> payload_hash,
     idempotency_key |-> idempotency_key,
     policy |-> policy]

Complete(owner, response, payload_hash, expiry, idempotency_key) ==
    [kind |-> "Complete",
     owner |-> owner,
     response |-> response,
     payload_hash |-> payload_hash,
     expiry |-> expiry,
     idempotency_key |-> idempotency_key]

CompleteWithin(owner, response, payload_hash, expiry, idempotency_key) ==
    [kind |-> "CompleteWithin",
     owner |-> owner,
     response |-> response,
     payload_hash |-> payload_hash,
     expiry |-> expiry,
     idempotency_key |-> idempotency_key]

Release(owner) == [kind |-> "Release", owner |-> owner]

Renew(owner, lease) == [kind |-> "Renew", owner |-> owner, lease |-> lease]

Evict == [kind |-> "Evict"]

Abandon(owner) == [kind |-> "Abandon", owner |-> owner]

Claimed(record, took_over, asks) ==
    [kind |-> "Claimed",
     record |-> record,
     took_over |-> took_over,
     asks |-> asks]

PayloadMismatch(record) == [kind |-> "PayloadMismatch", record |-> record]

InProgress(record, retry_after) ==
    [kind |-> "InProgress",
     record |-> record,
     retry_after |-> retry_after]

UnknownOutcome(record) == [kind |-> "UnknownOutcome", record |-> record]

Replay(record) == [kind |-> "Replay", record |-> record]

Completed(record) == [kind |-> "Completed", record |-> record]

Superseded(record) == [kind |-> "Superseded", record |-> record]

LeaseLost(record) == [kind |-> "LeaseLost", record |-> record]

Released == [kind |-> "Released"]

Abandoned(record) == [kind |-> "Abandoned", record |-> record]

NotHeld == [kind |-> "NotHeld"]

Renewed(record) == [kind |-> "Renewed", record |-> record]

Evicted == [kind |-> "Evicted"]

Kept == [kind |-> "Kept"]

Max(one, other) == IF one > other THEN one ELSE other

------------------------------------------------------------------------------
(* Conditions and steps *)

DeadlineMs(record) ==
    LET lease == record.in_progress_expiry_timestamp
    IN  IF lease # None /\ record.status = INPROGRESS
        THEN lease
        ELSE record.expiry_timestamp * 1000

Claimable(record, now) ==
    \/ record = None
    \/ now >= DeadlineMs(record)

ExpiryMs(record) == record.expiry_timestamp * 1000

Holds(record, owner) ==
    /\ record # None
    /\ owner # None
    /\ record.status = INPROGRESS
    /\ record.owner = owner

WhenFree(record, event, now) ==
    \/ record = None
    \/ (Claimable(record, now) /\ (event.policy = RUN \/ record.status = COMPLETED \/ now >=
            ExpiryMs(record) \/ Holds(record, event.owner)))

CeilSeconds(milliseconds) == -((-milliseconds) \div 1000)

NewClaim(record, event) ==
    LET expiry == event.expiry
        lease == event.lease
        expiry_2 == IF record # None /\ event.policy # RUN /\ record.status = INPROGRESS THEN
                Max(expiry, record.expiry_timestamp) ELSE expiry
        expiry_3 == IF lease # None /\ lease > expiry_2 * 1000 THEN CeilSeconds(lease) ELSE expiry_2
    IN  Record(event.idempotency_key, INPROGRESS, expiry_3, lease, None, event.payload_hash,
            event.owner)

ThenClaim(record, event) ==
    LET claimed == NewClaim(record, event)
    IN  <<claimed, Claimed(claimed, record, FALSE)>>

WhenHeld(record, event) == Holds(record, event.owner)

ThenRecogniseClaim(record) == <<record, Claimed(record, None, FALSE)>>

WhenHashesDiffer(record, event) ==
    /\ record.payload_hash # None
    /\ event.payload_hash # None
    /\ record.payload_hash # event.payload_hash

ThenRefusePayload(record) == <<record, PayloadMismatch(record)>>

WhenCompleted(record) == record.status = COMPLETED

ThenReplay(record) == <<record, Replay(record)>>

WhenRefusesLapsed(record, event, now) ==
    /\ event.policy = REFUSE
    /\ Claimable(record, now)

ThenPark(record) == <<record, UnknownOutcome(record)>>

WhenAsksAboutLapsed(record, event, now) ==
    /\ event.policy = ASK
    /\ Claimable(record, now)

ThenTakeOver(record, event) ==
    LET claimed == NewClaim(record, event)
    IN  <<claimed, Claimed(claimed, record, TRUE)>>

SameExecution(record, owner) ==
    IF record.status # INPROGRESS
    THEN FALSE
    ELSE LET execution == ExecutionOf(owner)
         IN  /\ execution # None
             /\ ExecutionOf(record.owner) = execution

WhenOfOwnExecution(record, event) ==
    /\ record.status = INPROGRESS
    /\ SameExecution(record, event.owner)

ThenResume(record, event) ==
    LET resumed == [record EXCEPT !.owner = event.owner]
    IN  <<resumed, Claimed(resumed, None, FALSE)>>

ThenRefuseRunning(record, now) == <<record, InProgress(record, DeadlineMs(record) - now)>>

WhenOwnResult(record, event) ==
    /\ record # None
    /\ record.status = COMPLETED
    /\ event.owner # None
    /\ record.owner = event.owner
    /\ record.response_data = event.response

ThenRecogniseCompletion(record) == <<record, Completed(record)>>

WhenMayComplete(record, event, now) ==
    \/ record = None
    \/ Holds(record, event.owner)
    \/ Claimable(record, now)

ThenComplete(event) ==
    LET key == event.idempotency_key
        response == event.response
        payload_hash == event.payload_hash
        completed == Record(key, COMPLETED, event.expiry, None, response, payload_hash, event.owner)
    IN  <<completed, Completed(completed)>>

WhenCompletedAlike(record, event) ==
    /\ record.status = COMPLETED
    /\ ~WhenHashesDiffer(record, event)

ThenSupersede(record) == <<record, Superseded(record)>>

ThenLose(record) == <<record, LeaseLost(record)>>

ThenRelease == <<None, Released>>

ThenNotHeld(record) == <<record, NotHeld>>

ThenAbandon(record, now) ==
    IF now >= DeadlineMs(record)
    THEN <<record, Abandoned(record)>>
    ELSE LET abandoned == [record EXCEPT !.in_progress_expiry_timestamp = now]
         IN  <<abandoned, Abandoned(abandoned)>>

ThenRenew(record, event) ==
    LET lease == Max(DeadlineMs(record), event.lease)
        renewed == [record EXCEPT !.in_progress_expiry_timestamp = lease, !.expiry_timestamp =
                Max(record.expiry_timestamp, CeilSeconds(lease))]
    IN  <<renewed, Renewed(renewed)>>

IsOwed(record, now) ==
    \/ ~Claimable(record, now)
    \/ now < ExpiryMs(record)

WhenEvictable(record, now) ==
    /\ record # None
    /\ ~IsOwed(record, now)

ThenEvict == <<None, Evicted>>

ThenKeep(record) == <<record, Kept>>

------------------------------------------------------------------------------
(* The table: the first row of the event's kind whose condition holds decides (ROW-0) *)

Decided(row, next) == [row |-> row, after |-> next[1], outcome |-> next[2]]

DecideClaim(record, event, now) ==
    IF WhenFree(record, event, now)
    THEN Decided("ROW-1", ThenClaim(record, event))
    ELSE IF WhenHeld(record, event)
    THEN Decided("ROW-2", ThenRecogniseClaim(record))
    ELSE IF WhenHashesDiffer(record, event)
    THEN Decided("ROW-3", ThenRefusePayload(record))
    ELSE IF WhenCompleted(record)
    THEN Decided("ROW-5", ThenReplay(record))
    ELSE IF WhenRefusesLapsed(record, event, now)
    THEN Decided("ROW-17", ThenPark(record))
    ELSE IF WhenAsksAboutLapsed(record, event, now)
    THEN Decided("ROW-18", ThenTakeOver(record, event))
    ELSE IF WhenOfOwnExecution(record, event)
    THEN Decided("ROW-16", ThenResume(record, event))
    ELSE Decided("ROW-4", ThenRefuseRunning(record, now))

DecideComplete(record, event, now) ==
    IF WhenOwnResult(record, event)
    THEN Decided("ROW-6", ThenRecogniseCompletion(record))
    ELSE IF WhenMayComplete(record, event, now)
    THEN Decided("ROW-7", ThenComplete(event))
    ELSE IF WhenCompletedAlike(record, event)
    THEN Decided("ROW-8", ThenSupersede(record))
    ELSE Decided("ROW-9", ThenLose(record))

DecideCompleteWithin(record, event, now) ==
    IF WhenOwnResult(record, event)
    THEN Decided("ROW-21", ThenRecogniseCompletion(record))
    ELSE IF WhenHeld(record, event)
    THEN Decided("ROW-22", ThenComplete(event))
    ELSE Decided("ROW-23", ThenLose(record))

DecideRelease(record, event, now) ==
    IF WhenHeld(record, event)
    THEN Decided("ROW-10", ThenRelease)
    ELSE Decided("ROW-11", ThenNotHeld(record))

DecideAbandon(record, event, now) ==
    IF WhenHeld(record, event)
    THEN Decided("ROW-19", ThenAbandon(record, now))
    ELSE Decided("ROW-20", ThenNotHeld(record))

DecideRenew(record, event, now) ==
    IF WhenHeld(record, event)
    THEN Decided("ROW-12", ThenRenew(record, event))
    ELSE Decided("ROW-13", ThenLose(record))

DecideEvict(record, event, now) ==
    IF WhenEvictable(record, now)
    THEN Decided("ROW-14", ThenEvict)
    ELSE Decided("ROW-15", ThenKeep(record))

Decide(record, event, now) ==
    CASE event.kind = "Claim" -> DecideClaim(record, event, now)
      [] event.kind = "Complete" -> DecideComplete(record, event, now)
      [] event.kind = "CompleteWithin" -> DecideCompleteWithin(record, event, now)
      [] event.kind = "Release" -> DecideRelease(record, event, now)
      [] event.kind = "Abandon" -> DecideAbandon(record, event, now)
      [] event.kind = "Renew" -> DecideRenew(record, event, now)
      [] event.kind = "Evict" -> DecideEvict(record, event, now)

\* Always true. TLC's coverage of these lines shows how often each row has decided.
IsRow(row) ==
    CASE row = "ROW-1" -> row # None
      [] row = "ROW-2" -> row # None
      [] row = "ROW-3" -> row # None
      [] row = "ROW-5" -> row # None
      [] row = "ROW-17" -> row # None
      [] row = "ROW-18" -> row # None
      [] row = "ROW-16" -> row # None
      [] row = "ROW-4" -> row # None
      [] row = "ROW-6" -> row # None
      [] row = "ROW-7" -> row # None
      [] row = "ROW-8" -> row # None
      [] row = "ROW-9" -> row # None
      [] row = "ROW-21" -> row # None
      [] row = "ROW-22" -> row # None
      [] row = "ROW-23" -> row # None
      [] row = "ROW-10" -> row # None
      [] row = "ROW-11" -> row # None
      [] row = "ROW-19" -> row # None
      [] row = "ROW-20" -> row # None
      [] row = "ROW-12" -> row # None
      [] row = "ROW-13" -> row # None
      [] row = "ROW-14" -> row # None
      [] row = "ROW-15" -> row # None

==============================================================================
