"""The JSON text that keys and payload hashes are the hash of."""

import datetime as dt
from collections.abc import Callable, Iterable
from enum import Enum
from json.encoder import c_make_encoder  # type: ignore[attr-defined]
from typing import Any

from ..encoding import ResultEncoder


class KeyEncoder(ResultEncoder):
    """What results can hold, and also enumerations, dates, times, UUIDs and paths."""

    def __init__(self) -> None:
        super().__init__()
        # One for all calls and threads, in two thirds of the time. Nothing has run yet, so a payload that
        # contains itself may be refused for its depth; a result may not.
        self.parts: Callable[[Any, int], Iterable[str]] = (
            self._slowly if c_make_encoder is None else self.writer(None)
        )

    def _slowly(self, o: Any, level: int) -> Iterable[str]:  # noqa: ARG002 - as the fast one
        return (super().encode(o),)

    def encode(self, o: Any) -> str:
        """Return ``o`` as JSON text."""
        return "".join(self.parts(o, 0))

    def default(self, o: Any) -> Any:
        """Return what stands for a value that JSON does not know.

        Raises
        ------
        TypeError
            Nothing does.
        """
        try:
            # First, so that an enumeration of decimals is hashed as a decimal.
            return super().default(o)
        except TypeError:
            if isinstance(o, Enum):
                return o.value
            if isinstance(o, dt.date | dt.time):
                return o.isoformat()
            from pathlib import PurePath  # noqa: PLC0415 - milliseconds that few payloads need
            from uuid import UUID  # noqa: PLC0415 - same

            if isinstance(o, UUID | PurePath):
                return str(o)
            raise


encoder = KeyEncoder()
