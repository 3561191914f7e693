--------------------------- MODULE IdemproofClients ---------------------------
(* Clients that call with one key, and what can go wrong: workers die at any point, replies are lost,      *)
(* requests arrive after their senders have given up, bodies raise or outlive their leases, the store      *)
(* evicts records. The rules by which the store answers are in IdemproofTable, which is generated. This    *)
(* module says what clients do, and what must never happen. It is written by hand, apart from              *)
(* idemproof/spec/model.py and idemproof/spec/invariants.py, which say the same for another search.        *)
EXTENDS IdemproofTable, FiniteSets, TLC

CONSTANTS
    Clients,   \* who calls
    Durable,   \* the clients that are invocations of one durable execution
    Calls,     \* how many attempts each client may make
    Hashes,    \* the payload hashes that calls may have
    Late,      \* how many requests may be on their way after their senders have given up
    Horizon    \* the second after which no time passes

Second == 1000
Lease == 2 * Second   \* milliseconds
Window == 3           \* seconds for which claims and results are kept
Key == "key"
Execution == "execution"

VARIABLES
    now,       \* milliseconds
    record,    \* the stored record, or None
    clients,   \* what each client is doing
    late,      \* the requests that will arrive later
    crashed,   \* until when runs block others that died, were suspended, or did not store their result
    stored,    \* the stored result that callers are entitled to, or None
    broken     \* the clauses that a step has broken
vars == <<now, record, clients, late, crashed, stored, broken>>

Token(client) ==
    [client |-> client,
     attempt |-> clients[client].attempt,
     execution |-> IF client \in Durable THEN Execution ELSE None]

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

\* INV-6: Sending a request again, because its reply was lost, changes nothing before its deadline.
RetryChangesNothing(event, step) ==
    LET again == Decide(step.after, event, now)
        inTime == CASE event.kind = "Claim" -> now < event.lease
                    [] event.kind = "Complete" -> now < event.expiry * Second
                    [] OTHER -> TRUE
    IN  inTime =>
          /\ step.outcome.kind \in {"Claimed", "Completed"} => again.outcome.kind = step.outcome.kind
          /\ again.after = step.after

\* INV-7: Eviction must not change an answer that a caller is still entitled to.
EvictionOwesNothing(event, step) ==
    event.kind = "Evict" /\ step.after # record =>
        /\ ~IsLive(record)
        /\ now >= record.expiry_timestamp * Second
        /\ stored = None

\* TIME-6: A claim's expiry must not be before its lease.
ExpiryIsNotBeforeLease(event, step) ==
    event.kind = "Claim" /\ step.after # record /\ step.after # None /\ step.outcome.kind = "Claimed" =>
        step.after.expiry_timestamp * Second >= step.after.in_progress_expiry_timestamp

BrokenBy(event, step) ==
    {clause \in {"INV-2", "INV-3", "INV-4", "INV-6", "INV-7", "TIME-6"} :
        ~CASE clause = "INV-2" -> ResultIsFinal(event, step)
           [] clause = "INV-3" -> OthersAreUntouched(event, step)
           [] clause = "INV-4" -> AnswerIsTheRecord(event, step)
           [] clause = "INV-6" -> RetryChangesNothing(event, step)
           [] clause = "INV-7" -> EvictionOwesNothing(event, step)
           [] clause = "TIME-6" -> ExpiryIsNotBeforeLease(event, step)}

\* INV-4, as callers see it: all who are answered while a result is kept get that result.
AnswersAgree(event, outcome) ==
    LET response == IF outcome.kind = "Completed" THEN event.response ELSE outcome.record.response_data
    IN  outcome.kind \in {"Completed", "Replay", "Superseded"} /\ stored # None =>
          /\ response = stored.response
          /\ HashesAgree(event.payload_hash, stored.hash)

\* INV-5: A body must not run again unless the earlier attempt crashed, raised, or outlived its lease before
\* its outcome was stored, or its result has expired.
BeginsForAReason(client) ==
    LET own == Token(client).execution
    IN  /\ \A other \in Clients \ {client} :
             Is(other, "running") \/ Is(other, "completing") =>
                 now >= clients[other].until \/ AreOne(own, Token(other).execution)
        /\ \A execution \in DOMAIN crashed : now >= crashed[execution] \/ AreOne(own, execution)
        /\ stored # None => AreOne(own, stored.execution)

\* ENG-3: A body must not begin unless the granted lease is still live.
MayBegin(client) == now < clients[client].until

BrokenByBeginning(client) ==
    (IF BeginsForAReason(client) THEN {} ELSE {"INV-5"})
        \cup (IF now < clients[client].until THEN {} ELSE {"ENG-3"})

\* Then: what no state may be like.

\* INV-1: At most one running body has a granted lease that is live.
OneLiveRun ==
    \A one, other \in Clients :
        /\ one # other
        /\ Is(one, "running") /\ now < clients[one].until
        /\ Is(other, "running") /\ now < clients[other].until
        => AreOne(Token(one).execution, Token(other).execution)

