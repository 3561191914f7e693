"""Commands of an engine some of whose requests fail."""

from collections.abc import Callable
from typing import Any


def noting_failures(steps: Any, note: Callable[[], None]) -> Any:
    """Perform ``steps``, and call ``note`` before they learn that a request has failed."""
    answer = None
    command = steps.send(None)
    while True:
        try:
            answer = yield command
        except Exception as error:
            note()
            command = steps.throw(error)
        else:
            try:
                command = steps.send(answer)
            except StopIteration as done:
                return done.value
