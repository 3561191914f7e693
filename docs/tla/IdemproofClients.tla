--------------------------- MODULE IdemproofClients ---------------------------
(* Clients that call with one key, and what can go wrong: workers die at any point, replies are lost,      *)
(* requests arrive after their senders have given up, bodies raise or outlive their leases, the store      *)
(* evicts records. The rules by which the store answers are in IdemproofTable, which is generated. This    *)
(* module says what clients do, and what must never happen. It is written by hand, apart from              *)
(* idemproof/spec/moves.py and idemproof/spec/invariants.py, which say the same for another search.        *)
EXTENDS IdemproofTable, FiniteSets, TLC

CONSTANTS
    Clients,   \* who calls
    Durable,   \* the clients that are invocations of one durable execution
    Calls,     \* how many attempts each client may make
    Tokenless, \* the clients that have no owner tokens, as other software that shares the store
    Hashes,    \* the payload hashes that calls may have
    Leases,    \* the milliseconds of a lease; None for the lifetime of the record
    Windows,   \* the seconds for which claims and results are kept
    Policy,    \* the policy of all claims: "run", "refuse" or "ask"
    Transactions, \* whether attempts may complete within transactions, which contain their effects
    Late,      \* how many requests may be on their way after their senders have given up
    Moments    \* the milliseconds at which something may happen; it begins at 0

Second == 1000
Key == "key"
Execution == "execution"

VARIABLES
    now,       \* milliseconds
    record,    \* the stored record, or None
    clients,   \* what each client is doing
    late,      \* the requests that will arrive later
    crashed,   \* the runs that died, were suspended, or did not store their result, until their leases end
    stored,    \* the stored result that callers are entitled to, or None
    effect,    \* until when an effect that has happened must not happen again, in milliseconds; 0 for none
    broken     \* the clauses that a step has broken
vars == <<now, record, clients, late, crashed, stored, effect, broken>>

Attempt(client) ==
    [client |-> client,
     attempt |-> clients[client].attempt,
     execution |-> IF client \in Durable THEN Execution ELSE None]

Token(client) == IF client \in Tokenless THEN None ELSE Attempt(client)

ExecutionOfToken(owner) == IF owner = None THEN None ELSE owner.execution

\* Invocations of one durable execution count as one attempt (DUR-2).
AreOne(execution, other) == execution # None /\ execution = other

Is(client, phase) == clients[client].phase = phase
Expired(client) == now >= clients[client].expiry * Second

----------------------------------------------------------------------------
(* What must never happen. First: what a step of the store must not do. *)

IsLive(one) == one # None /\ now < DeadlineMs(one)

\* INV-2: A live COMPLETED record must not change.
ResultIsFinal(event, step) ==
    IsLive(record) /\ record.status = COMPLETED => step.after = record

\* INV-3: An attempt must not change another attempt's live record.
OthersAreUntouched(event, step) ==
    IsLive(record) /\ step.after # record =>
        /\ event.kind # "Evict"
        /\ record.owner # None
        /\ \/ event.owner = record.owner
           \/ /\ event.kind = "Claim" /\ record.status = INPROGRESS
              /\ AreOne(ExecutionOf(event.owner), ExecutionOf(record.owner))
              /\ step.after = [record EXCEPT !.owner = event.owner]

HashesAgree(one, other) == one = None \/ other = None \/ one = other

\* INV-4: An answer is the stored result, and never that of another payload.
AnswerIsTheRecord(event, step) ==
    LET answer == step.outcome.record
    IN  /\ step.outcome.kind \in {"Replay", "Superseded"} =>
             /\ answer = record /\ answer = step.after
             /\ answer.status = COMPLETED
             /\ HashesAgree(answer.payload_hash, event.payload_hash)
        /\ step.outcome.kind = "Completed" =>
             /\ answer = step.after
             /\ answer.status = COMPLETED
             /\ answer.response_data = event.response
             /\ step.after # record => answer.payload_hash = event.payload_hash