\* INV-9: From every state some client can finish: once nothing is live, a newcomer claims, begins, completes.
Newcomer == [client |-> "newcomer", attempt |-> 1, execution |-> None]
SomeClientCanFinish ==
    LET then == IF record = None THEN now ELSE Max(now, DeadlineMs(record))
        expiry == then \div Second + Window
        claim == Decide(record, Claim(Newcomer, then + Lease, expiry, None, Key), then)
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
ENG_3 == "ENG-3" \notin broken
TIME_6 == "TIME-6" \notin broken

----------------------------------------------------------------------------
(* What happens. The store applies a request; its client may get the reply, or not. *)

Changed(client, phase) == [clients EXCEPT ![client].phase = phase]

\* The attempt is over. A client keeps the number of its attempts.
Ended(client) ==
    [clients EXCEPT ![client] =
        [phase |-> "idle", attempt |-> @.attempt, hash |-> None, until |-> 0, expiry |-> 0]]

\* A result that is stored is kept until its expiry.
Stored(event, outcome) ==
    IF outcome.kind = "Completed" /\ now < event.expiry * Second
    THEN [response |-> event.response, hash |-> event.payload_hash,
          until |-> event.expiry * Second, execution |-> ExecutionOf(event.owner)]
    ELSE stored

Applies(event, step, isAnswered) ==
    /\ IsRow(step.row)
    /\ record' = step.after
    /\ stored' = Stored(event, step.outcome)
    /\ broken' = broken \cup BrokenBy(event, step)
         \cup (IF isAnswered /\ ~AnswersAgree(event, step.outcome) THEN {"INV-4"} ELSE {})

\* A run whose end is not stored blocks others until its lease ends.
Blocked(client) ==
    [crashed EXCEPT ![Token(client).execution] =
        IF clients[client].until > now THEN Max(@, clients[client].until) ELSE @]

ClaimOf(client) ==
    Claim(Token(client), now + Lease, now \div Second + Window, clients[client].hash, Key)
CompletionOf(client) ==
    Complete(Token(client), Token(client), clients[client].hash, clients[client].expiry, Key)
ReleaseOf(client) == Release(Token(client))
RenewalOf(client) == Renew(Token(client), now + Lease)

Calling(client) ==
    /\ Is(client, "idle") /\ clients[client].attempt < Calls
    /\ \E hash \in Hashes :
         clients' = [clients EXCEPT ![client].phase = "claiming", ![client].hash = hash,
                                    ![client].attempt = @ + 1]
    /\ UNCHANGED <<now, record, late, crashed, stored, broken>>

Claiming(client, isAnswered) ==
    /\ Is(client, "claiming")
    /\ LET event == ClaimOf(client)
           step == Decide(record, event, now)
       IN  /\ Applies(event, step, isAnswered)
           /\ clients' =
                IF ~isAnswered THEN clients
                ELSE IF step.outcome.kind = "Claimed"
                THEN [Changed(client, "granted") EXCEPT ![client].until = DeadlineMs(step.outcome.record)]
                ELSE Ended(client)
    /\ UNCHANGED <<now, late, crashed>>

Beginning(client) ==
    /\ Is(client, "granted") /\ MayBegin(client)
    /\ clients' = Changed(client, "running")
    /\ broken' = broken \cup BrokenByBeginning(client)
    /\ UNCHANGED <<now, record, late, crashed, stored>>

ClaimingAgain(client) ==
    /\ Is(client, "granted") /\ ~MayBegin(client)
    /\ clients' = [Changed(client, "claiming") EXCEPT ![client].until = 0]
    /\ UNCHANGED <<now, record, late, crashed, stored, broken>>

Renewing(client, isAnswered) ==
    /\ Is(client, "running")
    /\ LET event == RenewalOf(client)
           step == Decide(record, event, now)
       IN  /\ Applies(event, step, isAnswered)
           /\ clients' =
                IF isAnswered /\ step.outcome.kind = "Renewed"
                THEN [clients EXCEPT ![client].until = DeadlineMs(step.outcome.record)]
                ELSE clients
    /\ UNCHANGED <<now, late, crashed>>

Returning(client) ==
    /\ Is(client, "running")
    /\ clients' = [Changed(client, "completing") EXCEPT ![client].expiry = now \div Second + Window]
    /\ UNCHANGED <<now, record, late, crashed, stored, broken>>

Raising(client) ==
    /\ Is(client, "running")
    /\ clients' = [Changed(client, "releasing") EXCEPT ![client].until = 0]
    /\ UNCHANGED <<now, record, late, crashed, stored, broken>>

Suspending(client) ==
    /\ Is(client, "running") /\ client \in Durable
    /\ clients' = Ended(client)
    /\ crashed' = Blocked(client)
    /\ UNCHANGED <<now, record, late, stored, broken>>

