"""All records, events and situations that the proof is about, with symbolic values."""

from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from itertools import product
from typing import Any

import z3

from ..spec.events import (
    ASK,
    REFUSE,
    RUN,
    Abandon,
    Claim,
    Complete,
    CompleteWithin,
    Event,
    Evict,
    Release,
    Renew,
)
from ..spec.happenings import Began, Step
from ..spec.inductive import Answer, Body, Effect
from ..spec.record import COMPLETED, INPROGRESS, Record
from .execution import Discarded, Execution
from .symbols import Text, Values, Whole
from .terms import build

EVENTS: tuple[type[Event], ...] = (Claim, Complete, CompleteWithin, Release, Abandon, Renew, Evict)


POLICIES = (RUN, REFUSE, ASK)

_READABLE = 1_000_000
"""Numbers of a counterexample are smaller, if any such counterexample exists."""


class Symbols:
    """The symbolic values of an execution, by name."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.readable: dict[str, z3.BoolRef] = {}

    def number(self, name: str) -> Any:
        """Return a symbolic number."""
        if name not in self.readable:
            number = build(("number", name))
            self.readable[name] = z3.And(number > -_READABLE, number < _READABLE)
        return Whole(self._execution, ("number", name))

    def text(self, name: str) -> Any:
        """Return a symbolic text."""
        return Text(self._execution, ("text", name))

    def optional(self, name: str) -> Any:
        """Return a symbolic text or, on other paths, None."""
        return None if self._execution.choose(f"{name} is None") else self.text(name)

    def records(self) -> Iterator[Record | None]:
        """Yield records that stand for all records, and None."""
        yield None
        key, expiry = self.text("key"), self.number("record.expiry")
        lease = (self.number("record.lease"), None)
        texts = [(self.text(f"record.{name}"), None) for name in ("response", "payload_hash", "owner")]
        for status, *rest in product((INPROGRESS, COMPLETED), lease, *texts):
            yield Record(key, status, expiry, *rest)

    def events(self, kind: type[Event], policies: Collection[str] = POLICIES) -> Iterator[Event]:
        """Yield events that stand for all events of one kind; claims have one of these policies."""
        key, expiry = self.text("key"), self.number("event.expiry")
        owner, payload_hash, response = (
            (self.text(f"event.{name}"), None) for name in ("owner", "payload_hash", "response")
        )
        lease = self.number("event.lease")
        if kind is Claim:
            for policy, who, until, payload in product(policies, owner, (lease, None), payload_hash):
                yield Claim(who, until, expiry, payload, key, policy)
        elif kind in (Complete, CompleteWithin):
            for who, result, payload in product(owner, response, payload_hash):
                yield kind(who, result, payload, expiry, key)
        elif kind in (Release, Abandon):
            yield from map(kind, owner)
        elif kind is Renew:
            yield from (Renew(who, lease) for who in owner)
        else:
            yield Evict()


class Situation:
    """What a property is about: one step, and the rest of the state. A property asks for what it needs.

    Parameters
    ----------
    step
        The step; the record and the time are arbitrary.
    symbols
        Where new values come from; None if all values are given.
    without
        The clauses that are not assumed.
    """

    PARTS = (
        *("later", "stored", "stored_result", "body", "earlier", "newcomer", "answer", "other_answer"),
        "effect",
    )

    def __init__(self, step: Step, symbols: Symbols | None, without: frozenset[str] = frozenset()) -> None:
        self.step = step
        self._symbols = symbols
        self._without = without
        self.assumed: set[str] = set()

    def assume(self, clause: str, condition: bool) -> None:
        """Discard this situation if it contradicts ``condition``, which ``clause`` promises."""
        self.assumed.add(clause)
        if not condition and clause not in self._without:
            raise Discarded

    def suppose(self, condition: bool) -> None:
        """Discard this situation if ``condition``, the premise of the property, does not hold."""
        if not condition:
            raise Discarded

    @property
    def new(self) -> Symbols:
        """Where new values come from."""
        assert self._symbols is not None
        return self._symbols

    @cached_property
    def later(self) -> int:
        """When the change arrives that the step has decided, in epoch milliseconds."""
        later: int = self.new.number("later")
        return later

    @cached_property
    def stored(self) -> Record | None:
        """The record that the change finds: of the version that it expects, and otherwise arbitrary."""
        return self._version(self.new.text)

    @cached_property
    def stored_result(self) -> Record | None:
        """The same; the response and payload hash of a result may also be None."""
        return self._version(self._text)

    def _text(self, name: str) -> Any:
        """Return a text, or None, of an answer; a text alone where no result is stored that may have none."""
        record = self.step.before
        is_result = record is not None and record.status == COMPLETED
        return self.new.optional(name) if is_result else self.new.text(name)

    def _version(self, text: Callable[[str], Any]) -> Record | None:
        texts = [text(f"stored.{name}") for name in ("response", "payload_hash")]
        record = self.step.before
        return record and record._replace(response_data=texts[0], payload_hash=texts[1])

    @cached_property
    def body(self) -> Body:
        """An arbitrary body."""
        return Body(self.new.text("body.owner"), self.new.number("body.until"))

    @cached_property
    def earlier(self) -> Began:
        """The beginning of an arbitrary attempt."""
        numbers = map(self.new.number, ("earlier.now", "earlier.until"))
        return Began(self.new.text("earlier.owner"), *numbers)

    @cached_property
    def newcomer(self) -> Began:
        """The beginning of an arbitrary attempt, now."""
        return Began(self.new.text("newcomer.owner"), self.later, self.new.number("newcomer.until"))

    @cached_property
    def answer(self) -> Answer:
        """An arbitrary answer."""
        return self._answer("answer")

    @cached_property
    def other_answer(self) -> Answer:
        """Another one."""
        return self._answer("other_answer")

    @cached_property
    def effect(self) -> Effect:
        """An arbitrary effect."""
        return Effect(self.new.number("effect.until"))

    def _answer(self, name: str) -> Answer:
        response, payload_hash = map(self._text, (f"{name}.response", f"{name}.payload_hash"))
        return Answer(response, payload_hash, self.new.number(f"{name}.until"))

    def real(self, values: Values, step: Step) -> "Situation":
        """Return this situation with real values, and with ``step``."""
        found = Situation(step, None, self._without)
        own = vars(found)
        own.update({name: values.real(value) for name, value in vars(self).items() if name not in own})
        return found