\* INV-6: Sending a request again, because its reply was lost, changes nothing before its deadline.
RetryChangesNothing(event, step) ==
    LET again == Decide(step.after, event, now)
        inTime == CASE event.kind = "Claim" /\ event.lease # None -> now < event.lease
                    [] event.kind = "Claim" -> now < event.expiry * Second
                    [] event.kind \in {"Complete", "CompleteWithin"} -> now < event.expiry * Second
                    [] OTHER -> TRUE
        isOwned == event.kind = "Evict" \/ event.owner # None   \* otherwise nothing shows who has written
    IN  inTime /\ isOwned =>
          /\ step.outcome.kind \in {"Claimed", "Completed"} => again.outcome.kind = step.outcome.kind
          /\ again.after = step.after

\* INV-7: Eviction must not delete a record that is live or that has not reached its expiry.
EvictionOwesNothing(event, step) ==
    event.kind = "Evict" /\ step.after # record =>
        /\ ~IsLive(record)
        /\ now >= record.expiry_timestamp * Second
        /\ stored = None

\* TIME-6: A claim's expiry must not be before its lease.
ExpiryIsNotBeforeLease(event, step) ==
    /\ event.kind \in {"Claim", "Renew"} /\ step.after # record /\ step.after # None
    /\ step.after.in_progress_expiry_timestamp # None
    => step.after.expiry_timestamp * Second >= step.after.in_progress_expiry_timestamp

\* TAKE-2: Only the policy run takes over another's claim without a question, before it expires.
TakeoverFollowsThePolicy(event, step) ==
    LET outcome == step.outcome
        isParked == /\ event.policy # "run" /\ record # None /\ ~IsLive(record)
                    /\ record.status = INPROGRESS
                    /\ event.owner = None \/ record.owner # event.owner
                    /\ now < record.expiry_timestamp * Second
    IN  event.kind = "Claim" =>
          CASE outcome.kind = "UnknownOutcome" -> isParked /\ event.policy = "refuse" /\ step.after = record
            [] outcome.kind = "Claimed" ->
                 /\ outcome.asks = (isParked /\ event.policy = "ask")
                 /\ outcome.asks \/ ~isParked
                 /\ outcome.asks => HashesAgree(record.payload_hash, event.payload_hash)
            [] OTHER -> ~isParked \/ outcome.kind = "PayloadMismatch"

\* TAKE-4: An abandoned claim is what it was, and can be taken over at once.
AbandonedClaimRemains(event, step) ==
    step.outcome.kind = "Abandoned" =>
        /\ record # None /\ step.after # None
        /\ step.after.status = INPROGRESS /\ ~IsLive(step.after)
        /\ step.after = [record EXCEPT !.in_progress_expiry_timestamp = step.after.in_progress_expiry_timestamp]
        /\ IsLive(record) => DeadlineMs(step.after) = now
        /\ ~IsLive(record) => step.after = record

\* TXN-1: A completion within a transaction replaces the claim of its own attempt, or changes nothing.
IsResultOf(one, owner) == one # None /\ one.status = COMPLETED /\ owner # None /\ one.owner = owner
WithinNeedsItsClaim(event, step) ==
    event.kind = "CompleteWithin" =>
        IF step.outcome.kind = "Completed"
        THEN IsResultOf(step.after, event.owner) /\ (step.after = record \/ Holds(record, event.owner))
        ELSE step.after = record

BrokenBy(event, step) ==
    {clause \in {"INV-2", "INV-3", "INV-4", "INV-6", "INV-7", "TAKE-2", "TAKE-4", "TIME-6", "TXN-1"} :
        ~CASE clause = "INV-2" -> ResultIsFinal(event, step)
           [] clause = "INV-3" -> OthersAreUntouched(event, step)
           [] clause = "INV-4" -> AnswerIsTheRecord(event, step)
           [] clause = "INV-6" -> RetryChangesNothing(event, step)
           [] clause = "INV-7" -> EvictionOwesNothing(event, step)
           [] clause = "TAKE-2" -> TakeoverFollowsThePolicy(event, step)
           [] clause = "TAKE-4" -> AbandonedClaimRemains(event, step)
           [] clause = "TIME-6" -> ExpiryIsNotBeforeLease(event, step)
           [] clause = "TXN-1" -> WithinNeedsItsClaim(event, step)}

\* INV-4, as callers see it: all who are answered while a result is kept get that result.
AnswersAgree(event, outcome) ==
    LET response == IF outcome.kind = "Completed" THEN event.response ELSE outcome.record.response_data
    IN  outcome.kind \in {"Completed", "Replay", "Superseded"} /\ stored # None =>
          /\ response = stored.response
          /\ HashesAgree(event.payload_hash, stored.hash)

