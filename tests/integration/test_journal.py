"""Conclusions from a fleet's journal, however late a machine executes a request."""

import pytest

from journal import LEASE_MS, Aftermath, Entry, breaches

AT_ONCE = "a_key_is_claimed_again_only_when_the_lease_before_is_over_or_given_back"
AGAIN = "a_body_runs_again_only_for_a_reason"


def run(
    pid: int, claimed: int, began: int, *, fell: int | None = None, answered: int | None = None
) -> list[Entry]:
    """Return the notes of a run whose claim was made at ``claimed``, and let in before ``began``."""
    notes = [Entry(pid, "began", 1, pid, 0, began, claimed + LEASE_MS)]
    if fell is not None:
        return [*notes, Entry(pid, "fell", 1, pid, 0, fell), Entry(pid, "raised", 1, pid, 0, fell)]
    if answered is not None:
        notes += [Entry(pid, "ran", 1, pid, 0, answered), Entry(pid, "answered", 1, pid, pid, answered)]
    return notes


@pytest.mark.parametrize(
    "runs",
    [
        [run(1, 0, 2, fell=10), run(2, 12, 13, answered=20)],
        # The second read its clock first, or while the first ran, and its claim came late.
        [run(1, 5, 6, fell=10), run(2, 0, 13, answered=20)],
        [run(1, 0, 2, fell=10), run(2, 7, 13, answered=20)],
        # The first was killed, the second gave back what it had taken over, the third's claim came late.
        [run(1, 0, 2), run(2, 300, 301, fell=305), run(3, 299, 310, answered=320)],
        # The first was let in, and stood still for longer than its lease.
        [run(1, 0, 350, answered=360), run(2, 301, 310, fell=320), run(3, 325, 326, answered=330)],
    ],
)
def test_claims_that_come_late_break_no_rule(runs: list[list[Entry]]) -> None:
    left = Aftermath(0, [entry for notes in runs for entry in notes], frozenset({1}))
    assert breaches(left).keys() & {AT_ONCE, AGAIN} == set()


@pytest.mark.parametrize(
    ("runs", "rule"),
    [
        ([run(1, 0, 2, fell=30), run(2, 7, 13, answered=20)], AT_ONCE),
        ([run(1, 0, 2), run(2, 299, 301, answered=310)], AT_ONCE),
        ([run(1, 0, 2, answered=10), run(2, 12, 13, fell=20)], AGAIN),
        ([run(1, 0, 2, answered=10), run(2, 301, 302, answered=310)], AGAIN),
        ([run(2, 5, 6, fell=10), run(1, 0, 13, answered=20), run(3, 15, 16, fell=22)], AGAIN),
    ],
)
def test_two_runs_at_once_or_one_too_many_are_seen(runs: list[list[Entry]], rule: str) -> None:
    left = Aftermath(0, [entry for notes in runs for entry in notes], frozenset())
    assert rule in breaches(left)
