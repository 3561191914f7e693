"""One history: operations on two keys by two workers, with lost requests and replies, against a model.

The model is the set of possible states. There is more than one if the store may have evicted a record, or if
a layer that is not fenced may have changed it.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ...spec.record import COMPLETED, INPROGRESS, Record, ceil_seconds, deadline_ms, expiry_ms, live
from ..suite.checks import Broken, Case
from ..suite.subjects import RAISED, Subject, error_text
from ..suite.trace import CLOCK, Trace, in_words
from . import requests
from .predictions import Method, Outcome, kept_by_four, of_documented, of_four_methods, of_swap
from .requests import Answer

Act = Literal["clock", "read", "swap", "put", "update", "delete"]
Fate = Literal["answered", "reply lost", "not applied"]

OWNERS = ("alice", "bob", "carol", None)
FATES: tuple[Fate, ...] = ("answered", "reply lost", "not applied")
HASHES = ("one hash", "another hash", None)
LEASES_MS = (30_000, 1_000, None, 900_000)
_SHORTEST_WINDOW_MS = 900_000
"""Long enough for a store with its own clock, even on a slow machine."""

_REMEMBERED = 6


class HistoryStep(NamedTuple):
    """One step; its numbers select from the choices that exist when the step is taken."""

    act: Act
    key: int = 0
    worker: int = 0
    owner: int = 0
    expects: int = 0
    writes: int = 0
    payload_hash: int = 0
    lease: int = 0
    fate: Fate = "answered"


class History:
    """Takes steps, and checks each answer.

    Parameters
    ----------
    case
        The case of the check, with the layer and the clock.
    looks
        Whether its trace shows the stored record after each step.
    """

    def __init__(self, case: Case, *, looks: bool = False) -> None:
        # Every history begins at the same millisecond of a second, so that it can be repeated.
        case.clock.move_to((case.now // 1_000_000 + 1) * 1_000_000 + 137)
        self._case = case
        self._swaps = case.layer.swaps
        self._keys = (case.new_key(), case.new_key())
        self._possible: dict[str, list[Record | None]] = {key: [None] for key in self._keys}
        self._known: dict[str, list[Record]] = {key: [] for key in self._keys}
        self._clauses_at_stake: dict[str, tuple[str, ...]] = dict.fromkeys(self._keys, ("CAS-1",))
        self._moved: set[str] = set()
        self._key = self._keys[0]
        self._trace = Trace(case.clock.ms, (lambda: case.layer.load(self._key)) if looks else None)
        self.steps: list[HistoryStep] = []

    def take(self, step: HistoryStep) -> None:
        """Take a step.

        Raises
        ------
        Broken
            The specification does not allow what the layer did.
        """
        self.steps.append(step)
        if step.act == "clock":
            self._move_clock(step)
            return
        self._key = self._keys[step.key]
        self._allow_evictions()
        worker = self._case.workers[step.worker]
        if step.act == "read":
            self._read(worker, step)
        elif step.act == "swap" and self._swaps:
            self._swap(worker, step)
        else:
            self._documented(worker, step, "put" if step.act == "swap" else step.act)

    # The requests.

    def _move_clock(self, step: HistoryStep) -> None:
        """Move the clock close to a future deadline, or by some milliseconds."""
        now = self._case.now
        ahead = sorted(
            {
                deadline + offset
                for record in self._possible[self._key]
                if record is not None
                for deadline in (deadline_ms(record), expiry_ms(record))
                for offset in (-1, 0, 1)
                if deadline + offset > now
            }
        )
        target = (
            ahead[step.expects % len(ahead)] if ahead and step.writes else now + 1 + 211 * step.expects**2
        )
        self._case.clock.move_to(target)
        self._moved.update(self._keys)
        self._trace.log(CLOCK, f"{target - now:,} ms pass")

    def _read(self, worker: Subject, step: HistoryStep, *, logs: bool = True) -> None:
        def ask() -> Answer:
            if self._swaps:
                return Answer("done", requests.plain(worker.load(self._key), self._key, swaps=True))
            return Answer("done", requests.get(worker, self._key).record)

        def complaint() -> tuple[str, tuple[str, ...]]:
            if not logs:
                self._log(step, "reads", answer)
            return self._wrong_read(answer)

        answer = self._ask(step, "reads", ask)
        if logs:
            self._log(step, "reads", answer)
        outcomes = [Outcome(state, Answer("done", state)) for state in self._possible[self._key]]
        self._settle(outcomes, answer, complaint)

    def _swap(self, worker: Subject, step: HistoryStep) -> None:
        current = self._possible[self._key][0]
        expected = self._expected(step, current)
        new = self._new(step, expected)
        ttl_ms = 0 if new is None else max(expiry_ms(new) - self._case.now, _SHORTEST_WINDOW_MS)
        what = f"swaps, expecting {_brief(expected)}, for {_brief(new)}"

        def ask() -> Answer:
            found = worker.swap(self._key, expected, new, ttl_ms)
            return Answer("done", requests.plain(found, self._key, swaps=True))

        self._perform(
            step,
            what,
            ask,
            lambda state: [of_swap(state, expected, new)],
            lambda answer: self._wrong_swap(expected, new, answer),
            ("CAS-3",),
        )
        self._remember(new)

    def _documented(self, worker: Subject, step: HistoryStep, method: Method) -> None:
        record = self._record_for(step, method)
        ask = {"put": requests.put, "update": requests.update, "delete": requests.delete}[method]
        clause = "CAS-7" if method == "put" else "CAS-8" if record.owner else "CAS-9"
        what = {"put": "puts a claim", "update": "completes", "delete": "deletes"}[method]
        self._perform(
            step,
            f"{what} {f'as {record.owner}' if record.owner else 'without an owner'}",
            lambda: ask(self._case, worker, record),
            lambda state: self._predicted(method, state, record),
            lambda answer: self._wrong_answer(method, record, answer, clause),
            (clause,),
        )
        if method != "delete":
            self._remember(record)

    def _predicted(self, method: Method, state: Record | None, record: Record) -> list[Outcome]:
        now = self._case.now
        if self._swaps:
            return [of_documented(method, state, record, now)]
        return of_four_methods(method, state, record, now, fenced=self._case.fenced)

    # The records in the requests.

    def _expected(self, step: HistoryStep, current: Record | None) -> Record | None:
        choices: list[Record | None] = [current, None, *self._known[self._key]]
        for record in (current, *self._known[self._key][-1:]):
            if record is not None:
                lease = record.in_progress_expiry_timestamp
                choices += [
                    record._replace(owner="bob" if record.owner == "alice" else "alice"),
                    record._replace(status=COMPLETED if record.status == INPROGRESS else INPROGRESS),
                    record._replace(expiry_timestamp=record.expiry_timestamp + 1),
                    record._replace(in_progress_expiry_timestamp=None if lease else self._case.now),
                    record._replace(in_progress_expiry_timestamp=(lease or self._case.now) + 1),
                ]
        return choices[step.expects % len(choices)]

    def _new(self, step: HistoryStep, expected: Record | None) -> Record | None:
        fresh = self._claim(step)
        choices: list[Record | None] = [fresh, self._result(step), None, *self._known[self._key]]
        if expected is not None and expected.status == INPROGRESS:
            lease = deadline_ms(expected) + 30_000
            expiry = max(expected.expiry_timestamp, ceil_seconds(lease))
            choices.append(expected._replace(in_progress_expiry_timestamp=lease, expiry_timestamp=expiry))
        return choices[step.writes % len(choices)]

    def _claim(self, step: HistoryStep) -> Record:
        lease_ms, now = LEASES_MS[step.lease], self._case.now
        expiry = ceil_seconds(now + _SHORTEST_WINDOW_MS + step.writes * 1_000)
        lease = None if lease_ms is None else now + lease_ms
        return Record(self._key, INPROGRESS, expiry, lease, None, self._hash(step), OWNERS[step.owner])

    def _result(self, step: HistoryStep) -> Record:
        response = f'"answer {step.writes}"'
        return self._claim(step)._replace(
            status=COMPLETED, in_progress_expiry_timestamp=None, response_data=response
        )

    def _hash(self, step: HistoryStep) -> str | None:
        # How a layer with the four methods treats another payload hash, or none, is not documented.
        return HASHES[step.payload_hash if self._swaps else 0]

    def _record_for(self, step: HistoryStep, method: Method) -> Record:
        if method == "update":
            return self._result(step)
        if method == "delete":
            of_owner = [claim for claim in self._known[self._key] if claim.owner == OWNERS[step.owner]]
            return of_owner[-1] if of_owner else self._claim(step)
        return self._claim(step)

    def _remember(self, record: Record | None) -> None:
        if record is not None:
            self._known[self._key] = [*self._known[self._key], record][-_REMEMBERED:]

    # The answers.

    def _perform(
        self,
        step: HistoryStep,
        what: str,
        ask: Callable[[], Answer],
        predict: Callable[[Record | None], list[Outcome]],
        complain: Callable[[Answer], tuple[str, tuple[str, ...]]],
        clauses_at_stake: tuple[str, ...],
    ) -> None:
        if step.fate == "not applied":
            self._log(step, f"{what}: the request is lost", None)
            return
        tries = 2 if step.fate == "reply lost" else 1
        for number in range(tries):
            outcomes = [outcome for state in self._possible[self._key] for outcome in predict(state)]
            answer_required = all(outcome.answer is not None for outcome in outcomes)
            self._clauses_at_stake[self._key] = clauses_at_stake
            answer = self._ask(step, what, ask, answer_required=answer_required)
            self._moved.discard(self._key)
            if number < tries - 1:
                self._log(step, f"{what}: the reply is lost", None)
                self._settle(outcomes, None, lambda: ("", ()))
            else:
                self._log(step, what if tries == 1 else f"{what} again", answer)
                self._settle(outcomes, answer, lambda answer=answer: complain(answer))  # type: ignore[misc]
            self._learn_owner(step)
        self._allow_evictions()
        # Read at once, so that a fault is reported where it happened.
        other = 1 - step.worker
        self._read(self._case.workers[other], step._replace(worker=other), logs=False)

    def _ask(
        self, step: HistoryStep, what: str, ask: Callable[[], Answer], *, answer_required: bool = True
    ) -> Answer | None:
        """Send a request; a layer may raise any exception if no answer is required."""
        try:
            return ask()
        except Broken as broken:
            self._log(step, what, None)
            raise Broken(broken.why, broken.clauses, self._trace.lines) from broken
        except Exception as failure:
            if not answer_required:
                return None
            self._log(step, f"{what}: {type(failure).__name__}", None)
            why = f"{RAISED}{error_text(failure)}"
            raise Broken(why, self._clauses_at_stake[self._key], self._trace.lines) from failure

    def _settle(
        self,
        outcomes: list[Outcome],
        answer: Answer | None,
        complaint: Callable[[], tuple[str, tuple[str, ...]]],
    ) -> None:
        """Keep the states that agree with the answer; raise :class:`Broken` if there is none."""
        after = [
            outcome.after
            for outcome in outcomes
            if answer is None or outcome.answer is None or self._agrees(answer, outcome.answer)
        ]
        if not after:
            why, clauses = complaint()
            raise Broken(why, clauses, self._trace.lines)
        self._possible[self._key] = list(dict.fromkeys(after))

    def _agrees(self, answer: Answer, predicted: Answer) -> bool:
        if answer.how != predicted.how:
            return False
        if answer.how == "exists" and answer.record is None:
            return True  # a refusal need not carry the stored record
        return self._visible(answer.record) == self._visible(predicted.record)

    def _visible(self, record: Record | None) -> Record | None:
        return record if self._swaps else kept_by_four(record)

    def _learn_owner(self, step: HistoryStep) -> None:
        """Read the owner token that a claim without an owner has got."""
        if step.act != "put" or OWNERS[step.owner] is not None or not self._swaps:
            return
        found = requests.plain(self._case.layer.load(self._key), self._key, swaps=True)
        if found is not None and found.owner:
            self._possible[self._key] = [
                state._replace(owner=found.owner) if state is not None and not state.owner else state
                for state in self._possible[self._key]
            ]

    def _allow_evictions(self) -> None:
        """Allow for evictions: of expired records; with the four methods, of all that may be claimed."""
        now, states = self._case.now, self._possible[self._key]
        for record in states:
            over = record is not None and now >= expiry_ms(record) and not live(record, now)
            if over or (not self._swaps and record is not None and not live(record, now)):
                self._possible[self._key] = list(dict.fromkeys([*states, None]))

    # The messages.

    def _wrong_read(self, answer: Answer | None) -> tuple[str, tuple[str, ...]]:
        found = None if answer is None else answer.record
        clauses = self._clauses_at_stake[self._key]
        if found is None and self._key in self._moved:
            clauses = ("CAS-6", "INV-7")
        return f"{_in_detail(found)} was read, but the specification requires {self._required()}.", clauses

    def _wrong_swap(
        self, expected: Record | None, new: Record | None, answer: Answer
    ) -> tuple[str, tuple[str, ...]]:
        current = self._possible[self._key][0]
        allowed = of_swap(current, expected, new).after == new != current
        reported = f"The answer was {_in_detail(answer.record)}"
        if allowed and answer.record == current:
            return f"A swap was refused although the expected record was stored. {reported}.", ("CAS-2",)
        if not allowed and answer.record == new:
            late = current is not None and not live(current, self._case.now)
            clauses = ("CAS-2", "CAS-5") if late else ("CAS-2",)
            return f"A swap was done although the expected record was not {self._required()}.", clauses
        return (
            f"A swap did not return the stored record. {reported}; {self._required()} was stored before.",
            ("CAS-3",),
        )

    def _wrong_answer(
        self, method: Method, record: Record, answer: Answer, clause: str
    ) -> tuple[str, tuple[str, ...]]:
        states, now = self._possible[self._key], self._case.now
        live_states = [state is not None and live(state, now) for state in states]
        if method != "put":
            named = f"as {record.owner}" if record.owner else "without an owner"
            reported = "was accepted" if answer.how == "done" else "was refused"
            what = f"The {'update' if method == 'update' else 'deletion'} {named} {reported}"
            return f"{what}, although {self._required()} was stored.", (clause,)
        if answer.how == "done":
            why = "A put was accepted although a live record existed"
            return f"{why}: {self._required()}.", (clause, "TIME-2")
        if any(live_states):
            return f"A refused put carried {_in_detail(answer.record)}, but {self._required()} is stored.", (
                clause,
            )
        over = states != [None]
        why = "A put was refused although no live record existed"
        return f"{why}: {self._required()}.", (clause, "TIME-2", "ROW-1") if over else (clause, "ROW-1")

    def _required(self) -> str:
        return " or ".join(_in_detail(state) for state in self._possible[self._key])

    def _log(self, step: HistoryStep, what: str, answer: Answer | None) -> None:
        reported = "" if answer is None else f": {_reported(answer)}"
        where = "of another key, " if step.key else ""
        self._trace.log(f"client {step.worker + 1}", f"{where}{what}{reported}")


def _reported(answer: Answer) -> str:
    if answer.how == "done":
        return "done" if answer.record is None else in_words(answer.record)
    return {"exists": "refused", "missing": "nothing", "lost": "the claim is lost"}[answer.how]


def _brief(record: Record | None) -> str:
    return in_words(record)


def _in_detail(record: Any) -> str:
    if not isinstance(record, Record):
        return in_words(record)
    rest = (
        ("expiry", record.expiry_timestamp),
        ("lease", record.in_progress_expiry_timestamp),
        ("payload hash", record.payload_hash),
    )
    return f"{in_words(record)} ({', '.join(f'{name} {value}' for name, value in rest if value is not None)})"