\* A transaction that has written a result is open, and has locked the record. It may outlast its call ("left").
IsWithin(client) == Is(client, "written") \/ Is(client, "left")
IsLocked == Transactions /\ \E client \in Clients : IsWithin(client)
IsRunning(client) == Is(client, "running") \/ Is(client, "acted") \/ IsWithin(client)

\* INV-5: A body must not run again until each earlier attempt has raised or its lease has ended. If the result of
\* an attempt is stored, the end of the window that was requested for the result counts instead.
BeginsForAReason(client) ==
    LET own == Attempt(client).execution
    IN  /\ \A other \in Clients \ {client} :
             IsRunning(other) \/ Is(other, "completing") =>
                 now >= clients[other].until \/ AreOne(own, Attempt(other).execution)
        /\ \A run \in crashed : now >= run.until \/ AreOne(own, run.attempt.execution)
        /\ stored # None => AreOne(own, stored.execution)

\* ENG-3: A body must not begin unless the granted lease is still live.
MayBegin(client) == now < clients[client].until

BrokenByBeginning(client) ==
    (IF BeginsForAReason(client) THEN {} ELSE {"INV-5"})
        \cup (IF now < clients[client].until THEN {} ELSE {"ENG-3"})

\* Then: what no state may be like.

\* INV-1: Two bodies of one key must not run under live leases at the same time.
OneLiveRun ==
    \A one, other \in Clients :
        /\ one # other
        /\ IsRunning(one) /\ now < clients[one].until
        /\ IsRunning(other) /\ now < clients[other].until
        => AreOne(Attempt(one).execution, Attempt(other).execution)

\* INV-11: What is completed within a transaction is committed with its effect: not before, and not without it.
NothingIsSeenBeforeItsCommit ==
    Transactions => \A client \in Clients : IsWithin(client) => ~IsResultOf(record, Token(client))

\* INV-9: From the deadline of the record on, or at once if there is none, a newcomer claims, begins, completes.
Newcomer == [client |-> "newcomer", attempt |-> 1, execution |-> None]
SomeClientCanFinish ==
    LET then == IF record = None THEN now ELSE Max(now, DeadlineMs(record))
        expiry == then \div Second + 1
        claim == Decide(record, Claim(Newcomer, then + Second, expiry, None, Key, "run"), then)
        complete == Decide(claim.after, Complete(Newcomer, Newcomer, None, expiry, Key), then)
    IN  /\ claim.outcome.kind = "Claimed"
        /\ then < DeadlineMs(claim.outcome.record)
        /\ complete.outcome.kind = "Completed"
        /\ complete.after # None /\ complete.after.response_data = Newcomer

INV_1 == OneLiveRun
INV_2 == "INV-2" \notin broken
INV_3 == "INV-3" \notin broken
INV_4 == "INV-4" \notin broken
INV_5 == "INV-5" \notin broken
INV_6 == "INV-6" \notin broken
INV_7 == "INV-7" \notin broken
INV_9 == SomeClientCanFinish
INV_10 == "INV-10" \notin broken
INV_11 == "INV-11" \notin broken /\ NothingIsSeenBeforeItsCommit
TAKE_2 == "TAKE-2" \notin broken
TAKE_4 == "TAKE-4" \notin broken
ENG_3 == "ENG-3" \notin broken
TIME_6 == "TIME-6" \notin broken
TXN_1 == "TXN-1" \notin broken

----------------------------------------------------------------------------
(* What happens. The store applies a request; its client may get the reply, or not. *)

Changed(client, phase) == [clients EXCEPT ![client].phase = phase]

\* The attempt is over. A client keeps the number of its attempts.
Ended(client) ==
    [clients EXCEPT ![client] =
        [phase |-> "idle", attempt |-> @.attempt, hash |-> None, until |-> 0, expiry |-> 0, asks |-> FALSE]]

\* A result that is stored is kept until its expiry.
Stored(event, outcome) ==
    IF outcome.kind = "Completed" /\ now < event.expiry * Second
    THEN [response |-> event.response, hash |-> event.payload_hash,
          until |-> event.expiry * Second, execution |-> ExecutionOf(event.owner)]
    ELSE stored

