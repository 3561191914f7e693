"""Execute a function once for every path that it can take.

A comparison of symbolic values asks :meth:`Execution.decide`. If both answers are possible, the function is
executed again for the second one, with the same decisions up to there.
"""

from collections.abc import Callable, Generator
from typing import Any, TypeVar

import z3

from .terms import Condition, build

T = TypeVar("T")


class Unsupported(Exception):  # noqa: N818 - what the proof cannot follow; no error of the specification
    """The specification does something with a symbolic value that the proof cannot follow."""


class Discarded(Exception):  # noqa: N818 - no error
    """The path contradicts an assumption."""


class _Decision:
    __slots__ = ("condition", "is_forced", "is_open", "value")

    def __init__(self, condition: Condition, value: bool, *, is_open: bool, is_forced: bool) -> None:
        self.condition = condition
        self.value = value
        self.is_open = is_open
        self.is_forced = is_forced


class Execution:
    """The decisions of the current path, and the solver that knows them."""

    def __init__(self) -> None:
        self._solver = z3.SolverFor("QF_UFLIA")
        self._decisions: list[_Decision] = []
        self._known: dict[Condition, bool] = {}
        self._next = 0

    def decide(self, condition: Condition) -> bool:
        """Return whether ``condition`` holds on this path."""
        if condition[0] == "==" and condition[1] == condition[2]:
            return True
        known = self._known.get(condition)
        if known is not None and self._next == len(self._decisions):
            return known
        if self._next < len(self._decisions):
            # The path is executed again: what was known then was not asked.
            decision = self._decisions[self._next]
            if decision.condition == condition:
                self._next += 1
                return decision.value
            if known is not None:
                return known
            raise Unsupported("the specification did not decide the same when it was executed again")
        can_hold, can_fail = self._is_possible(condition), True
        if can_hold:
            can_fail = self._is_possible(("not", condition))
        self._take(
            _Decision(condition, can_hold, is_open=can_hold and can_fail, is_forced=can_hold != can_fail)
        )
        return can_hold

    def choose(self, name: str) -> bool:
        """Return True on one path and False on another; nothing else decides ``name``."""
        condition = ("choice", name)
        if self._next == len(self._decisions) and condition not in self._known:
            self._take(_Decision(condition, value=True, is_open=True, is_forced=False))
            return True
        return self.decide(condition)

    def paths(self, function: Callable[[], T]) -> Generator[T, None, None]:
        """Execute ``function`` once for every path; yield what it returns, while the path is assumed.

        Further paths may be explored meanwhile. They begin where this path ends. Close the generator if you
        do not exhaust it.
        """
        base = len(self._decisions)
        try:
            while True:
                self._next = base
                try:
                    result = function()
                except Discarded:
                    pass
                else:
                    yield result
                while len(self._decisions) > base and not self._decisions[-1].is_open:
                    self._drop()
                if len(self._decisions) == base:
                    return
                last = self._decisions[-1]
                self._drop()
                self._take(_Decision(last.condition, not last.value, is_open=False, is_forced=False))
        finally:
            while len(self._decisions) > base:
                self._drop()
            self._next = base

    def model(self, preferred: list[z3.BoolRef]) -> z3.ModelRef:
        """Return values for this path, if possible with the preferred conditions."""
        if self._solver.check(*preferred) != z3.sat and self._solver.check() != z3.sat:
            raise Unsupported("the solver has no values for a path that it found possible")
        return self._solver.model()

    def _is_possible(self, condition: Condition) -> bool:
        answer = self._solver.check(build(condition))
        if answer == z3.unknown:
            raise Unsupported(f"the solver cannot decide a condition: {self._solver.reason_unknown()}")
        return bool(answer == z3.sat)

    def _take(self, decision: _Decision) -> None:
        if not decision.is_forced:
            self._solver.push()
            condition = decision.condition
            self._solver.add(build(condition if decision.value else ("not", condition)))
        self._decisions.append(decision)
        self._known[decision.condition] = decision.value
        self._next = len(self._decisions)

    def _drop(self) -> None:
        decision = self._decisions.pop()
        del self._known[decision.condition]
        if not decision.is_forced:
            self._solver.pop()


def evaluate(model: z3.ModelRef, expression: z3.ExprRef) -> Any:
    """Return the value of ``expression`` in ``model``, as a Python value."""
    value = model.eval(expression, model_completion=True)
    return value.as_long() if z3.is_int_value(value) else z3.is_true(value)
