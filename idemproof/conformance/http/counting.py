"""Counts the effects of the service, as its owner says how."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .budget import Budget
from .owner import CommandFailedError, run
from .places import Place
from .target import Effects, Limits
from .target_file import split
from .texts import Texts
from .wire import Link, Request

_LONGEST_SETTLING_SECONDS = 10.0


class CounterError(Exception):
    """The effects cannot be counted; the message says why."""


class Counter:
    """Counts all effects since the service exists.

    Parameters
    ----------
    effects
        How to count.
    place
        The server that ``effects.url`` names, or None.
    budget, texts
        What bounds the requests, and fills the placeholders.
    """

    def __init__(self, effects: Effects, place: Place | None, budget: Budget, texts: Texts) -> None:
        self._effects = effects
        self._place = place
        self._budget = budget
        self._texts = texts
        self.pause_seconds = effects.settle_ms / 1000
        """How long the count must not change before it counts (seconds)."""
        self.now: Callable[[], int] = self._of_command
        """Returns the count at this moment."""
        if effects.url is not None:
            self.now = self._of_url
        elif effects.log is not None:
            self.now = self._of_log

    def settled(self) -> int:
        """Return the count when it has not changed for a while."""
        count = self.now()
        waited = 0.0
        while waited < _LONGEST_SETTLING_SECONDS:
            self._budget.wait(self.pause_seconds)
            waited += self.pause_seconds
            before, count = count, self.now()
            if count == before:
                return count
        raise CounterError(
            f"the number of effects still changes after {waited:.0f} seconds: something else uses the service"
        )

    def _of_url(self) -> int:
        assert self._place is not None
        assert self._effects.url is not None
        headers = tuple((name, self._texts.filled_line(value, "")) for name, value in self._effects.headers)
        path = self._texts.filled_line(split(self._effects.url, "effects.url")[1], "")
        request = Request("GET", path, headers, b"")
        self._budget.spend(self._place.origin)
        try:
            with Link(self._place, self._budget) as link:
                link.send(request.head(self._place.authority))
                answer = link.read("GET")
        except OSError as failure:
            raise CounterError(f"{self._effects.url} cannot be reached: {failure}") from None
        if not answer.succeeded:
            raise CounterError(f"{self._effects.url} answered {answer.status or answer.failure}")
        return self._number(answer.body.decode(errors="replace"), self._effects.url)

    def _of_log(self) -> int:
        assert self._effects.log is not None
        file = Path(self._effects.log)
        if file.exists() and not file.is_file():  # a pipe might never end
            raise CounterError(f"{self._effects.log!r} is not a file")
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return 0
        except OSError as failure:
            raise CounterError(f"{self._effects.log!r} cannot be read: {failure.strerror}") from None
        pattern = re.compile(self._effects.pattern)
        return sum(pattern.search(line) is not None for line in text.splitlines())

    def _of_command(self) -> int:
        assert self._effects.command is not None
        try:
            printed = run(self._effects.command, min(Limits().timeout_seconds, self._budget.seconds_left))
        except CommandFailedError as failure:
            raise CounterError(str(failure)) from None
        return self._number(printed, repr(self._effects.command))

    def _number(self, text: str, where: str) -> int:
        try:
            found: Any = json.loads(text)
            for name in filter(None, self._effects.json.split(".")):
                found = found[int(name)] if isinstance(found, list) else found[name]
            if isinstance(found, list | dict):
                return len(found)
            return int(found)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError):
            wanted = f"number at {self._effects.json!r}" if self._effects.json else "number"
            raise CounterError(f"{where} returned no {wanted}: {text[:80]!r}") from None