\* An effect counts until the record of it expires.
Remembered(one) ==
    IF effect <= now \/ one = None THEN effect
    ELSE IF one.status = COMPLETED THEN one.expiry_timestamp * Second
    ELSE Max(effect, one.expiry_timestamp * Second)

Applies(event, step, isAnswered) ==
    /\ IsRow(step.row)
    /\ record' = step.after
    /\ stored' = Stored(event, step.outcome)
    /\ effect' = Remembered(step.after)
    /\ broken' = broken \cup BrokenBy(event, step)
         \cup (IF isAnswered /\ ~AnswersAgree(event, step.outcome) THEN {"INV-4"} ELSE {})

\* A run whose end is not stored blocks others until its lease ends.
Blocked(client) ==
    IF clients[client].until > now
    THEN crashed \cup {[attempt |-> Attempt(client), until |-> clients[client].until]}
    ELSE crashed

\* From when its result is stored, the result blocks others, and not the lease. A response names its attempt.
IsStored(event, outcome, attempt) ==
    /\ outcome.kind = "Completed"
    /\ event.response = attempt \/ AreOne(attempt.execution, ExecutionOf(event.owner))

\* Seconds from now, rounded up (TIME-5).
After(seconds) == CeilSeconds(now) + seconds

ClaimsOf(client) ==
    {Claim(Token(client), IF lease = None THEN None ELSE now + lease, After(window), clients[client].hash, Key,
           Policy) :
        lease \in Leases, window \in Windows}
RenewalsOf(client) == {Renew(Token(client), now + lease) : lease \in Leases \ {None}}
CompletionOf(client) ==
    Complete(Token(client), Attempt(client), clients[client].hash, clients[client].expiry, Key)
WithinOf(client, expiry) ==
    CompleteWithin(Token(client), Attempt(client), clients[client].hash, expiry, Key)
ReleaseOf(client) == Release(Token(client))
AbandonmentOf(client) == Abandon(Token(client))

Asks(outcome) == outcome.kind = "Claimed" /\ outcome.asks
IsCautious == Policy # "run"
IsHolder(client) == Holds(record, Token(client))

Calling(client) ==
    /\ Is(client, "idle") /\ clients[client].attempt < Calls
    /\ \E hash \in Hashes :
         clients' = [clients EXCEPT ![client].phase = "claiming", ![client].hash = hash,
                                    ![client].attempt = @ + 1]
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

Claiming(client, isAnswered) ==
    /\ Is(client, "claiming") /\ ~IsLocked
    /\ \E event \in ClaimsOf(client) :
       LET step == Decide(record, event, now)
       IN  /\ Applies(event, step, isAnswered)
           /\ clients' =
                \* TAKE-3: a takeover is remembered, even if the reply is lost.
                IF ~isAnswered THEN [clients EXCEPT ![client].asks = @ \/ Asks(step.outcome)]
                ELSE IF step.outcome.kind = "Claimed"
                THEN [Changed(client, "granted") EXCEPT ![client].until = DeadlineMs(step.outcome.record),
                                                        ![client].asks = @ \/ Asks(step.outcome)]
                ELSE Ended(client)
    /\ UNCHANGED <<now, late, crashed>>

Beginning(client) ==
    /\ Is(client, "granted") /\ MayBegin(client) /\ ~clients[client].asks
    /\ clients' = Changed(client, "running")
    /\ broken' = broken \cup BrokenByBeginning(client)
    /\ UNCHANGED <<now, record, late, crashed, stored, effect>>

ClaimingAgain(client) ==
    /\ Is(client, "granted") /\ ~MayBegin(client)
    /\ clients' = [Changed(client, "claiming") EXCEPT ![client].until = 0]
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

Asking(client) ==
    /\ Is(client, "granted") /\ MayBegin(client) /\ clients[client].asks
    /\ clients' = Changed(client, "asking")
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

\* The answer is true: a result if the effect has happened, and else that nothing was done (TAKE-5).
Finding(client) ==
    /\ Is(client, "asking") /\ now < effect
    /\ \E window \in Windows :
         clients' = [Changed(client, "completing") EXCEPT ![client].expiry = After(window)]
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