Completing(client, isAnswered) ==
    /\ Is(client, "completing") /\ ~Expired(client)
    /\ LET event == CompletionOf(client)
           step == Decide(record, event, now)
       IN  /\ Applies(event, step, isAnswered)
           /\ clients' = IF isAnswered THEN Ended(client) ELSE clients
           /\ crashed' = IF isAnswered /\ step.outcome.kind # "Completed" THEN Blocked(client) ELSE crashed
    /\ UNCHANGED <<now, late>>

CompletingTooLate(client) ==
    /\ Is(client, "completing") /\ Expired(client)
    /\ clients' = Ended(client)
    /\ crashed' = Blocked(client)
    /\ UNCHANGED <<now, record, late, stored, broken>>

GivingUp(client) ==
    /\ Is(client, "claiming")
    /\ clients' = Changed(client, "releasing")
    /\ UNCHANGED <<now, record, late, crashed, stored, broken>>

\* The release of an invocation ends its durable execution, with all runs that it has left behind.
Releasing(client, isAnswered) ==
    /\ Is(client, "releasing")
    /\ LET event == ReleaseOf(client)
           step == Decide(record, event, now)
           ends == client \in Durable /\ step.outcome.kind = "Released"
           left == IF isAnswered THEN Ended(client) ELSE clients
       IN  /\ Applies(event, step, isAnswered)
           /\ clients' =
                [one \in Clients |->
                    IF ends /\ one \in Durable THEN [left[one] EXCEPT !.until = 0] ELSE left[one]]
           /\ crashed' = IF ends THEN [crashed EXCEPT ![Execution] = 0] ELSE crashed
    /\ UNCHANGED <<now, late>>

\* The client gives up waiting. Its request is applied later, and it may send another one before.
Delaying(client, event) ==
    /\ Cardinality(late) < Late
    /\ late' = late \cup {event}
    /\ UNCHANGED <<now, record, clients, crashed, stored, broken>>

DelayingAny(client) ==
    \/ Is(client, "claiming") /\ Delaying(client, ClaimOf(client))
    \/ Is(client, "running") /\ Delaying(client, RenewalOf(client))
    \/ Is(client, "completing") /\ ~Expired(client) /\ Delaying(client, CompletionOf(client))
    \/ Is(client, "releasing") /\ Delaying(client, ReleaseOf(client))

Arriving(event) ==
    /\ late' = late \ {event}
    /\ Applies(event, Decide(record, event, now), FALSE)
    /\ UNCHANGED <<now, clients, crashed>>

Dying(client) ==
    /\ ~Is(client, "idle")
    /\ clients' = Ended(client)
    /\ crashed' = IF Is(client, "running") \/ Is(client, "completing") THEN Blocked(client) ELSE crashed
    /\ UNCHANGED <<now, record, late, stored, broken>>

Evicting ==
    /\ Applies(Evict, Decide(record, Evict, now), FALSE)
    /\ UNCHANGED <<now, clients, late, crashed>>

\* What is over is forgotten, so that there are fewer states.
Ticking ==
    LET later == now + Second
        Future(time) == IF time > later THEN time ELSE 0
    IN  /\ now < Horizon * Second
        /\ now' = later
        /\ clients' = [client \in Clients |-> [clients[client] EXCEPT !.until = Future(@)]]
        /\ crashed' = [execution \in DOMAIN crashed |-> Future(crashed[execution])]
        /\ stored' = IF stored # None /\ stored.until <= later THEN None ELSE stored
        /\ UNCHANGED <<record, late, broken>>

\* All calls have ended. Any other state without a next step is a deadlock, which TLC reports.
Over ==
    /\ now = Horizon * Second
    /\ \A client \in Clients : Is(client, "idle") /\ clients[client].attempt = Calls
    /\ UNCHANGED vars

Init ==
    /\ now = 0
    /\ record = None
    /\ clients = [client \in Clients |->
                    [phase |-> "idle", attempt |-> 0, hash |-> None, until |-> 0, expiry |-> 0]]
    /\ late = {}
    /\ crashed = [execution \in {None, Execution} |-> 0]
    /\ stored = None
    /\ broken = {}

OfClient(client) ==
    \/ Calling(client)
    \/ \E isAnswered \in BOOLEAN :
         \/ Claiming(client, isAnswered)
         \/ Renewing(client, isAnswered)
         \/ Completing(client, isAnswered)
         \/ Releasing(client, isAnswered)
    \/ Beginning(client)
    \/ ClaimingAgain(client)
    \/ Returning(client)
    \/ Raising(client)
    \/ Suspending(client)
    \/ CompletingTooLate(client)
    \/ GivingUp(client)
    \/ DelayingAny(client)
    \/ Dying(client)

Next ==
    \/ \E client \in Clients : OfClient(client)
    \/ \E event \in late : Arriving(event)
    \/ Evicting
    \/ Ticking
    \/ Over

Spec == Init /\ [][Next]_vars

Symmetry == Permutations(Clients \ Durable) \cup Permutations(Durable)
=============================================================================
