"""The answer that nothing was done."""

from typing import Any, Self


class NotDone:
    """The type of :data:`NOT_DONE`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "idemproof.NOT_DONE"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> str:
        return "NOT_DONE"


NOT_DONE = NotDone()
"""What a function ``on_takeover`` returns if no earlier attempt did the operation, and none will any more."""