FindingNothing(client) ==
    /\ Is(client, "asking") /\ now >= effect
    /\ clients' =
         IF MayBegin(client) THEN [Changed(client, "running") EXCEPT ![client].asks = FALSE]
         ELSE [Changed(client, "claiming") EXCEPT ![client].until = 0]
    /\ broken' = broken \cup (IF MayBegin(client) THEN BrokenByBeginning(client) ELSE {})
    /\ UNCHANGED <<now, record, late, crashed, stored, effect>>

CannotTell(client) ==
    /\ Is(client, "asking")
    /\ clients' = [Changed(client, "abandoning") EXCEPT ![client].until = 0]
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

\* INV-10: An effect happens only while the attempt holds its claim, and must not happen again.
Acting(client) ==
    /\ IsCautious /\ Is(client, "running") /\ IsHolder(client)
    /\ clients' = Changed(client, "acted")
    /\ effect' = record.expiry_timestamp * Second
    /\ broken' = broken \cup (IF now < effect THEN {"INV-10"} ELSE {})
    /\ UNCHANGED <<now, record, late, crashed, stored>>

KeptFromActing(client) ==
    /\ IsCautious /\ Is(client, "running") /\ ~IsHolder(client)
    /\ clients' = [Changed(client, "abandoning") EXCEPT ![client].until = 0]
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

Renewing(client, isAnswered) ==
    /\ Is(client, "running") \/ Is(client, "acted") \/ Is(client, "asking")
    /\ ~IsLocked
    /\ \E event \in RenewalsOf(client) :
       LET step == Decide(record, event, now)
       IN  /\ Applies(event, step, isAnswered)
           /\ clients' =
                IF isAnswered /\ step.outcome.kind = "Renewed"
                THEN [clients EXCEPT ![client].until = DeadlineMs(step.outcome.record)]
                ELSE clients
    /\ UNCHANGED <<now, late, crashed>>

Returning(client) ==
    /\ Is(client, IF IsCautious THEN "acted" ELSE "running")
    /\ \E window \in Windows :
         clients' = [Changed(client, "completing") EXCEPT ![client].expiry = After(window)]
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

\* TAKE-6: what a body raises may come after its effect, unless it is declared to mean that nothing happened.
Raising(client) ==
    /\ Is(client, "running") \/ Is(client, "acted")
    /\ clients' =
         [Changed(client, IF IsCautious THEN "abandoning" ELSE "releasing") EXCEPT ![client].until = 0]
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

RaisingWhatWasDeclared(client) ==
    /\ IsCautious /\ Is(client, "running")
    /\ clients' = [Changed(client, "releasing") EXCEPT ![client].until = 0]
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

Suspending(client) ==
    /\ Is(client, "running") /\ client \in Durable
    /\ clients' = Ended(client)
    /\ crashed' = Blocked(client)
    /\ UNCHANGED <<now, record, late, stored, effect, broken>>

Completing(client, isAnswered) ==
    /\ Is(client, "completing") /\ ~Expired(client) /\ ~IsLocked
    /\ LET event == CompletionOf(client)
           step == Decide(record, event, now)
       IN  /\ Applies(event, step, isAnswered)
           /\ clients' =
                IF isAnswered THEN Ended(client)
                ELSE IF step.outcome.kind = "Completed" THEN [clients EXCEPT ![client].until = 0]
                ELSE clients
           /\ crashed' =
                IF isAnswered /\ step.outcome.kind # "Completed" THEN Blocked(client)
                ELSE {run \in crashed : ~IsStored(event, step.outcome, run.attempt)}
    /\ UNCHANGED <<now, late>>

CompletingTooLate(client) ==
    /\ Is(client, "completing") /\ Expired(client)
    /\ clients' = Ended(client)
    /\ crashed' = Blocked(client)
    /\ UNCHANGED <<now, record, late, stored, effect, broken>>

GivingUp(client) ==
    /\ Is(client, "claiming")
    /\ clients' = Changed(client, IF clients[client].asks THEN "abandoning" ELSE "releasing")   \* TAKE-4
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

\* The release of an invocation ends its durable execution, with all runs that it has left behind.
Releasing(client, isAnswered) ==
    /\ Is(client, "releasing") /\ ~IsLocked
    /\ LET event == ReleaseOf(client)
           step == Decide(record, event, now)
           ends == client \in Durable /\ step.outcome.kind = "Released"
           left == IF isAnswered THEN Ended(client) ELSE clients
       IN  /\ Applies(event, step, isAnswered)
           /\ clients' =
                [one \in Clients |->
                    IF ends /\ one \in Durable THEN [left[one] EXCEPT !.until = 0] ELSE left[one]]
           /\ crashed' = IF ends THEN {run \in crashed : run.attempt.execution = None} ELSE crashed
    /\ UNCHANGED <<now, late>>

