---------------------------- MODULE RecordedRuns ----------------------------
(* Recorded by tools/tla/recorded.py. *)
EXTENDS IdemproofTable

Owners == {"owner-1", "owner-2", "owner-3", "owner-5"}

Traces ==
    <<  <<[kind |-> "store", at |-> 2214, before |-> None, event |-> Evict, after |-> None, outcome |-> Kept, answered |-> FALSE],
        [kind |-> "store", at |-> 2214, before |-> None, event |-> Claim("owner-1", 4214, 6, "a", "fn#key"), after |-> Record("fn#key", "INPROGRESS", 6, 4214, None, "a", "owner-1"), outcome |-> Claimed(Record("fn#key", "INPROGRESS", 6, 4214, None, "a", "owner-1"), None), answered |-> FALSE],
        [kind |-> "store", at |-> 6656, before |-> Record("fn#key", "INPROGRESS", 6, 4214, None, "a", "owner-1"), event |-> Evict, after |-> None, outcome |-> Evicted, answered |-> FALSE],
        [kind |-> "store", at |-> 6656, before |-> None, event |-> Claim("owner-3", 8656, 10, "a", "fn#key"), after |-> Record("fn#key", "INPROGRESS", 10, 8656, None, "a", "owner-3"), outcome |-> Claimed(Record("fn#key", "INPROGRESS", 10, 8656, None, "a", "owner-3"), None), answered |-> TRUE],
        [kind |-> "granted", at |-> 6656, client |-> "owner-3", until |-> 8656],
        [kind |-> "began", at |-> 6656, client |-> "owner-3", until |-> None],
        [kind |-> "store", at |-> 8655, before |-> Record("fn#key", "INPROGRESS", 10, 8656, None, "a", "owner-3"), event |-> Claim("owner-2", 10655, 12, "a", "fn#key"), after |-> Record("fn#key", "INPROGRESS", 10, 8656, None, "a", "owner-3"), outcome |-> InProgress(Record("fn#key", "INPROGRESS", 10, 8656, None, "a", "owner-3"), 1), answered |-> TRUE],
        [kind |-> "store", at |-> 8657, before |-> Record("fn#key", "INPROGRESS", 10, 8656, None, "a", "owner-3"), event |-> Complete("owner-3", "{\"result\": 7}", "a", 12, "fn#key"), after |-> Record("fn#key", "COMPLETED", 12, None, "{\"result\": 7}", "a", "owner-3"), outcome |-> Completed(Record("fn#key", "COMPLETED", 12, None, "{\"result\": 7}", "a", "owner-3")), answered |-> TRUE],
        [kind |-> "store", at |-> 11441, before |-> Record("fn#key", "COMPLETED", 12, None, "{\"result\": 7}", "a", "owner-3"), event |-> Evict, after |-> Record("fn#key", "COMPLETED", 12, None, "{\"result\": 7}", "a", "owner-3"), outcome |-> Kept, answered |-> FALSE]>>,
        <<[kind |-> "store", at |-> 0, before |-> None, event |-> Evict, after |-> None, outcome |-> Kept, answered |-> FALSE],
        [kind |-> "store", at |-> 0, before |-> None, event |-> Claim("owner-2", 2000, 3, "a", "fn#key"), after |-> Record("fn#key", "INPROGRESS", 3, 2000, None, "a", "owner-2"), outcome |-> Claimed(Record("fn#key", "INPROGRESS", 3, 2000, None, "a", "owner-2"), None), answered |-> TRUE],
        [kind |-> "granted", at |-> 0, client |-> "owner-2", until |-> 2000],
        [kind |-> "began", at |-> 0, client |-> "owner-2", until |-> None],
        [kind |-> "store", at |-> 0, before |-> Record("fn#key", "INPROGRESS", 3, 2000, None, "a", "owner-2"), event |-> Claim("owner-1", 2000, 3, "a", "fn#key"), after |-> Record("fn#key", "INPROGRESS", 3, 2000, None, "a", "owner-2"), outcome |-> InProgress(Record("fn#key", "INPROGRESS", 3, 2000, None, "a", "owner-2"), 2000), answered |-> TRUE],
        [kind |-> "store", at |-> 3000, before |-> Record("fn#key", "INPROGRESS", 3, 2000, None, "a", "owner-2"), event |-> Complete("owner-2", "{\"result\": 5}", "a", 6, "fn#key"), after |-> Record("fn#key", "COMPLETED", 6, None, "{\"result\": 5}", "a", "owner-2"), outcome |-> Completed(Record("fn#key", "COMPLETED", 6, None, "{\"result\": 5}", "a", "owner-2")), answered |-> TRUE],
        [kind |-> "store", at |-> 6842, before |-> Record("fn#key", "COMPLETED", 6, None, "{\"result\": 5}", "a", "owner-2"), event |-> Release("owner-5"), after |-> Record("fn#key", "COMPLETED", 6, None, "{\"result\": 5}", "a", "owner-2"), outcome |-> NotHeld, answered |-> TRUE],
        [kind |-> "store", at |-> 6842, before |-> Record("fn#key", "COMPLETED", 6, None, "{\"result\": 5}", "a", "owner-2"), event |-> Evict, after |-> None, outcome |-> Evicted, answered |-> FALSE]>>  >>
==============================================================================
