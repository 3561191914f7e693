"""How many requests each check sends, the most valuable checks first. Derived: see ``tools/needs.py``."""

from typing import NamedTuple


class Need(NamedTuple):
    """What a check needs.

    Parameters
    ----------
    least
        The number of requests if it is shortened as much as possible.
    fixed
        The number of requests that no time limit of a profile saves.
    full
        The number of requests with the profile ``quick`` and enough time.
    opens, processes
        How often it calls the factory, and how many processes it starts, which call it too.
    at_once
        Whether many clients send these requests at once.
    """

    least: int
    fixed: int
    full: int
    opens: int = 0
    processes: int = 0
    at_once: bool = False


NEEDS = {
    "a-takeover-never-overwrites-a-result-stored-meanwhile": Need(14, 14, 92),
    "a-random-history-follows-the-protocol": Need(31, 31, 1320),
    "a-response-of-any-size-comes-back": Need(9, 99, 99),
    "deadlines-keep-every-digit": Need(6, 6, 6),
    "a-wait-ends-when-its-time-is-over": Need(2, 2, 2),
    "every-key-has-its-own-record": Need(22, 190, 190),
    "an-eviction-never-removes-the-claim-that-came-first": Need(14, 14, 440),
    "one-event-loop-after-the-other-may-use-a-layer": Need(4, 4, 4),
    "an-interrupt-ends-a-request-as-what-it-is": Need(21, 21, 190),
    "a-missing-record-is-reported-as-missing": Need(2, 2, 2),
    "a-wait-blocks-nothing-else": Need(10, 10, 10),
    "the-marker-of-an-unavailable-result-comes-back": Need(3, 3, 3),
    "a-response-of-any-text-comes-back": Need(9, 93, 93),
    "an-owner-comes-back": Need(4, 24, 24),
    "no-response-comes-back-as-none": Need(6, 6, 6),
    "a-write-never-undoes-the-takeover-of-another-key": Need(16, 16, 88),
    "no-two-keys-share-a-record-because-of-a-hash": Need(46, 140, 140),
    "a-payload-hash-comes-back": Need(10, 50, 50),
    "writes-of-two-keys-never-undo-each-other": Need(26, 26, 160),
    "a-wait-ends-when-the-record-changes": Need(60, 60, 60),
    "two-claims-of-an-unused-key-have-one-winner": Need(16, 16, 64),
    "a-fork-leaves-both-processes-a-layer": Need(100, 500, 500, opens=1),
    "a-record-is-kept-for-its-time-to-live": Need(48, 48, 48),
    "a-request-leaves-nothing-behind": Need(220, 220, 2500),
    "requests-for-two-keys-may-share-a-layer": Need(30, 30, 200),
    "a-write-undoes-none-of-many": Need(39, 39, 180),
    "deadlines-are-kept-in-the-year-2100": Need(52, 52, 52),
    "a-swap-replaces-what-is-expected-and-nothing-else": Need(57, 1710, 1710),
    "a-closed-layer-leaves-nothing-behind": Need(60, 60, 60, opens=4),
    "a-failure-of-the-client-is-no-answer": Need(220, 220, 220),
    "a-death-costs-a-lease-only": Need(140, 140, 4630),
    "acknowledged-records-outlive-a-killed-process": Need(150, 150, 150, opens=1, processes=2),
    "a-record-is-kept-however-many-others-are": Need(900, 900, 31500),
    "many-requests-at-once-are-all-answered": Need(470, 470, 470),
    "a-late-result-never-replaces-its-successors": Need(16, 16, 170),
    "a-release-never-removes-the-claim-that-took-over": Need(14, 14, 94),
    "a-late-release-never-removes-its-successors-result": Need(18, 18, 180),
    "two-takeovers-of-a-lapsed-claim-have-one-winner": Need(14, 14, 92),
    "two-claims-of-an-expired-result-have-one-winner": Need(14, 14, 92),
    "a-takeover-has-its-own-deadline": Need(9, 9, 9),
    "a-claim-comes-back-as-it-was-put": Need(4, 4, 4),
    "a-result-is-over-at-its-expiry": Need(9, 9, 9),
    "a-live-claim-refuses-another-put": Need(6, 6, 6),
    "a-record-is-kept-for-milliseconds-and-not-less": Need(4, 4, 4),
    "a-live-result-refuses-another-put": Need(9, 9, 9),
    "a-read-never-undoes-a-write-of-another-key": Need(15, 15, 81),
    "a-refusal-carries-the-stored-record-or-nothing": Need(11, 11, 11),
    "a-completion-stores-the-result": Need(7, 7, 7),
    "a-lease-comes-back-to-the-millisecond": Need(6, 18, 18),
    "deadlines-of-any-year-come-back": Need(10, 30, 30),
    "a-swap-recognises-what-was-written-already": Need(16, 16, 16),
    "a-result-is-over-after-its-expiry": Need(19, 19, 19),
    "a-result-counts-until-its-last-millisecond": Need(24, 24, 24),
    "a-completion-keeps-the-payload-hash": Need(6, 6, 6),
    "a-request-without-an-owner-acts-as-the-holder": Need(13, 13, 13),
    "a-deleted-claim-is-gone": Need(9, 9, 9),
    "what-one-writes-the-other-reads-at-once": Need(10, 10, 10),
    "a-request-without-an-owner-leaves-a-live-result-alone": Need(18, 18, 18),
    "a-claim-counts-until-its-last-millisecond": Need(35, 35, 35),
    "a-lost-claim-is-reported": Need(30, 30, 30),
    "a-claim-is-over-at-its-deadline": Need(49, 49, 49),
    "a-claim-is-over-after-its-deadline": Need(49, 49, 49),
    "calls-that-outlive-their-leases-change-nothing": Need(160, 160, 1980),
    "a-lost-request-or-reply-costs-a-retry-only": Need(150, 150, 1320),
    "a-late-request-changes-nothing": Need(140, 140, 1390),
    "calls-with-different-payloads-are-kept-apart": Need(150, 150, 580),
    "neither-load-nor-swap-looks-at-a-clock": Need(340, 340, 340),
    "acknowledged-records-outlive-their-layer": Need(20, 20, 20, opens=1),
    "a-death-between-two-calls-blocks-no-caller": Need(260, 260, 260, opens=13),
    "many-processes-may-share-a-store": Need(200, 200, 600, processes=3, at_once=True),
    "many-threads-may-share-a-layer": Need(21, 210, 640, at_once=True),
    "many-threads-may-share-a-store": Need(22, 230, 640, at_once=True),
}