Abandoning(client, isAnswered) ==
    /\ Is(client, "abandoning")
    /\ LET event == AbandonmentOf(client)
           step == Decide(record, event, now)
       IN  /\ Applies(event, step, isAnswered)
           /\ clients' = IF isAnswered THEN Ended(client) ELSE clients
    /\ UNCHANGED <<now, late, crashed>>

\* TXN-4: No request for a locked record waits. A claim finds it in progress; a release leaves the rest to the lease.
FindingItLocked(client) ==
    /\ IsLocked /\ (Is(client, "claiming") \/ Is(client, "releasing"))
    /\ clients' = Ended(client)
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

\* An attempt writes its effect and its result in a transaction, unless it has lost its claim. Then that cannot
\* commit (TXN-6), and the attempt ends as if its body had raised.
CanCommit(outcome) == outcome.kind = "Completed"

Writing(client) ==
    /\ Transactions /\ Is(client, "running")
    /\ \E window \in Windows :
       LET event == WithinOf(client, After(window))
           step == Decide(record, event, now)
       IN  IF CanCommit(step.outcome)
           THEN /\ IsRow(step.row)
                /\ clients' = [Changed(client, "written") EXCEPT ![client].expiry = event.expiry]
                /\ broken' = broken \cup BrokenBy(event, step)
                /\ UNCHANGED <<record, stored, effect>>
           ELSE /\ Applies(event, step, FALSE)
                /\ clients' = [Changed(client, "releasing") EXCEPT ![client].until = 0]
    /\ UNCHANGED <<now, late, crashed>>

\* The commit makes the effect and the result visible, together. The call may have ended before.
Committing(client) ==
    /\ Transactions /\ IsWithin(client)
    /\ LET event == WithinOf(client, clients[client].expiry)
           step == Decide(record, event, now)
           kept == step.after # None /\ step.after.expiry_timestamp * Second > now
       IN  /\ IsRow(step.row)
           /\ record' = step.after
           /\ stored' = Stored(event, step.outcome)
           /\ effect' = IF kept THEN step.after.expiry_timestamp * Second ELSE 0
           /\ broken' = broken \cup BrokenBy(event, step)
                \cup (IF now < effect THEN {"INV-10"} ELSE {})
                \cup (IF IsResultOf(step.after, Token(client)) THEN {} ELSE {"INV-11"})
           /\ clients' = IF Is(client, "left") THEN Ended(client)
                         ELSE [Changed(client, "committed") EXCEPT ![client].until = 0]
    /\ UNCHANGED <<now, late, crashed>>

RollingBack(client) ==
    /\ Transactions /\ IsWithin(client)
    /\ clients' = IF Is(client, "left") THEN Ended(client)
                  ELSE [Changed(client, "releasing") EXCEPT ![client].until = 0]
    /\ crashed' = IF Is(client, "left") THEN Blocked(client) ELSE crashed
    /\ UNCHANGED <<now, record, late, stored, effect, broken>>

LeavingItsTransaction(client) ==
    /\ Transactions /\ Is(client, "written")
    /\ clients' = Changed(client, "left")
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

AfterItsCommit(client) ==
    /\ Transactions /\ Is(client, "committed")
    /\ clients' = Ended(client) \/ clients' = Changed(client, "releasing")   \* the body raises
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

\* The client gives up waiting. Its request is applied later, and it may send another one before.
Delaying(client, event) ==
    /\ Cardinality(late) < Late
    /\ late' = late \cup {event}
    /\ UNCHANGED <<now, record, clients, crashed, stored, effect, broken>>

DelayingAny(client) ==
    \/ Is(client, "claiming") /\ \E event \in ClaimsOf(client) : Delaying(client, event)
    \/ Is(client, "abandoning") /\ Delaying(client, AbandonmentOf(client))
    \/ Is(client, "running") /\ \E event \in RenewalsOf(client) : Delaying(client, event)
    \/ Is(client, "completing") /\ ~Expired(client) /\ Delaying(client, CompletionOf(client))
    \/ Is(client, "releasing") /\ Delaying(client, ReleaseOf(client))

