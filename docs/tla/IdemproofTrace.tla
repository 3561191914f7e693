---------------------------- MODULE IdemproofTrace ----------------------------
(* Runs of the production engine, recorded in a simulator. Each change of the store, each answer and each  *)
(* beginning and end of a body must be a step of the model. A run is accepted if it can be followed to its *)
(* end. Otherwise TLC reports a deadlock at the entry that is no step. RecordedRuns has the runs: each is  *)
(* a sequence of entries. The clients are named by their owner tokens.                                     *)
EXTENDS IdemproofClients, RecordedRuns, Sequences

VARIABLES trace, place
IsOver == place > Len(Traces[trace])
Entry == Traces[trace][place]

\* Recorded owners are texts, and none of them is of a durable execution.
RecordedExecution(owner) == None
RecordedAttempt(client) == [client |-> client, execution |-> None]
RecordedNewcomer == "newcomer"

Passing ==
    /\ now < Entry.at
    /\ now' = Entry.at
    /\ stored' = IF stored # None /\ stored.until <= Entry.at THEN None ELSE stored
    /\ UNCHANGED <<record, clients, late, crashed, effect, broken, place>>   \* what is over does no harm

\* A request was applied or decided: the store had "before", and has "after"; "outcome" is what the call got.
\* A call whose result is stored has ended.
Storing ==
    /\ Entry.kind = "store" /\ Entry.before = record
    /\ LET step == Decide(record, Entry.event, now)
       IN  /\ step.after = Entry.after /\ step.outcome = Entry.outcome
           /\ Applies(Entry.event, step, Entry.answered)
           /\ IF step.outcome.kind = "Completed"
              THEN /\ clients' = Ended(Entry.event.owner)
                   /\ crashed' = {run \in crashed : run.attempt.client # Entry.event.owner}
              ELSE UNCHANGED <<clients, crashed>>
    /\ UNCHANGED <<now, late>>

Granting ==
    /\ Entry.kind = "granted"
    /\ clients' = [Changed(Entry.client, "granted") EXCEPT ![Entry.client].until = Entry.until]
    /\ UNCHANGED <<now, record, late, crashed, stored, effect, broken>>

DyingAfterwards == Is(Entry.client, "idle") /\ UNCHANGED vars

Following ==
    /\ now = Entry.at
    /\ \/ Storing
       \/ Granting
       \/ Entry.kind = "began" /\ Beginning(Entry.client)
       \/ Entry.kind = "raised" /\ Raising(Entry.client)
       \/ Entry.kind = "crashed" /\ (Dying(Entry.client) \/ DyingAfterwards)
    /\ place' = place + 1

TraceInit == Init /\ trace \in 1..Len(Traces) /\ place = 1
TraceNext ==
    /\ UNCHANGED trace
    /\ \/ ~IsOver /\ (Passing \/ Following)
       \/ IsOver /\ UNCHANGED <<vars, place>>
TraceSpec == TraceInit /\ [][TraceNext]_<<vars, trace, place>>

\* For runs that must not be accepted.
IsRejected == ~IsOver
=============================================================================