Arriving(event) ==
    /\ ~IsLocked
    /\ late' = late \ {event}
    /\ LET step == Decide(record, event, now)
       IN  /\ Applies(event, step, FALSE)
           /\ clients' =
                [client \in Clients |->
                    IF IsStored(event, step.outcome, Attempt(client)) /\ Attempt(client) = event.response
                    THEN [clients[client] EXCEPT !.until = 0]
                    ELSE clients[client]]
           /\ crashed' = {run \in crashed : ~IsStored(event, step.outcome, run.attempt)}
    /\ UNCHANGED now

ArrivingInVain(event) ==
    /\ IsLocked
    /\ late' = late \ {event}
    /\ UNCHANGED <<now, record, clients, crashed, stored, effect, broken>>

Dying(client) ==
    /\ ~Is(client, "idle")
    /\ clients' = Ended(client)
    /\ crashed' = IF IsRunning(client) \/ Is(client, "completing")
                  THEN Blocked(client) ELSE crashed
    /\ UNCHANGED <<now, record, late, stored, effect, broken>>

Evicting ==
    /\ ~IsLocked
    /\ Applies(Evict, Decide(record, Evict, now), FALSE)
    /\ UNCHANGED <<now, clients, late, crashed>>

\* What is over is forgotten, so that there are fewer states.
Remaining == {moment \in Moments : moment > now}

Waiting ==
    LET later == CHOOSE moment \in Remaining : \A other \in Remaining : moment <= other
        Future(time) == IF time > later THEN time ELSE 0
    IN  /\ Remaining # {}
        /\ now' = later
        /\ clients' = [client \in Clients |-> [clients[client] EXCEPT !.until = Future(@)]]
        /\ crashed' = {run \in crashed : run.until > later}
        /\ stored' = IF stored # None /\ stored.until <= later THEN None ELSE stored
        /\ effect' = Future(effect)
        /\ UNCHANGED <<record, late, broken>>

\* All calls have ended. Any other state without a next step is a deadlock, which TLC reports.
Over ==
    /\ Remaining = {}
    /\ \A client \in Clients : Is(client, "idle") /\ clients[client].attempt = Calls
    /\ UNCHANGED vars

Init ==
    /\ now = 0
    /\ record = None
    /\ clients = [client \in Clients |->
                    [phase |-> "idle", attempt |-> 0, hash |-> None, until |-> 0, expiry |-> 0, asks |-> FALSE]]
    /\ late = {}
    /\ crashed = {}
    /\ stored = None
    /\ effect = 0
    /\ broken = {}

OfClient(client) ==
    \/ Calling(client)
    \/ \E isAnswered \in BOOLEAN :
         \/ Claiming(client, isAnswered)
         \/ Renewing(client, isAnswered)
         \/ Completing(client, isAnswered)
         \/ Releasing(client, isAnswered)
         \/ Abandoning(client, isAnswered)
    \/ Beginning(client)
    \/ ClaimingAgain(client)
    \/ Asking(client)
    \/ Finding(client)
    \/ FindingNothing(client)
    \/ CannotTell(client)
    \/ Acting(client)
    \/ KeptFromActing(client)
    \/ RaisingWhatWasDeclared(client)
    \/ Returning(client)
    \/ Raising(client)
    \/ Suspending(client)
    \/ CompletingTooLate(client)
    \/ GivingUp(client)
    \/ FindingItLocked(client)
    \/ Writing(client)
    \/ Committing(client)
    \/ RollingBack(client)
    \/ LeavingItsTransaction(client)
    \/ AfterItsCommit(client)
    \/ DelayingAny(client)
    \/ Dying(client)

Next ==
    \/ \E client \in Clients : OfClient(client)
    \/ \E event \in late : Arriving(event) \/ ArrivingInVain(event)
    \/ Evicting
    \/ Waiting
    \/ Over

Spec == Init /\ [][Next]_vars

\* No UNION, because TLC would evaluate it even where it is not used.
Symmetry ==
    Permutations(Durable) \cup Permutations(Tokenless) \cup Permutations(Clients \ (Durable \cup Tokenless))
=============================================================================
